"""Gradient x gate at 1, by captum; and the same minus what other texts need: the mask's warm start.

With all gates at 1 the gradient of a score with respect to a gate is activation x gradient. In the contrastive variant what
the retained texts need too is subtracted, so that neurons which everything needs do not come first.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from captum.attr import InputXGradient
from torch import Tensor

from privlens.localization.contrast import SAMPLE_TOKENS, SAMPLES, RowScores, needed
from privlens.localization.push import Push, push
from privlens.localization.task import Task
from privlens.models.language_model import LanguageModel
from privlens.models.text import Encoded
from privlens.records import LocalizationStep, Site

MARGIN, TAU = 1.0, 7.0
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

    ones = torch.ones(len(rows), *lm.shape(site), device=lm.device, requires_grad=True, dtype=torch.float32)
    with lm.held():
        return InputXGradient(forward).attribute(ones).detach()  # type: ignore[no-any-return]


def value_logprob(encoded: Sequence[Encoded], device: torch.device) -> Callable[[Tensor], Tensor]:
    """logits -> [rows]: the sum of each value's log-probabilities, nats."""
    places = [(row, at) for row, one in enumerate(encoded) for at in range(one.n_prompt, len(one.ids))]
    row_of, at_of = (torch.tensor(part, device=device) for part in zip(*places, strict=True))
    tokens = torch.tensor([encoded[row].ids[at] for row, at in places], device=device)

    def summed(logits: Tensor) -> Tensor:
        own = logits[row_of, at_of - 1].log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        return torch.zeros(len(encoded), device=device, dtype=torch.float32).index_add(0, row_of, own)

    return summed


def value_under(lm: LanguageModel, encoded: Encoded, gates: Tensor, site: Site) -> Tensor:
    """One value's summed log-probability under every row of gates [rows, n_layers, width]; [rows], nats, differentiable."""
    rows = [encoded] * gates.shape[0]
    with lm.gated(gates, site):
        logits = lm.logits(*lm.padded([encoded.ids] * len(rows)))
    return value_logprob(rows, lm.device)(logits)


def value_gradient(lm: LanguageModel, site: Site) -> RowScores:
    """For rows: the gate gradient at 1 of each value's summed log-probability, [rows, n_layers, width], nats."""
    return lambda batch: gate_gradient(lm, [one.ids for one in batch], site, value_logprob(batch, lm.device))


def contrastive(task: Task, aim: Push, rows: Sequence[Sequence[int]]) -> Tensor:
    """Gate gradient of the push, summed over the value, minus what the retained rows need. [n_layers, width], nats.

    The push and not the log-probability: where the model is certain of the value, the latter has next to no gradient.
    """
    [own] = gate_gradient(task.lm, [aim.encoded.ids], task.site, lambda logits: aim(logits) * aim.pushed.sum())
    contrast: Tensor = own - needed(task, rows, value_gradient(task.lm, task.site))
    return contrast


def gradient(task: Task) -> Iterator[LocalizationStep]:
    """Plain gate gradient of the value's summed log-probability: one backward pass."""
    task.go_on()
    [own] = value_gradient(task.lm, task.site)([task.lm.encode(task.target)])
    yield task.only_step("gradient", own, "gradient x gate", {})


def contrastive_gradient(task: Task) -> Iterator[LocalizationStep]:
    """Contrastive gate gradient: one backward pass for the target, one for each batch of retained rows."""
    rows = task.retained_rows(SAMPLES, SAMPLE_TOKENS)
    aim = push(task.lm, task.lm.encode(task.target), MARGIN, TAU)
    scores = contrastive(task, aim, rows)
    settings = {"retained": len(rows), "own_samples": SAMPLES}
    yield task.only_step("contrastive-gradient", scores, "gradient x gate, minus retained text", settings)
