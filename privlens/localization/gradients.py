"""Gradient x gate at 1, by captum, minus what other texts need: the one-pass baseline, and the mask's warm start.

With all gates at 1 the gradient of a score with respect to a gate is activation x gradient. What the retained texts need
too is subtracted, so that neurons which everything needs do not come first.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from captum.attr import InputXGradient
from torch import Tensor

from privlens.errors import Cancelled
from privlens.localization.push import Push, push
from privlens.localization.retained import retained_rows
from privlens.localization.task import Task
from privlens.models.language_model import LanguageModel
from privlens.models.text import Encoded
from privlens.records import LocalizationStep, Site

SAMPLES, SAMPLE_TOKENS = 32, 24
MARGIN, TAU = 0.5, 7.0
"""Ends of the push, nats; see push.py."""


def gate_gradient(lm: LanguageModel, rows: Sequence[Sequence[int]], site: Site, of: Callable[[Tensor], Tensor]) -> Tensor:
    """d of(logits)/d gate with all gates at 1. [rows, n_layers, width].

    Args:
        rows: token ids. of: logits [rows, tokens, V] -> one number for each row.
    """
    ids, mask = lm.padded(rows)

    def forward(gates: Tensor) -> Tensor:
        with lm.gated(gates, site):
            return of(lm.logits(ids, mask))

    ones = torch.ones(len(rows), *lm.shape(site), device=lm.device, requires_grad=True)
    return InputXGradient(forward).attribute(ones).detach()  # type: ignore[no-any-return]


def value_logprob(encoded: Sequence[Encoded], device: torch.device) -> Callable[[Tensor], Tensor]:
    """logits -> [rows]: the sum of each value's log-probabilities, nats."""
    places = [(row, at) for row, one in enumerate(encoded) for at in range(one.n_prompt, len(one.ids))]
    row_of, at_of = (torch.tensor(part, device=device) for part in zip(*places, strict=True))
    tokens = torch.tensor([encoded[row].ids[at] for row, at in places], device=device)

    def summed(logits: Tensor) -> Tensor:
        own = logits[row_of, at_of - 1].log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        return torch.zeros(len(encoded), device=device).index_add(0, row_of, own)

    return summed


def needed(task: Task, rows: Sequence[Sequence[int]], at_once: int = 16) -> Tensor:
    """Mean positive gate gradient of the retained rows: what closing would cost them. [n_layers, width], nats."""
    lm = task.lm
    total = torch.zeros(lm.shape(task.site), device=lm.device)
    for at in range(0, len(rows), at_once):
        if task.stop():
            raise Cancelled("Localization stopped; the model and the neurons you had are as they were.")
        batch = [Encoded(tuple(row), 1) for row in rows[at : at + at_once]]
        gradients = gate_gradient(lm, [one.ids for one in batch], task.site, value_logprob(batch, lm.device))
        total += gradients.clamp_min(0).sum(0)
    return total / max(1, len(rows))


def contrastive(task: Task, aim: Push, rows: Sequence[Sequence[int]]) -> Tensor:
    """Gate gradient of the push, summed over the value, minus what the retained rows need. [n_layers, width], nats.

    The push and not the log-probability: where the model is certain of the value, the latter has next to no gradient.
    """
    [own] = gate_gradient(task.lm, [aim.encoded.ids], task.site, lambda logits: aim(logits) * aim.pushed.sum())
    contrast: Tensor = own - needed(task, rows)
    return contrast


def gradient(task: Task) -> Iterator[LocalizationStep]:
    """Contrastive gate gradient: one backward pass for the target, one for each batch of retained rows."""
    rows = retained_rows(task, SAMPLES, SAMPLE_TOKENS)
    aim = push(task.lm, task.lm.encode(task.target), MARGIN, TAU)
    scores = contrastive(task, aim, rows).cpu().numpy()
    result = task.scores("gradient", scores, None, {"retained": len(rows), "own_samples": SAMPLES})
    yield LocalizationStep(1, 1, "gradient x gate", np.ones(scores.shape, np.float32), 0, float("nan"), {}, result)
