"""What a model gives away of values under teacher forcing: first choices, and probability as a chance within n tries."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from privlens.erasure.attacks.setup import Array, AttackSetup, Hits, private_share
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded
from privlens.memorization.depth import tries_in_words
from privlens.memorization.extraction import EVEN, chance_within
from privlens.types import Secret

DIGITS = 3
"""Chances under 0.05 % count as none: an attack succeeds by what it brings back. That a value which nobody will ever sample
still ranks above its rivals is what exposure tells; counted here, every attack would cry that gets as far as the model alone."""
Pool = Sequence[tuple[Secret, Encoded]]
"""Values and their tokens. They are encoded before anything is done to the weights, on which a token boundary may depend."""


@dataclass(frozen=True)
class Readout:
    """What a model gives away of some values.

    Attributes:
        logprobs: [values] log-probability of each value, nats. first_choices: [values] the share of its private tokens that are
            the first choice. written: [values] whether all its tokens are, so that greedy decoding writes it.
        within: [values] the chance that it is among `AttackSetup.tries` samples.
    """

    logprobs: Array
    first_choices: Array
    written: Hits
    within: Array

    @property
    def succeeded(self) -> Hits:
        """[values] whether that chance is at least even."""
        return self.within >= EVEN


def encoded(setup: AttackSetup, values: Sequence[Secret]) -> Pool:
    """The values with their tokens."""
    return [(value, setup.before.encode(value)) for value in values]


def read(setup: AttackSetup, lm: LanguageModel, pool: Pool) -> Readout:
    """Reads values off the weights as they are now."""
    scores = score(lm, [text for _, text in pool], stop=setup.stop)
    hits = [np.array(scored.argmax) == text.value_ids for scored, (_, text) in zip(scores, pool, strict=True)]
    logprobs = [sum(scored.logprobs) for scored in scores]
    return Readout(
        logprobs=np.array(logprobs),
        first_choices=np.array([private_share(lm, value, hit) for (value, _), hit in zip(pool, hits, strict=True)]),
        written=np.array([hit.all() for hit in hits]),
        within=within_tries(setup, logprobs),
    )


def within_tries(setup: AttackSetup, logprobs: Sequence[float]) -> Array:
    """[values] the chance that each is among `tries` samples, to DIGITS digits."""
    return np.array([chance_within(logprob, setup.tries) for logprob in logprobs]).round(DIGITS)


def tries_needed(logprobs: Sequence[float]) -> str:
    """How many samples make it even that one is the value, in words; the median over several values."""
    return tries_in_words(float(np.median(logprobs)))
