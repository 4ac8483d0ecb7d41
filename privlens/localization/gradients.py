"""Gradient x gate at 1, by captum, minus what other texts need: the one-pass baseline, and the mask's warm start.

With all gates at 1 the gradient of a value's log-probability with respect to a gate is activation x gradient. What the
retained texts need too is subtracted, so that neurons which everything needs do not come first.
"""

from collections.abc import Iterator, Sequence

import torch
from captum.attr import InputXGradient
from torch import Tensor

from privlens.localization.retained import retained_rows
from privlens.localization.task import Task
from privlens.models.language_model import LanguageModel
from privlens.models.text import Encoded, encode
from privlens.records import LocalizationStep, Site

SAMPLES, SAMPLE_TOKENS = 32, 24


def gate_gradients(lm: LanguageModel, encoded: Sequence[Encoded], site: Site) -> Tensor:
    """d(sum of the value's log-probabilities)/d(gate) with all gates at 1, in nats. [rows, n_layers, width]."""
    ids, mask = lm.padded([one.ids for one in encoded])
    target = torch.zeros_like(ids, dtype=torch.float32)
    for row, one in enumerate(encoded):
        target[row, one.n_prompt : len(one.ids)] = 1.0

    def value_logprob(gates: Tensor) -> Tensor:
        with lm.gated(gates, site):
            logprobs = lm.logits(ids, mask).log_softmax(-1)
        own = logprobs[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
        return (own * target[:, 1:]).sum(1)

    ones = torch.ones(len(encoded), *lm.shape(site), device=lm.device, requires_grad=True)
    return InputXGradient(value_logprob).attribute(ones).detach()  # type: ignore[no-any-return]


def contrastive(task: Task, rows: Sequence[Sequence[int]], at_once: int = 16) -> Tensor:
    """The target's gate gradient minus the mean positive gate gradient of the retained rows. [n_layers, width], nats."""
    lm = task.lm
    [own] = gate_gradients(lm, [encode(lm.tokenizer, task.target)], task.site)
    needed = torch.zeros_like(own)
    for at in range(0, len(rows), at_once):
        batch = [Encoded(tuple(row), 1) for row in rows[at : at + at_once]]
        needed += gate_gradients(lm, batch, task.site).clamp_min(0).sum(0)
    return own - needed / max(1, len(rows))


def gradient(task: Task) -> Iterator[LocalizationStep]:
    """Scores by the contrastive gate gradient: one backward pass for the target, one for each batch of retained rows."""
    rows = retained_rows(task, SAMPLES, SAMPLE_TOKENS)
    scores = contrastive(task, rows).cpu().numpy()
    settings = {"retained": len(rows), "own_samples": SAMPLES}
    result = task.scores("gradient", scores, None, settings)
    yield LocalizationStep(1, 1, "gradient x gate", torch.ones(scores.shape).numpy(), 0, float("nan"), {}, result)
