"""What the attacks are tried on, and what each of them hands over: success on the values and on others that nobody trained on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from privlens.erasure.attacks.values import is_copy, others_like
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.memorization.candidates import private
from privlens.types import Secret

Array = npt.NDArray[np.float64]
Hits = npt.NDArray[np.bool_]
MOST, IN_ALL, LEAST = 119, 400, 20
"""Other values for a target: at most, for all targets together, and at least: with fewer nothing can be judged."""


@dataclass(frozen=True)
class AttackSetup:
    """What the attacks are tried on.

    Attributes:
        before, after: the model, and a view of it under the erasure. targets: the erased secrets.
        reworded: for each target other prompts for the same value, maybe none.
        others: memorized secrets that were not erased; the probe learns from them. listed: all other secrets at hand, known or
            not; relearning trains on both, and the words of their values make natural values' rivals.
        samples: continuations drawn of each prompt. n_values: others of each target's format; 0 for as many as are needed.
        relearn_steps: of Adam on all weights, after which success is counted, ascending. relearn_rates: in units of the weights'
            root mean square.
    """

    before: LanguageModel
    after: LanguageModel
    targets: tuple[Secret, ...]
    reworded: tuple[tuple[str, ...], ...] = ()
    others: tuple[Secret, ...] = ()
    listed: tuple[Secret, ...] = ()
    samples: int = 20
    n_values: int = 0
    relearn_steps: tuple[int, ...] = (8, 16)
    relearn_rates: tuple[float, ...] = (0.003, 0.01, 0.03)
    seed: int = 0
    stop: Stop = never_stop

    def go_on(self) -> None:
        """Raises Cancelled when `stop` says so."""
        if self.stop():
            raise Cancelled("The attacks were stopped; the edit stays as it is.")

    @cached_property
    def known(self) -> tuple[Secret, ...]:
        """The others without copies of a target: an attack that is told the value proves nothing."""
        return self._not_copies(self.others)

    @cached_property
    def train_on(self) -> tuple[Secret, ...]:
        """The same of all that is listed."""
        return self._not_copies(dict.fromkeys((*self.others, *self.listed)))

    def _not_copies(self, secrets: Iterable[Secret]) -> tuple[Secret, ...]:
        return tuple(other for other in secrets if not any(is_copy(other, target) for target in self.targets))

    @cached_property
    def contenders(self) -> tuple[tuple[Secret, ...], ...]:
        """For each target itself and then, behind its prompt, other values of its format that nobody trained on."""
        n = self.n_values or max(LEAST, min(MOST, IN_ALL // len(self.targets)))
        beside = (*self.targets, *self.others, *self.listed)
        like = [others_like(self.after, target, beside, self.seed, n) for target in self.targets]
        return tuple((target, *self._fitting(target, values)) for target, values in zip(self.targets, like, strict=True))

    def _fitting(self, target: Secret, values: Sequence[str]) -> Iterator[Secret]:
        """The values behind the target's prompt, where the model has room for them."""
        for value in values:
            rival = self.before.settled(target).with_value(value)
            try:
                self.after.encode(rival)
            except BadInput:
                continue
            yield rival

    def fit_for_judging(self) -> "AttackSetup":
        """The same without targets that cannot be judged; where none can, all that have a letter or digit, or all."""
        rooms = [len(pool) > LEAST for pool in self.contenders]
        shown = [bool(private(self.after, self.after.encode(target)).any()) for target in self.targets]
        keep = rooms if any(rooms) else shown
        if not any(keep) or all(keep):
            return self
        reworded = tuple(prompts for prompts, kept in zip(self.reworded, keep, strict=False) if kept)
        return replace(self, targets=tuple(one for one, kept in zip(self.targets, keep, strict=True) if kept), reworded=reworded)


@dataclass(frozen=True)
class Scores:
    """What an attack found. Scores are success in 0..1, in one or several ways (layers, or training's rates and steps).

    Attributes:
        before: the same for the targets before the erasure, [1, ways] each. after: for each target [1 + others, ways], its own
            value first, then others of its format. detail: what is counted. note: what else is to be known.
    """

    before: Sequence[Array]
    after: Sequence[Array]
    detail: str
    note: str = ""


def of_private(lm: LanguageModel, secret: Secret, hits: Hits) -> Array:
    """[..., T] -> [...]: the share of a value's tokens with a letter or digit that were hit."""
    counted = private(lm, lm.encode(secret)).cpu().numpy()
    if not counted.any():
        raise BadInput("the value has no letter or digit, so there is nothing private to read")
    share: Array = hits[..., counted].mean(-1)
    return share
