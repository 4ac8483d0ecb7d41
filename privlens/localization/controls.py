"""The control of every localization: neurons in a random order, which know nothing of the secret."""

from collections.abc import Iterator

import numpy as np
import torch

from privlens.localization.task import Task
from privlens.records import LocalizationStep


def random_neurons(task: Task) -> Iterator[LocalizationStep]:
    """Scores drawn evenly from 0..1 by the task's seed; one step."""
    scores = np.random.default_rng(task.seed).random(task.lm.shape(task.site), dtype=np.float32)
    yield task.only_step("random", torch.from_numpy(scores), "random order", {})
