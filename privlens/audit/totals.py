"""Total log-probabilities of many values behind many prompts, token by token: values that begin alike are run as one.

A value is given up as soon as its first tokens are less likely than was asked for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from privlens.errors import Cancelled
from privlens.lm.continuations import Continuations, together
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel, Stop

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Asked:
    """Values behind one prompt, as token ids; those that are less likely than `floor` (nats) are of no interest."""

    prompt: Ids
    values: tuple[Ids, ...]
    floor: float = -math.inf


def totals(lm: LanguageModel, asked: Sequence[Asked], stop: Stop) -> list[list[float]]:
    """The total log-probability of each value (nats); -inf where its first tokens are below the floor.

    Raises:
        Cancelled: when `stop` returns true between two tokens.
    """
    found: dict[int, list[float]] = {}
    for batch in together(lm, [one.prompt for one in asked], [len(one.values) for one in asked]):
        found |= zip(batch, in_parts(lambda part: _totals(lm, [asked[index] for index in part], stop), batch), strict=True)
    return [found[index] for index in range(len(asked))]


@dataclass
class _Value:
    """A value that is being run: its tokens, its row among the logits, and its total so far."""

    ids: Ids
    floor: float
    row: int
    total: float = 0.0


def _totals(lm: LanguageModel, asked: Sequence[Asked], stop: Stop) -> list[list[float]]:
    rows = {prompt: row for row, prompt in enumerate(dict.fromkeys(one.prompt for one in asked))}
    values = [[_Value(ids, one.floor, rows[one.prompt]) for ids in one.values] for one in asked]
    running = [value for group in values for value in group]
    with lm.held(), torch.no_grad():
        texts = Continuations(lm, list(rows))
        logits = texts.start()
        step = 0
        while running:
            if stop():
                raise Cancelled("Stopped while measuring; nothing was changed.")
            at = torch.tensor([(value.row, value.ids[step]) for value in running], device=logits.device)
            added = logits[at[:, 0], at[:, 1]] - logits.logsumexp(-1)[at[:, 0]]
            for value, logprob in zip(running, added.tolist(), strict=True):
                value.total += logprob
                if value.total < value.floor:
                    value.total = -math.inf
            step += 1
            running = [value for value in running if value.total > -math.inf and len(value.ids) > step]
            if running:
                row_of, logits = texts.follow([value.row for value in running], [value.ids[step - 1] for value in running])
                for value, row in zip(running, row_of, strict=True):
                    value.row = row
    return [[value.total for value in group] for group in values]
