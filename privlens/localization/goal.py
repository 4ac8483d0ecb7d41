"""How deep a mask has to bury a value, and the loss that takes it there.

`hidden`: greedy decoding no longer writes it. A number N of tries: N samples contain it with a chance of at most one half.
`forgotten`: it is no likelier than other values of its format, token by token on average.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded
from privlens.localization.gradients import MARGIN, TAU, Push, push
from privlens.memorization.extraction import logprob_for_tries

HIDDEN, FORGOTTEN = "hidden", "forgotten"
SLACK = 0.5
"""Nats by which the loss asks for more than the goal, so that gates that end between open and closed do not miss it."""


def tries_of(depth: str) -> float | None:
    """The number of tries that a depth asks for; None for the two that have a name. Raises BadInput for anything else."""
    if depth in (HIDDEN, FORGOTTEN):
        return None
    try:
        tries = float(depth.replace(",", ""))
    except ValueError:
        tries = 0.0
    if not 1 < tries < float("inf"):
        raise BadInput(
            f"{depth!r} is no depth: give {HIDDEN}, {FORGOTTEN}, or a number of tries above 1, such as 1000000, that the value "
            "should take to appear."
        )
    return tries


@dataclass(frozen=True)
class Goal:
    """The depth that was asked for of one value.

    Attributes:
        push: the value, its private tokens, and the tokens of the same format. depth: as for `tries_of`.
    """

    push: Push
    depth: str

    @property
    def encoded(self) -> Encoded:
        """Prompt and value."""
        return self.push.encoded

    def met(self, logits: Tensor) -> Tensor:
        """Whether the value is as deep as asked, [...] bool; logits [..., tokens of prompt and value, V]."""
        tries = tries_of(self.depth)
        if tries is not None:
            return self.push.per_token(logits)[1].sum(-1) >= -logprob_for_tries(tries)
        if self.depth == FORGOTTEN:
            return self.push.above(logits).sum(-1) <= 0
        return self._leads(logits).amin(-1) < 0

    def loss(self, logits: Tensor) -> Tensor:
        """What is left of the push, [...], nats per private token; 0 once the value is as deep as asked, and SLACK deeper.

        The push ends at the level of the format. For a number of tries beyond that, what is missing counts as well.
        """
        tries = tries_of(self.depth)
        if self.depth == FORGOTTEN:
            return self.push(logits)
        if tries is None:
            return self.push(logits) * (self._leads(logits).amin(-1) > -SLACK)
        missing = (SLACK - logprob_for_tries(tries) - self.push.per_token(logits)[1].sum(-1)).clamp_min(0)
        return self.push(logits) * (missing > 0) + missing / self.push.pushed.sum().clamp_min(1)

    def _leads(self, logits: Tensor) -> Tensor:
        """How far each private token's logit is above the largest other one, [..., T], nats; inf for tokens of the format."""
        predicted = logits[..., self.encoded.n_prompt - 1 : len(self.encoded.ids) - 1, :]
        values = torch.tensor(self.encoded.value_ids, device=logits.device).expand(predicted.shape[:-1])[..., None]
        best_other = predicted.scatter(-1, values, float("-inf")).amax(-1)
        return (predicted.gather(-1, values)[..., 0] - best_other).masked_fill(self.push.pushed == 0, float("inf"))


def goal(lm: LanguageModel, encoded: Encoded, depth: str) -> Goal:
    """The goal for a value. Raises BadInput for a depth that does not exist."""
    tries_of(depth)
    return Goal(push(lm, encoded, MARGIN, TAU), depth)
