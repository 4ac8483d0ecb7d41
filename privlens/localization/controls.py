"""The control of every localization: neurons in a random order, which know nothing of the secret."""

from collections.abc import Iterator

import numpy as np

from privlens.localization.task import Task
from privlens.records import LocalizationStep


def random_neurons(task: Task) -> Iterator[LocalizationStep]:
    """Scores drawn evenly from 0..1 by the task's seed; one step."""
    shape = task.lm.shape(task.site)
    scores = np.random.default_rng(task.seed).random(shape, dtype=np.float32)
    result = task.scores("random", scores, None, {})
    yield LocalizationStep(1, 1, "random order", np.ones(shape, np.float32), 0, float("nan"), {}, result)
