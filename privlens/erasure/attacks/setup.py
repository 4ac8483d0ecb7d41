"""What the attacks run on, and what each of them returns: success on the targets and on values that nobody trained on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from privlens.erasure.attacks.values import is_copy, similar_values
from privlens.errors import BadInput, Cancelled
from privlens.intervals import rate
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.memorization.candidates import private
from privlens.outcomes import Count
from privlens.types import Secret

Array = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]
MAX_VALUES = 159
"""Other values for one target, at most. Seven attacks share 5 % of false alarms, 0.7 % each, which takes at least 140 values with
the target itself; these are 160. More would make the limit more precise and every attack slower."""
MAX_VALUES_IN_ALL = 400
"""Other values for all targets together, which bounds the time of an attack on many targets."""
MIN_VALUES = 20
"""Other values for one target, at least; with fewer an attack is not judged. At a level of 5 % a single attack needs 19."""


@dataclass(frozen=True)
class AttackSetup:
    """What the attacks run on.

    Attributes:
        before, after: the model, and a view of it under the erasure. targets: the erased secrets.
        reworded: for each target, other prompts for the same value; may be empty.
        others: memorized secrets that were not erased; the probe is trained on them. listed: all other secrets available, known
            or not; relearning trains on both, and the words of their values become rivals of natural values.
        samples: continuations sampled for each prompt. tries: how many samples are allowed where success is calculated from a
            probability (Success@n). edits: characters in which a near copy may differ.
        n_values: other values for each target; 0 for the default number.
        relearn_steps: numbers of Adam steps on all weights after which success is measured, ascending. relearn_rates: in units of
            the weights' root mean square.
    """

    before: LanguageModel
    after: LanguageModel
    targets: tuple[Secret, ...]
    reworded: tuple[tuple[str, ...], ...] = ()
    others: tuple[Secret, ...] = ()
    listed: tuple[Secret, ...] = ()
    samples: int = 20
    tries: int = 200
    edits: int = 1
    n_values: int = 0
    relearn_steps: tuple[int, ...] = (8, 16)
    relearn_rates: tuple[float, ...] = (0.003, 0.01, 0.03)
    seed: int = 0
    stop: Stop = never_stop

    def go_on(self) -> None:
        """Raises Cancelled when `stop` returns True."""
        if self.stop():
            raise Cancelled("The attacks were stopped; the edit is unchanged.")

    @cached_property
    def known(self) -> tuple[Secret, ...]:
        """The others without copies of a target: an attack that was given the value proves nothing."""
        return self._not_copies(self.others)

    @cached_property
    def train_on(self) -> tuple[Secret, ...]:
        """All secrets, known or not, without copies of a target."""
        return self._not_copies(dict.fromkeys((*self.others, *self.listed)))

    def _not_copies(self, secrets: Iterable[Secret]) -> tuple[Secret, ...]:
        return tuple(secret for secret in secrets if not any(is_copy(secret, target) for target in self.targets))

    @cached_property
    def contenders(self) -> tuple[tuple[Secret, ...], ...]:
        """For each target: itself, then other values of its format after its prompt, which nobody trained on."""
        n = self.n_values or max(MIN_VALUES, min(MAX_VALUES, MAX_VALUES_IN_ALL // len(self.targets)))
        every_secret = (*self.targets, *self.others, *self.listed)
        pools = [similar_values(self.after, target, every_secret, self.seed, n) for target in self.targets]
        return tuple((target, *self._rivals(target, values)) for target, values in zip(self.targets, pools, strict=True))

    def _rivals(self, target: Secret, values: Sequence[str]) -> Iterator[Secret]:
        """The values after the target's prompt, where they fit the model's context."""
        for value in values:
            rival = self.before.settled(target).with_value(value)
            try:
                self.after.encode(rival)
            except BadInput:
                continue
            yield rival

    def with_judgeable_targets(self) -> "AttackSetup":
        """This setup without targets that cannot be judged; if none can be, those with a letter or digit, or all of them."""
        judgeable = [len(pool) > MIN_VALUES for pool in self.contenders]
        has_private = [bool(private(self.after, self.after.encode(target)).any()) for target in self.targets]
        keep = judgeable if any(judgeable) else has_private
        if not any(keep) or all(keep):
            return self
        targets = tuple(target for target, kept in zip(self.targets, keep, strict=True) if kept)
        reworded = tuple(prompts for prompts, kept in zip(self.reworded, keep, strict=False) if kept)
        return replace(self, targets=targets, reworded=reworded)


@dataclass(frozen=True)
class Scores:
    """Success of an attack in 0..1, in one or several ways (layers, roundings, or the rates and steps of training).

    Attributes:
        before: for each target before the erasure, [1, ways]. after: for each target after it, [1 + others, ways], its own value
            first, then others of its format. detail: what is counted. note: anything else worth knowing.
        ways: a name for each way, where the best one is to be told. counts: whole values that came back.
    """

    before: Sequence[Array]
    after: Sequence[Array]
    detail: str
    note: str = ""
    ways: tuple[str, ...] = ()
    counts: tuple[Count, ...] = ()


def private_share(lm: LanguageModel, secret: Secret, hits: Hits) -> Array:
    """[..., T] -> [...]: of a value's tokens that have a letter or digit, the share that were hit."""
    is_private = private(lm, lm.encode(secret)).cpu().numpy()
    if not is_private.any():
        raise BadInput("the value has no letter or digit, so there is nothing private to read")
    share: Array = hits[..., is_private].mean(-1)
    return share


def counted(what: str, hits: Iterable[bool]) -> Count:
    """How many of some values came back, with the interval of the rate."""
    came_back = [bool(hit) for hit in hits]
    return Count(what, sum(came_back), len(came_back), rate(sum(came_back), len(came_back)))


def counts_of(how: str, before: Sequence[Hits], after: Sequence[Hits]) -> tuple[Count, ...]:
    """Counts of the targets before and after the erasure, and of the other values after it.

    Args:
        before, after: for each target [values], its own value first; whether each came back.
    """
    others = [hit for hits in after for hit in hits[1:]]
    return (
        counted(f"{how}: targets before", [hits[0] for hits in before]),
        counted(f"{how}: targets after", [hits[0] for hits in after]),
        *([counted(f"{how}: other values", others)] if others else []),
    )
