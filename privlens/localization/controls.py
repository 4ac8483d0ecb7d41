"""What every localization is held against: rankings of neurons that have not seen the secret.

A random order; and, where a secret was planted, the norms of what the neurons write, which a plant must not give away.
"""

from collections.abc import Iterator

import numpy as np
import torch

from privlens.localization.task import Task
from privlens.models.layout import output_vectors
from privlens.records import LocalizationStep


def random_neurons(task: Task) -> Iterator[LocalizationStep]:
    """Scores drawn evenly from 0..1 by the task's seed; one step."""
    scores = np.random.default_rng(task.seed).random(task.lm.shape(task.site), dtype=np.float32)
    yield task.only_step("random", torch.from_numpy(scores), "random order", {})


def weight_norm(task: Task) -> Iterator[LocalizationStep]:
    """Norms of the neurons' output vectors; one step."""
    with task.lm.held():
        norms = [output_vectors(part).detach().float().norm(dim=1).cpu() for part in task.lm.layout.site(task.site)]
    yield task.only_step("weight-norm", torch.stack(norms), "norms of the weights", {})
