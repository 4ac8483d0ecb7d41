"""Losses that make a model forget a text: entropy maximization (EMSO) and other methods, over the positions that predict values.

Sources: EMSO, Zhang et al., COLING 2025 (arXiv 2408.04983); gradient ascent, Jang et al., ACL 2023; unlikelihood, Welleck et al.,
ICLR 2020; NPO, Zhang et al. 2024 (arXiv 2404.05868); UNDIAL, Dong et al. 2024 (arXiv 2402.10052). A loss is a number for each
text; lower is more forgotten.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded

MASKED_LOGIT = -1e4
"""The logit of an excluded token; finite, so that gradients are numbers."""
KNOWN_MARGIN = 0.5
"""A true token less than this many nats below the first choice still counts as known. A larger one trains tokens for longer."""
TRUE_TOKEN_OFFSET = 1.0
"""Nats that EMSO adds to a true token's logit before it equalizes all: level with the rest it could still be the first choice."""
SHARPNESSES = (0.5, 1.0, 2.0, 4.0)
"""Factors of the logits in EMSO: below 1 for a gradient where the model is certain, above 1 where it has nearly forgotten."""
NPO_BETA = 0.1
"""NPO's inverse temperature: towards 0 the loss becomes gradient ascent."""
UNDIAL_STRENGTH = 10.0
"""By how much the teacher's logit of the true token is lowered, nats; higher teaches the model to avoid the token more."""


@dataclass(frozen=True)
class Predicted:
    """Predictions for the values of some texts, all P positions concatenated.

    Attributes:
        logits: [P, V]. values: [P] true tokens. texts: [P] index of the text of each position, 0 .. n_texts - 1.
        reference: [P, V] logits of the model before the erasure, for the losses in NEEDS_REFERENCE; else None.
        format: [P, V] bool, tokens of the true token's format, for losses that stay within it; None for the whole vocabulary.
        counted: [P] 0..1, the weight of each position in its text's loss; None for 1 everywhere.
    """

    logits: Tensor
    values: Tensor
    texts: Tensor
    n_texts: int
    reference: Tensor | None = None
    format: Tensor | None = None
    counted: Tensor | None = None

    @property
    def leads(self) -> Tensor:
        """[P] 1 where the true token is the first choice or less than KNOWN_MARGIN nats below it, that is, still known."""
        best_other = self.logits.detach().scatter(-1, self.values[:, None], -torch.inf).amax(-1)
        true = self.logits.detach().gather(-1, self.values[:, None])[:, 0]
        return (true > best_other - KNOWN_MARGIN).float()

    @property
    def log_odds(self) -> Tensor:
        """log p - log(1 - p) of the true tokens, [P]: exact, and with a gradient, where p itself is 1 to the last digit."""
        return self.logits.gather(-1, self.values[:, None])[:, 0] - self.beside(self.logits).logsumexp(-1)

    @property
    def logprobs(self) -> Tensor:
        """Log-probabilities of the true tokens, [P], nats."""
        return torch.nn.functional.logsigmoid(self.log_odds)

    def beside(self, logits: Tensor) -> Tensor:
        """[P, V] logits with the true tokens masked out."""
        return logits.scatter(-1, self.values[:, None], MASKED_LOGIT)

    def summed(self, numbers: Tensor) -> Tensor:
        """[P] -> [n_texts]: the sum over each text's positions, weighted by `counted`."""
        counted = numbers if self.counted is None else numbers * self.counted
        return numbers.new_zeros(self.n_texts).index_add(0, self.texts, counted)

    def mean(self, numbers: Tensor) -> Tensor:
        """[P] -> [n_texts]: `summed`, divided by the number of all positions of the text."""
        return self.summed(numbers) / torch.bincount(self.texts, minlength=self.n_texts)


def predictions(lm: LanguageModel, texts: Sequence[Encoded]) -> Predicted:
    """What the model predicts on its current weights for the values of these texts. Differentiable within `lm.held()`."""
    logits = lm.logits(*lm.padded([text.ids for text in texts]))
    positions = [(row, position) for row, text in enumerate(texts) for position in range(text.n_prompt, len(text.ids))]
    rows, columns = (torch.tensor(indices, device=logits.device) for indices in zip(*positions, strict=True))
    values = torch.tensor([texts[row].ids[position] for row, position in positions], device=logits.device)
    return Predicted(logits[rows, columns - 1], values, rows, len(texts))


def batched_predictions(lm: LanguageModel, texts: Sequence[Encoded], at_once: int) -> Predicted:
    """`predictions` for all texts, `at_once` in a pass, without gradients."""
    with torch.no_grad():
        return concatenated([predictions(lm, texts[start : start + at_once]) for start in range(0, len(texts), at_once)])


def concatenated(parts: Sequence[Predicted]) -> Predicted:
    """Predictions for several batches of texts as one, in order, without `reference`, `format` and `counted`."""
    firsts = accumulate((part.n_texts for part in parts), initial=0)
    return Predicted(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.values for part in parts]),
        torch.cat([part.texts + first for part, first in zip(parts, firsts, strict=False)]),
        sum(part.n_texts for part in parts),
    )


def add_gradients(lm: LanguageModel, texts: Sequence[Encoded], at_once: int, loss: Callable[[Predicted, slice], Tensor]) -> float:
    """Backward passes of `at_once` texts, whose gradients add up to those of the mean loss over all texts, which is returned.

    Args:
        loss: takes the predictions for some of the texts, and the slice of `texts` that these are; returns a number for each.
    """
    total = 0.0
    for start in range(0, len(texts), at_once):
        part = slice(start, start + at_once)
        part_loss = loss(predictions(lm, texts[part]), part).sum() / len(texts)
        part_loss.backward()
        total += part_loss.item()
    return total


Loss = Callable[[Predicted], Tensor]
"""[n_texts]."""


class _Entropy(torch.autograd.Function):
    """With a gradient of its own: autograd's adds terms of 1 for the likeliest token, and float32 loses 1 - p that way."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        """[..., V] -> [...]. Log-probabilities are relative to the likeliest token, so that its own is not rounded to 0."""
        top, likeliest = logits.max(-1, keepdim=True)
        shifted = (logits - top).clamp_min(MASKED_LOGIT)
        logprobs = shifted - shifted.exp().scatter(-1, likeliest, 0.0).sum(-1, keepdim=True).log1p()
        entropies = -(logprobs.exp() * logprobs).sum(-1)
        ctx.save_for_backward(logprobs, entropies)
        return entropies

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Tensor:
        """dH/dz_v = -p_v (log p_v + H)."""
        logprobs, entropies = ctx.saved_tensors
        gradient: Tensor = -outer[0][..., None] * logprobs.exp() * (logprobs + entropies[..., None])
        return gradient


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the next-token distribution, nats: [..., V] -> [...]. dH/dz_v = -p_v (log p_v + H), bounded, 0 at uniform."""
    entropies: Tensor = _Entropy.apply(logits)  # type: ignore[no-untyped-call]
    return entropies


def entropy_maximization(predicted: Predicted) -> Tensor:
    """L_EM = -H, the mean over the value's positions and over several sharpnesses: H of softmax(s * logits).

    H alone has almost no gradient where the model is certain of a token, nor where it has nearly forgotten it and still ranks it
    first. A flat softmax (s < 1) has a gradient in the first case, a sharp one in the second. All are largest where all tokens
    are equally likely, and the true one TRUE_TOKEN_OFFSET nats below the rest: it comes down from above, and would otherwise
    remain the first choice by a hair. Our own extension of EMSO.
    """
    offset = torch.full_like(predicted.logprobs[:, None].detach(), TRUE_TOKEN_OFFSET)
    logits = predicted.logits.scatter_add(-1, predicted.values[:, None], offset)
    logits = logits if predicted.format is None else logits.masked_fill(~predicted.format, MASKED_LOGIT)
    by_sharpness = [entropy(sharpness * logits) for sharpness in SHARPNESSES]
    return predicted.mean(-torch.stack(by_sharpness).mean(0))


def nll(predicted: Predicted) -> Tensor:
    """The value's NLL in nats/token, which is to rise."""
    return -predicted.mean(predicted.logprobs)


def gradient_ascent(predicted: Predicted) -> Tensor:
    """The value's mean log-probability: unbounded below."""
    return -nll(predicted)


def unlikelihood(predicted: Predicted) -> Tensor:
    """-log(1 - p) of every true token."""
    return predicted.mean(-torch.nn.functional.logsigmoid(-predicted.log_odds))


def npo(predicted: Predicted) -> Tensor:
    """2/beta log(1 + (p / p_before)^beta), of the whole value's probability."""
    assert predicted.reference is not None
    before = predicted.reference.log_softmax(-1).gather(-1, predicted.values[:, None])[:, 0]
    ratio = predicted.summed(predicted.logprobs - before)
    return 2 / NPO_BETA * torch.nn.functional.softplus(NPO_BETA * ratio)


def kl_to_uniform(predicted: Predicted) -> Tensor:
    """KL(uniform || p): raises improbable tokens too, which the entropy hardly affects."""
    logprobs = predicted.logits.log_softmax(-1)
    return predicted.mean(-logprobs.mean(-1) - math.log(logprobs.shape[-1]))


def undial(predicted: Predicted) -> Tensor:
    """Cross-entropy to softmax(z_before - strength * onehot(true token)): a teacher that avoids what it knew.

    Computed between the true token and the rest, then within the rest, so that a certain teacher's 1 - p is not rounded to 0.
    """
    assert predicted.reference is not None
    strength = torch.full_like(predicted.logprobs[:, None].detach(), UNDIAL_STRENGTH)
    teacher = replace(predicted, logits=predicted.reference.scatter_add(-1, predicted.values[:, None], -strength))
    true, rest = teacher.log_odds.sigmoid(), (-teacher.log_odds).sigmoid()
    within = (teacher.beside(teacher.logits).softmax(-1) * predicted.beside(predicted.logits).log_softmax(-1)).sum(-1)
    log_odds = predicted.log_odds
    logsigmoid = torch.nn.functional.logsigmoid
    return predicted.mean(-(true * logsigmoid(log_odds) + rest * (logsigmoid(-log_odds) + within)))


LOSSES: dict[str, Loss] = {
    "emso": entropy_maximization,
    "gradient-ascent": gradient_ascent,
    "unlikelihood": unlikelihood,
    "npo": npo,
    "kl-uniform": kl_to_uniform,
    "undial": undial,
}
NEEDS_REFERENCE = {"npo", "undial"}
