"""Gradient x gate at 1, by captum; the same minus what other texts need; and the bounded push that a mask trains on.

With all gates at 1 the gradient of a score with respect to a gate is activation x gradient. In the contrastive variant what
the retained texts need too is subtracted, so that neurons which everything needs do not come first. That costs a score of every
retained row (some 50 by default), so it is offered only where one pass scores many rows: gradients and activations. Zero-out and
integrated gradients would cost 50 times what the target alone does.
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
"""Samples of the model's own that are retained beside the listed texts, and their tokens at most."""
RowScores = Callable[[Sequence[Encoded]], Tensor]
"""Scores of several rows at once, [rows, n_layers, width]; large = the row needs the neuron."""


def retained_attribution(task: Task, rows: Sequence[Sequence[int]], scores_of: RowScores, at_once: int = 16) -> Tensor:
    """Mean positive score of the retained rows, all tokens but the first of each: what closing would cost. [n_layers, width]."""
    total = torch.zeros(task.lm.shape(task.site), device=task.lm.device, dtype=torch.float32)
    for at in range(0, len(rows), at_once):
        task.go_on()
        batch = [Encoded(tuple(row), 1) for row in rows[at : at + at_once]]
        total += torch.stack(in_parts(lambda part: list(scores_of(part).clamp_min(0)), batch)).sum(0)
    return total / max(1, len(rows))


@dataclass(frozen=True)
class Push:
    """The push of a mask: make a private value no likelier than other values of its format, and no more than that.

    A bounded push has two ends for every token: its log-probability has fallen a margin below the mean probability of the
    tokens of the same format (digit for digit, letter for letter), or its NLL has reached tau. Tokens without a letter or digit
    are the format itself and are left alone. Driving a token's NLL without an end would teach the model to avoid the value,
    which tells it just as well, and would cost other text more.

    Attributes:
        encoded: prompt and value. pushed: [T] 1 where a token is private. siblings: [T, V] bool, tokens of the same format.
        margin: how far below the siblings' mean the value shall end, nats. tau: where the push ends in any case, nats.
    """

    encoded: Encoded
    pushed: Tensor
    siblings: Tensor
    margin: float
    tau: float

    def per_token(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of the push, and the NLL, both [..., T] in nats; logits [..., tokens of prompt and value, V]."""
        first = self.encoded.n_prompt - 1
        logprobs = logits[..., first : len(self.encoded.ids) - 1, :].log_softmax(-1)
        values = torch.tensor(self.encoded.value_ids, device=logits.device)
        own = logprobs.gather(-1, values.expand(logprobs.shape[:-1])[..., None])[..., 0]
        count = self.siblings.sum(-1)
        among = logprobs.masked_fill(~self.siblings, -1e9)  # finite: a token without siblings still needs a gradient
        level = among.logsumexp(-1) - count.clamp_min(1).log()
        end = torch.where(count > 0, level - self.margin, -self.tau)
        # With the siblings, not the value alone: where the model is certain of the value, only they have a gradient.
        left = (own - end).clamp_min(0) * (own > -self.tau)
        return left * self.pushed, -own

    def matches(self, logits: Tensor) -> bool:
        """Whether the value is the first choice at every token in any of the rows; logits as for `per_token`."""
        first = logits[..., self.encoded.n_prompt - 1 : len(self.encoded.ids) - 1, :].argmax(-1)
        values = torch.tensor(self.encoded.value_ids, device=logits.device)
        return bool((first == values).all(-1).any())

    def __call__(self, logits: Tensor) -> Tensor:
        """Mean of what is left over the private tokens, [...], nats."""
        return self.per_token(logits)[0].sum(-1) / self.pushed.sum().clamp_min(1)


def push(lm: LanguageModel, encoded: Encoded, margin: float, tau: float) -> Push:
    """Finds the tokens of the same format for every token of the value."""
    others = siblings(token_formats(lm), torch.tensor(encoded.value_ids, device=lm.device))
    return Push(encoded, private(lm, encoded).float(), others, margin, tau)


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
    contrast: Tensor = own - retained_attribution(task, rows, value_gradient(task.lm, task.site))
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
