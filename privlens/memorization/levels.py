"""The level of a value behind its prompt: how likely it would be if nobody had trained on it, in total and token by token.

The total is that of fair rivals, as the verdict takes them (types.py, `verdict`): values made of words are compared with other
people's values and prompts (`lift`), all others with random values of their format. The tokens' levels are the means of their
formats' other tokens, changed as evenly as possible so that they add up to that total.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded
from privlens.memorization.candidates import siblings
from privlens.memorization.check import rivals
from privlens.memorization.lift import FEWEST, MOST_PROMPTS, encoded_behind, peers
from privlens.memorization.words import has_words
from privlens.types import Secret

RIVALS = 24
"""Values that a target is compared with at every measurement, at most; more cost a row each and make the level less noisy."""
AMONG_RANDOM = 0.5
"""Where a value is to stand among random ones of its format, as a share of them that are likelier: in the middle."""
AMONG_PEOPLE = 0.8
"""The same among other people's values. Most of those are known by heart themselves, and a beginning of theirs brings the rest
wherever it stands; the few that are not known are the last. From 0.95 on the verdict would be `avoided`."""
BETWEEN_LEVEL_AND_LAST = 0.4
"""How far from its level to the last rival a value may sink, as a share of the rivals in between; then it is raised."""
UNREMARKABLE = 0.1
"""A value that more than this share of its rivals outrank may be forgotten, and is judged. The verdict asks for 0.05, among more
rivals."""


def format_levels(logits: Tensor, values: Tensor, formats: Tensor) -> Tensor:
    """[P] nats: the mean log-probability of the other tokens of each true token's format.

    The mean of logarithms: most rivals are as likely as that, where a mean of probabilities is that of the likeliest alone. For a
    token that is alone in its format, the log-probability of a token drawn from the whole vocabulary.

    Args:
        logits: [P, V]. values: [P] true tokens. formats: [V] from `token_formats`.
    """
    others = siblings(formats, values)
    n_others = others.sum(-1)
    means = logits.log_softmax(-1).masked_fill(~others, 0.0).sum(-1) / n_others.clamp_min(1)
    return means.where(n_others > 0, torch.full_like(means, -math.log(logits.shape[-1])))


def adding_up(levels: Tensor, total: float) -> Tensor:
    """[T] -> [T]: the levels, changed as evenly as possible so that they add up to the total (at most 0), nats.

    To a lower total all move by the same number of nats. To a higher one the lowest are raised to a common floor, so that no
    token carries it alone: a natural word may stay likelier than scrambled letters, but no part of it is certain.
    """
    missing = total - float(levels.sum())
    if missing <= 0:
        return levels + missing / len(levels)
    ascending = levels.sort().values
    n = torch.arange(1, len(levels) + 1, device=levels.device)
    floors = (ascending.cumsum(0) + missing) / n  # of the n lowest alone; right where the next level is no lower
    higher = torch.cat([ascending[1:], ascending.new_tensor([math.inf])])
    floor = floors[(floors <= higher).nonzero()[0, 0]]
    return levels.clamp_min(float(floor))


@dataclass(frozen=True)
class Level:
    """Where a value should stand among its rivals: total log-probabilities in nats, -inf where it has none.

    Attributes:
        low: below that it is so unlikely that it is conspicuous. nats: the level itself. high: up to there it may pass for one
            of its rivals.
    """

    low: float
    nats: float
    high: float

    def at_least(self, other: "Level") -> "Level":
        """The higher of both, in each of the three."""
        return Level(max(self.low, other.low), max(self.nats, other.nats), max(self.high, other.high))


@dataclass(frozen=True)
class Rivals:
    """What a target is compared with behind its own prompt.

    Attributes:
        values: rivals behind the target's prompt. usual: how likely each of them is behind other people's prompts, nats; 0 for
            random values, of which none is usual. elsewhere: the target's value behind other people's prompts; none for random
            rivals.
    """

    values: tuple[Encoded, ...]
    usual: tuple[float, ...]
    elsewhere: tuple[Encoded, ...]

    def level(self, lm: LanguageModel, stop: Stop = never_stop) -> Level:
        """Where the target's value should stand, on the weights that the model has now.

        As in `lift`, what counts is how much likelier a value is here than elsewhere.
        """
        totals = [sum(scores.logprobs) for scores in score(lm, [*self.values, *self.elsewhere], stop=stop)]
        here, elsewhere = totals[: len(self.values)], totals[len(self.values) :]
        gains = [total - usual for total, usual in zip(here, self.usual, strict=True)]
        if not gains:
            return Level(-math.inf, -math.inf, -math.inf)
        own_usual = statistics.fmean(elsewhere) if elsewhere else 0.0
        outranked = 1 - (AMONG_PEOPLE if elsewhere else AMONG_RANDOM)
        shares = [outranked * (1 - BETWEEN_LEVEL_AND_LAST), outranked, 1 - UNREMARKABLE]
        return Level(*(own_usual + float(nats) for nats in np.quantile(gains, shares)))


def rivals_of(lm: LanguageModel, target: Secret, listed: Sequence[Secret], seed: int, stop: Stop = never_stop) -> Rivals:
    """The rivals of a target: other people's values if it is made of words and at least eight are listed, else random ones.

    Args:
        listed: other secrets, which are only measured. seed: of the random values.
    """
    others = peers(target, listed) if has_words(lm, target.value) else []
    if len(others) < FEWEST:
        drawn = tuple(encoded for _, encoded in islice(rivals(lm, target, seed + 1, RIVALS + 1), RIVALS))
        return Rivals(drawn, (0.0,) * len(drawn), ())
    prompts = others[:MOST_PROMPTS]
    values, usual = [], []
    for other in others[:: math.ceil(len(others) / RIVALS)]:
        here = _behind(lm, [target], other)
        elsewhere = _behind(lm, [prompt for prompt in prompts if prompt is not other], other)
        if here and elsewhere:
            values += here
            usual.append(statistics.fmean(sum(scores.logprobs) for scores in score(lm, elsewhere, stop=stop)))
    return Rivals(tuple(values), tuple(usual), tuple(_behind(lm, prompts, target)))


def _behind(lm: LanguageModel, prompts: Sequence[Secret], value: Secret) -> list[Encoded]:
    """A value behind the prompts of other secrets, as far as it fits into the model's context."""
    return [text for prompt in prompts if (text := encoded_behind(lm, prompt, value))]
