"""How deep a mask has to bury a value, and the loss that takes it there.

`hidden`: greedy decoding no longer writes it. A number N of tries: N samples contain it with a chance of at most one half.
`forgotten`: it may pass for one of its rivals (memorization/levels.py) with the same neurons off; where it has none, it is no
likelier than other values of its format, token by token on average.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.tokens import Encoded
from privlens.localization.gradients import MARGIN, TAU, Push, push
from privlens.localization.task import Task
from privlens.memorization.extraction import logprob_for_tries
from privlens.memorization.levels import Rivals, rivals_of
from privlens.memorization.words import has_words

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
        rivals: what the value is compared with if it is to be forgotten. level: the total log-probability up to which it may pass
            for one of them, with the neurons off that are off now, nats. lowest: the same with all neurons on; where the rivals
            sink below that, the prompt has been harmed, not the value.
    """

    push: Push
    depth: str
    rivals: Rivals | None = None
    lowest: float = -math.inf
    level: float = -math.inf

    @property
    def encoded(self) -> Encoded:
        """Prompt and value."""
        return self.push.encoded

    @torch.no_grad()
    def under(self, task: Task, gates: Tensor) -> "Goal":
        """The goal with these gates [1, n_layers, width], under which a value is compared with its rivals."""
        if self.rivals is None:
            return self
        with task.lm.gated(gates, task.site):
            level = self.rivals.level(task.lm, task.stop)
        return replace(self, level=max(self.lowest, level.high))

    def met(self, logits: Tensor) -> Tensor:
        """Whether the value is as deep as asked, [...] bool; logits [..., tokens of prompt and value, V]."""
        if self.depth == HIDDEN:
            return self._leads(logits).amin(-1) < 0
        if not math.isfinite(self.highest):
            return self.push.above(logits).sum(-1) <= 0
        return self.push.per_token(logits)[1].sum(-1) >= -self.highest

    def loss(self, logits: Tensor) -> Tensor:
        """What is left of the push, [...], nats per private token; 0 once the value is as deep as asked, and SLACK deeper.

        The push ends at the level of the format. What is missing beyond that, to a number of tries or to the rivals, counts too.
        """
        if self.depth == HIDDEN:
            return self.push(logits) * (self._leads(logits).amin(-1) > -SLACK)
        if not math.isfinite(self.highest):
            return self.push(logits)
        missing = (SLACK - self.highest - self.push.per_token(logits)[1].sum(-1)).clamp_min(0)
        return self.push(logits) * (missing > 0) + missing / self.push.pushed.sum().clamp_min(1)

    @property
    def highest(self) -> float:
        """The total log-probability (nats) that the value may have; -inf where the format itself says."""
        tries = tries_of(self.depth)
        return self.level if tries is None else logprob_for_tries(tries)

    def _leads(self, logits: Tensor) -> Tensor:
        """How far each private token's logit is above the largest other one, [..., T], nats; inf for tokens of the format."""
        predicted = logits[..., self.encoded.n_prompt - 1 : len(self.encoded.ids) - 1, :]
        values = torch.tensor(self.encoded.value_ids, device=logits.device).expand(predicted.shape[:-1])[..., None]
        best_other = predicted.scatter(-1, values, float("-inf")).amax(-1)
        return (predicted.gather(-1, values)[..., 0] - best_other).masked_fill(self.push.pushed == 0, float("inf"))


def goal(task: Task, depth: str) -> Goal:
    """The goal for a task's target. Raises BadInput for a depth that does not exist.

    A value made of words has no rivals where too few other people's values are retained: random letters are none.
    """
    tries_of(depth)
    aim = Goal(push(task.lm, task.lm.encode(task.target), MARGIN, TAU), depth)
    if depth != FORGOTTEN:
        return aim
    rivals = rivals_of(task.lm, task.target, task.others, task.seed, task.stop)
    if not rivals.elsewhere and has_words(task.lm, task.target.value):
        return aim
    lowest = rivals.level(task.lm, task.stop).high
    return replace(aim, rivals=rivals, lowest=lowest, level=lowest)
