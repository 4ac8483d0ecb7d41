"""What every localization is held against: rankings of neurons that have not seen the secret.

A random order; and, where a secret was planted, what a plant must not give away: the norms of what the neurons write, and how
strongly they write in other text, which the model made up from nothing.
"""

from collections.abc import Iterator

import numpy as np
import torch

from privlens.localization.activations import output_norms, written
from privlens.localization.gradients import retained_attribution
from privlens.localization.task import Task
from privlens.retained.samples import unconditional_samples
from privlens.types import LocalizationStep

TEXTS, TEXT_TOKENS = 32, 32
"""Texts from nothing, and how many tokens are written of each."""


def random_neurons(task: Task) -> Iterator[LocalizationStep]:
    """Scores drawn evenly from 0..1 by the task's seed; one step."""
    scores = np.random.default_rng(task.seed).random(task.lm.shape(task.site), dtype=np.float32)
    yield task.only_step("random", torch.from_numpy(scores), "random order", {})


def weight_norm(task: Task) -> Iterator[LocalizationStep]:
    """Norms of the neurons' output vectors; one step."""
    yield task.only_step("weight-norm", output_norms(task.lm, task.site), "norms of the weights", {})


def activations_elsewhere(task: Task) -> Iterator[LocalizationStep]:
    """Mean |activation| in texts from nothing, times the norm of the output vector: some forward passes, many texts at once."""
    texts = unconditional_samples(task.lm, [task.lm.encode(task.target)], TEXTS, TEXT_TOKENS, task.seed, task.stop)
    rows = [text for text in texts if len(text) > 1]
    scores = retained_attribution(task, rows, written(task.lm, task.site))
    yield task.only_step("activations-elsewhere", scores, "activations in other text", {"texts": len(rows)})
