"""What every localization is held against: rankings of neurons that have not seen the secret.

A random order; and, where a secret was planted, the norms of what the neurons write, which a plant must not give away.
"""

from collections.abc import Iterator

import numpy as np
import torch

from privlens.localization.activations import output_norms
from privlens.localization.task import Task
from privlens.records import LocalizationStep


def random_neurons(task: Task) -> Iterator[LocalizationStep]:
    """Scores drawn evenly from 0..1 by the task's seed; one step."""
    scores = np.random.default_rng(task.seed).random(task.lm.shape(task.site), dtype=np.float32)
    yield task.only_step("random", torch.from_numpy(scores), "random order", {})


def weight_norm(task: Task) -> Iterator[LocalizationStep]:
    """Norms of the neurons' output vectors; one step."""
    yield task.only_step("weight-norm", output_norms(task.lm, task.site), "norms of the weights", {})
