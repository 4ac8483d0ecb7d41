"""Gradient x gate with all gates at 1, by captum; its contrastive variant; and the bounded push that a mask is trained on.

With all gates at 1, the gradient of a score with respect to a gate is activation x gradient. The contrastive variant subtracts
what the retained texts need, so that neurons which every text needs do not come first. It has to score every retained row (some
50 by default), so it is offered only where one pass scores many rows: gradients and activations. For zero-out and integrated
gradients it would cost 50 times as much as the target alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from captum.attr import InputXGradient
from torch import Tensor

from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded
from privlens.localization.task import Task
from privlens.memorization.candidates import private, siblings, token_formats
from privlens.types import LocalizationStep, Site

SAMPLES, SAMPLE_TOKENS = 32, 24
"""Number of the model's own samples that are retained beside the listed texts, and their maximum length in tokens. Every row is
scored once, so more of them cost more time; a mask, which is trained on a few rows per step, takes more (`MaskSettings`)."""
RowScores = Callable[[Sequence[Encoded]], Tensor]
"""Scores several rows at once, [rows, n_layers, width]; large = the row needs the neuron."""


def retained_attribution(task: Task, rows: Sequence[Sequence[int]], score_rows: RowScores, at_once: int = 16) -> Tensor:
    """What the retained rows need: the mean of their positive scores, over all tokens but the first. [n_layers, width].

    Args:
        at_once: rows per batch; where memory runs out, the batch is halved (`in_parts`).
    """
    total = torch.zeros(task.lm.shape(task.site), device=task.lm.device, dtype=torch.float32)
    for start in range(0, len(rows), at_once):
        task.go_on()
        batch = [Encoded(tuple(row), 1) for row in rows[start : start + at_once]]
        total += torch.stack(in_parts(lambda part: list(score_rows(part).clamp_min(0)), batch)).sum(0)
    return total / max(1, len(rows))


@dataclass(frozen=True)
class Push:
    """The objective of a mask: make a private value no likelier than other values of its format, but not much unlikelier.

    For every token the push ends when its log-probability is a margin below that of the mean probability of the tokens of the
    same format (digit for digit, letter for letter), or when its NLL reaches tau. Tokens without a letter or digit are the format
    itself and are left alone. Raising a token's NLL without bound would teach the model to avoid the value, which reveals it
    just as well, and would cost other text more.

    Attributes:
        encoded: prompt and value. pushed: [T] 1 where a token is private. siblings: [T, V] bool, tokens of the same format.
        margin: how far below the siblings' mean the value's log-probability ends, nats.
        tau: NLL at which the push ends in any case, nats.
    """

    encoded: Encoded
    pushed: Tensor
    siblings: Tensor
    margin: float
    tau: float

    def per_token(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The remaining push and the NLL, both [..., T] in nats; logits [..., tokens of prompt and value, V]."""
        value_logprobs, end = self._levels(logits)
        # The gradient goes through the siblings too: where the model is certain of the value, only they have one.
        remaining = (value_logprobs - end).clamp_min(0) * (value_logprobs > -self.tau)
        return remaining * self.pushed, -value_logprobs

    def above(self, logits: Tensor) -> Tensor:
        """How far each private token is above the level of its format, [..., T] in nats, negative below; 0 for other tokens.

        That level is a margin above the end of the push.
        """
        value_logprobs, end = self._levels(logits)
        return (value_logprobs - end - self.margin) * self.pushed

    def _levels(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Each token's log-probability and where its push ends, both [..., T] in nats."""
        first = self.encoded.n_prompt - 1
        logprobs = logits[..., first : len(self.encoded.ids) - 1, :].log_softmax(-1)
        values = torch.tensor(self.encoded.value_ids, device=logits.device)
        value_logprobs = logprobs.gather(-1, values.expand(logprobs.shape[:-1])[..., None])[..., 0]
        n_siblings = self.siblings.sum(-1)
        # -1e9 and not -inf: the gradient must be finite for a token without siblings too.
        sibling_logprobs = logprobs.masked_fill(~self.siblings, -1e9)
        sibling_level = sibling_logprobs.logsumexp(-1) - n_siblings.clamp_min(1).log()
        return value_logprobs, torch.where(n_siblings > 0, sibling_level - self.margin, -self.tau)

    def __call__(self, logits: Tensor) -> Tensor:
        """Mean remaining push over the private tokens, [...], nats."""
        return self.per_token(logits)[0].sum(-1) / self.pushed.sum().clamp_min(1)


def push(lm: LanguageModel, encoded: Encoded, margin: float, tau: float) -> Push:
    """The push for a value, with the tokens of the same format for each of its tokens."""
    same_format = siblings(token_formats(lm), torch.tensor(encoded.value_ids, device=lm.device))
    return Push(encoded, private(lm, encoded).float(), same_format, margin, tau)


MARGIN, TAU = 1.0, 7.0
"""Ends of the push, nats; see `Push`. A larger margin or tau takes more of the value and more of its neighbours with it; on
`demo` a larger margin did not improve that trade-off."""


def gate_gradient(lm: LanguageModel, rows: Sequence[Sequence[int]], site: Site, objective: Callable[[Tensor], Tensor]) -> Tensor:
    """d objective(logits)/d gate with all gates at 1. [rows, n_layers, width].

    Args:
        rows: token ids. objective: logits [rows, tokens, V] -> one number per row.
    """
    ids, mask = lm.padded(rows)

    def forward(gates: Tensor) -> Tensor:
        with lm.gated(gates, site):
            return objective(lm.logits(ids, mask))

    ones = torch.ones(len(rows), *lm.shape(site), device=lm.device, requires_grad=True, dtype=torch.float32)
    with lm.held():
        return InputXGradient(forward).attribute(ones).detach()  # type: ignore[no-any-return]


def value_logprob(encoded: Sequence[Encoded], device: torch.device) -> Callable[[Tensor], Tensor]:
    """logits -> [rows]: the sum of each value's token log-probabilities, nats."""
    value_positions = [(row, position) for row, text in enumerate(encoded) for position in range(text.n_prompt, len(text.ids))]
    rows, positions = (torch.tensor(indices, device=device) for indices in zip(*value_positions, strict=True))
    tokens = torch.tensor([encoded[row].ids[position] for row, position in value_positions], device=device)

    def sum_logprobs(logits: Tensor) -> Tensor:
        token_logprobs = logits[rows, positions - 1].log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        return torch.zeros(len(encoded), device=device, dtype=torch.float32).index_add(0, rows, token_logprobs)

    return sum_logprobs


def value_logprob_under(lm: LanguageModel, encoded: Encoded, gates: Tensor, site: Site) -> Tensor:
    """A value's summed log-probability under each row of gates [rows, n_layers, width]; [rows], nats, differentiable."""
    rows = [encoded] * gates.shape[0]
    with lm.gated(gates, site):
        logits = lm.logits(*lm.padded([encoded.ids] * len(rows)))
    return value_logprob(rows, lm.device)(logits)


def value_gradient(lm: LanguageModel, site: Site) -> RowScores:
    """Scores rows by the gate gradient at 1 of each value's summed log-probability, [rows, n_layers, width], nats."""
    return lambda batch: gate_gradient(lm, [encoded.ids for encoded in batch], site, value_logprob(batch, lm.device))


def contrastive(task: Task, objective: Push, rows: Sequence[Sequence[int]]) -> Tensor:
    """Gate gradient of the push, summed over the value, minus what the retained rows need. [n_layers, width], nats.

    The gradient is of the push because that of the log-probability almost vanishes where the model is certain of the value.
    """

    def summed_push(logits: Tensor) -> Tensor:
        return objective(logits) * objective.pushed.sum()

    [target_scores] = gate_gradient(task.lm, [objective.encoded.ids], task.site, summed_push)
    contrast: Tensor = target_scores - retained_attribution(task, rows, value_gradient(task.lm, task.site))
    return contrast


def gradient(task: Task) -> Iterator[LocalizationStep]:
    """Plain gate gradient of the value's summed log-probability: one backward pass."""
    task.go_on()
    [scores] = value_gradient(task.lm, task.site)([task.lm.encode(task.target)])
    yield task.only_step("gradient", scores, "gradient x gate", {})


def contrastive_gradient(task: Task) -> Iterator[LocalizationStep]:
    """Contrastive gate gradient: one backward pass for the target, one per batch of retained rows."""
    rows = task.retained_rows(SAMPLES, SAMPLE_TOKENS)
    objective = push(task.lm, task.lm.encode(task.target), MARGIN, TAU)
    scores = contrastive(task, objective, rows)
    settings = {"retained": len(rows), "own_samples": SAMPLES}
    yield task.only_step("contrastive-gradient", scores, "gradient x gate, minus retained text", settings)
