"""Controls for every localization: rankings of neurons that never saw the secret.

A random order; and, for planted secrets, two rankings by which a plant must not be detectable: the norms of the neurons' output
vectors, and how strongly the neurons write in other text, which the model generated without a prompt.
"""

from collections.abc import Iterator

import numpy as np
import torch

from privlens.localization.activations import output_norms, output_strength
from privlens.localization.gradients import retained_attribution
from privlens.localization.task import Task
from privlens.retained.samples import unconditional_samples
from privlens.types import LocalizationStep

TEXTS, TEXT_TOKENS = 32, 32
"""Number of unconditional samples and their length in tokens: more would cost more passes and make the mean less noisy."""


def random_neurons(task: Task) -> Iterator[LocalizationStep]:
    """Scores drawn uniformly from 0..1 with the task's seed; one step."""
    scores = np.random.default_rng(task.seed).random(task.lm.shape(task.site), dtype=np.float32)
    yield task.only_step("random", torch.from_numpy(scores), "random order", {})


def weight_norm(task: Task) -> Iterator[LocalizationStep]:
    """Norms of the neurons' output vectors; one step."""
    yield task.only_step("weight-norm", output_norms(task.lm, task.site), "norms of the weights", {})


def activations_elsewhere(task: Task) -> Iterator[LocalizationStep]:
    """Mean |activation| in unconditional samples, times the norm of the output vector: a few passes, many texts at once."""
    texts = unconditional_samples(task.lm, [task.lm.encode(task.target)], TEXTS, TEXT_TOKENS, task.seed, task.stop)
    rows = [text for text in texts if len(text) > 1]
    scores = retained_attribution(task, rows, output_strength(task.lm, task.site))
    yield task.only_step("activations-elsewhere", scores, "activations in other text", {"texts": len(rows)})
