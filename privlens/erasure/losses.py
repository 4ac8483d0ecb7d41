"""What makes a model forget a text: entropy maximization (EMSO) and its rivals, as losses over the positions that predict values.

Sources: EMSO, Zhang et al., COLING 2025 (arXiv 2408.04983); gradient ascent, Jang et al., ACL 2023; unlikelihood, Welleck et al.,
ICLR 2020; NPO, Zhang et al. 2024 (arXiv 2404.05868); UNDIAL, Dong et al. 2024 (arXiv 2402.10052). A loss is a number for each
text; less is more forgotten. Knows nothing of weights.
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
"""A logit that takes no part, finite for the sake of gradients."""
KNOWN_MARGIN = 0.5
"""Nats behind the first choice within which a true token is still worked on."""
TRUE_TOKEN_OFFSET = 1.0
"""Nats that EMSO adds to a true token before it makes all alike: level with the rest it would still be the first choice."""
SHARPNESSES = (0.5, 1.0, 2.0, 4.0)
NPO_BETA = 0.1
UNDIAL_STRENGTH = 10.0
"""What the teacher's logit of the true token is lowered by, nats."""


@dataclass(frozen=True)
class Predicted:
    """Predictions for the values of some texts, all P positions in one line.

    Attributes:
        logits: [P, V]. values: [P] true tokens. texts: [P] which text each belongs to, 0 .. n_texts - 1.
        reference: [P, V] logits of the model before the erasure, for the losses in NEEDS_REFERENCE; else None.
        format: [P, V] bool, tokens of the true token's format, for losses that stay within it; None for the whole vocabulary.
        counted: [P] 0..1, what each position counts in its text's loss; None for all alike.
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
        """[P] 1 where the true token is the first choice or at most LEAD nats behind it: what is still known."""
        rest = self.logits.detach().scatter(-1, self.values[:, None], -torch.inf).amax(-1)
        own = self.logits.detach().gather(-1, self.values[:, None])[:, 0]
        return (own > rest - KNOWN_MARGIN).float()

    @property
    def log_odds(self) -> Tensor:
        """log p - log(1 - p) of the true tokens, [P]: exact, and with a gradient, where p itself is 1 to the last digit."""
        return self.logits.gather(-1, self.values[:, None])[:, 0] - self.beside(self.logits).logsumexp(-1)

    @property
    def own(self) -> Tensor:
        """Log-probabilities of the true tokens, [P], nats."""
        return torch.nn.functional.logsigmoid(self.log_odds)

    def beside(self, logits: Tensor) -> Tensor:
        """[P, V] logits without the true tokens, which take no part."""
        return logits.scatter(-1, self.values[:, None], MASKED_LOGIT)

    def summed(self, numbers: Tensor) -> Tensor:
        """[P] -> [n_texts]: what is counted of each text's positions."""
        counted = numbers if self.counted is None else numbers * self.counted
        return numbers.new_zeros(self.n_texts).index_add(0, self.texts, counted)

    def mean(self, numbers: Tensor) -> Tensor:
        """[P] -> [n_texts]: the same by the number of all its positions."""
        return self.summed(numbers) / torch.bincount(self.texts, minlength=self.n_texts)


def predictions(lm: LanguageModel, texts: Sequence[Encoded]) -> Predicted:
    """What the model as it stands predicts for the values of these texts. Differentiable within `lm.held()`."""
    logits = lm.logits(*lm.padded([text.ids for text in texts]))
    at = [(row, place) for row, text in enumerate(texts) for place in range(text.n_prompt, len(text.ids))]
    rows, places = (torch.tensor(part, device=logits.device) for part in zip(*at, strict=True))
    values = torch.tensor([texts[row].ids[place] for row, place in at], device=logits.device)
    return Predicted(logits[rows, places - 1], values, rows, len(texts))


def together(parts: Sequence[Predicted]) -> Predicted:
    """Predictions for several lots of texts as those for all of them, one lot after the other, without what was only asked."""
    firsts = accumulate((part.n_texts for part in parts), initial=0)
    return Predicted(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.values for part in parts]),
        torch.cat([part.texts + first for part, first in zip(parts, firsts, strict=False)]),
        sum(part.n_texts for part in parts),
    )


def add_gradients(lm: LanguageModel, texts: Sequence[Encoded], at_once: int, loss: Callable[[Predicted, slice], Tensor]) -> float:
    """Backward passes, `at_once` texts in one, whose gradients add up to those of a loss's mean over all texts; that mean.

    Args:
        loss: the predictions for some of the texts, and which these are, to a number for each.
    """
    total = 0.0
    for at in range(0, len(texts), at_once):
        part = slice(at, at + at_once)
        own = loss(predictions(lm, texts[part]), part).sum() / len(texts)
        own.backward()
        total += own.item()
    return total


Loss = Callable[[Predicted], Tensor]
"""[n_texts]."""


class _Entropy(torch.autograd.Function):
    """By its own formula: autograd's adds up terms of 1 to what the likeliest token gets, and 32 bits lose 1 - p that way."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        """[..., V] -> [...]. Log-probabilities are taken from behind the likeliest token, so that its own is not lost."""
        top, likeliest = logits.max(-1, keepdim=True)
        behind = (logits - top).clamp_min(MASKED_LOGIT)
        logprobs = behind - behind.exp().scatter(-1, likeliest, 0.0).sum(-1, keepdim=True).log1p()
        found = -(logprobs.exp() * logprobs).sum(-1)
        ctx.save_for_backward(logprobs, found)
        return found

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Tensor:
        """dH/dz_v = -p_v (log p_v + H)."""
        logprobs, found = ctx.saved_tensors
        gradient: Tensor = -outer[0][..., None] * logprobs.exp() * (logprobs + found[..., None])
        return gradient


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the next-token distribution, nats: [..., V] -> [...]. dH/dz_v = -p_v (log p_v + H), bounded, 0 at uniform."""
    found: Tensor = _Entropy.apply(logits)  # type: ignore[no-untyped-call]
    return found


def entropy_maximization(predicted: Predicted) -> Tensor:
    """L_EM = -H, the mean over the value's positions and over several sharpnesses: H of softmax(s * logits).

    Alone, H hardly moves a model that is certain of a token, nor one that has nearly forgotten it and still likes it best. A
    blunt softmax (s < 1) has a gradient at the one end, a sharp one at the other. All are largest where every token is as likely
    as every other and the true one HANDICAP nats behind: it comes down from above, and at their level it would still be the first
    choice by a hair. Ours.
    """
    handicap = torch.full_like(predicted.own[:, None].detach(), TRUE_TOKEN_OFFSET)
    logits = predicted.logits.scatter_add(-1, predicted.values[:, None], handicap)
    logits = logits if predicted.format is None else logits.masked_fill(~predicted.format, MASKED_LOGIT)
    by_sharpness = [entropy(sharpness * logits) for sharpness in SHARPNESSES]
    return predicted.mean(-torch.stack(by_sharpness).mean(0))


def nll(predicted: Predicted) -> Tensor:
    """The value's NLL in nats/token; what is to rise."""
    return -predicted.mean(predicted.own)


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
    ratio = predicted.summed(predicted.own - before)
    return 2 / NPO_BETA * torch.nn.functional.softplus(NPO_BETA * ratio)


def kl_to_uniform(predicted: Predicted) -> Tensor:
    """KL(uniform || p): what is improbable is drawn up too, where the entropy leaves it."""
    logprobs = predicted.logits.log_softmax(-1)
    return predicted.mean(-logprobs.mean(-1) - math.log(logprobs.shape[-1]))


def undial(predicted: Predicted) -> Tensor:
    """Cross-entropy to softmax(z_before - strength * onehot(true token)): a teacher that dislikes what it knew.

    First between the true token and the rest, then within the rest: a certain teacher's 1 - p is not lost so.
    """
    assert predicted.reference is not None
    strength = torch.full_like(predicted.own[:, None].detach(), UNDIAL_STRENGTH)
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
