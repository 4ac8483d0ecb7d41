"""Whose turn it is with a model's weights, and which edits stand in them meanwhile.

All that work with one model share its lock. Whoever holds it through a `Holding` of their own has their edits in place, and
nobody else ever sees these. When the last of them lets go, the model is as it was loaded: what could not be put back is found by
its hash, and a model that still differs is refused from then on. Knows nothing of neurons or passes.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from torch import nn

from privlens.errors import BadInput, ModelDamaged
from privlens.lm.editing import Ready, put, put_back, ready
from privlens.lm.fair_lock import Turns
from privlens.lm.fingerprints import Digests, digests, fingerprint
from privlens.lm.restoring import AttachedParts, Journal, PutBack
from privlens.types import Edit


@dataclass(frozen=True, eq=False)
class Weights:
    """What the weights are at one moment: their fingerprint, and the digest of each."""

    fingerprint: str
    digests: Digests


@dataclass(frozen=True, eq=False)
class Fitted:
    """An edit that fits a model, ready to be written, and what the weights are with it in place."""

    ready: Ready
    weights: Weights

    @property
    def edit(self) -> Edit:
        """The edit itself."""
        return self.ready.edit


@dataclass(eq=False)
class Shared:
    """What all that hold one model have in common.

    Attributes:
        lock: held while anybody is at work. stack: what the weights are, the model's own first, then with each edit.
        journal: what is written over at the moment. depths: how often each `Holding` is held, by the thread that has the lock.
        fittings: hooks and forwards as they were when the work began; None while nobody is at work.
        is_damaged: whether some weights could not be put back.
    """

    stack: list[Weights]
    lock: Turns = field(default_factory=Turns)
    journal: Journal = field(default_factory=Journal)
    depths: Counter["Holding"] = field(default_factory=Counter)
    fittings: AttachedParts | None = None
    is_damaged: bool = False


class Holding:
    """One way of holding a model: its lock, and the edits that are in place whenever it is held so.

    Attributes:
        fitted: the edits, in the order they are applied; of the plain model none.
        lock: shared by all that hold the model, whatever their edits.
    """

    def __init__(self, name: str, model: nn.Module) -> None:
        self.name, self.model = name, model
        self.fitted: tuple[Fitted, ...] = ()
        found = digests(model)
        self._shared = Shared([Weights(fingerprint(model, found), found)])
        self.lock = self._shared.lock

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the weights: of whoever is at work, as they stand; else with one's own edits.

        Nobody is waited for.
        """
        if self.lock.is_mine:
            with self.held():
                return self._shared.stack[-1].fingerprint
        self._refuse_damaged()
        own = self.fitted[-1].weights if self.fitted else self._shared.stack[0]
        return own.fingerprint

    @property
    def is_damaged(self) -> bool:
        """Whether the model differs from what was loaded, and cannot be used any more."""
        return self._shared.is_damaged

    @property
    def is_as_loaded(self) -> bool:
        """Whether no weight holds anything else now, whoever wrote it; for whoever holds the lock."""
        return len(self._shared.stack) == 1 and not self._shared.journal.entries

    def under(self, edits: Sequence[Edit]) -> "Holding":
        """Another way of holding the same model: with these edits after one's own, the later with the last word.

        Raises:
            BadInput: for an edit that was made on neither this model nor on it under the edits before, or that does not fit.
        """
        other = copy.copy(self)
        with self.held(), ExitStack() as stack:
            for edit in edits:
                made = self._fitted(edit)
                stack.enter_context(self._in_place(made))
                other.fitted = (*other.fitted, made)
        return other

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the lock, with the edits in place; inside another `held` of its own it does nothing more.

        Raises:
            ModelDamaged: where the weights could not be put back, after this work or another before it.
        """
        with self.lock, self._at_work() as is_first, ExitStack() as stack:
            for made in self.fitted if is_first else ():
                stack.enter_context(self._in_place(made))
            yield

    @contextmanager
    def edited(self, edit: Edit) -> Iterator[None]:
        """Holds the model with one more edit in place. Raises BadInput as `under` does."""
        with self.held(), self._in_place(self._fitted(edit)):
            yield

    @contextmanager
    def lent(self, back: Mapping[str, PutBack]) -> Iterator[None]:
        """Inside, these weights, by their names, may be written over; on leaving each is put back by its function.

        Within `held` only. Raises ModelDamaged where that fails.
        """
        expected = self._shared.stack[-1].digests
        try:
            with self._shared.journal.lent(back):
                yield
        finally:
            if self._shared.journal.doubtful:
                self._look_at(expected)

    @contextmanager
    def _at_work(self) -> Iterator[bool]:
        """Gives whether it is the first `held` of this holding. Within the lock only.

        The outermost of all sees to it, after an exception, that nothing stays behind.
        """
        shared = self._shared
        if not shared.depths:
            if shared.fittings is not None:  # the work before was interrupted in the midst of its own end
                self._come_to_rest(shared.fittings)
            shared.fittings = AttachedParts.of(self.model)
        self._refuse_damaged()
        shared.depths[self] += 1
        try:
            yield shared.depths[self] == 1
        except BaseException as error:
            self._let_go()
            if not shared.depths and shared.fittings is not None:
                self._come_to_rest(shared.fittings)
                if isinstance(error, Exception):
                    self._refuse_damaged()
            raise
        self._let_go()
        if not shared.depths:
            shared.fittings = None

    def _let_go(self) -> None:
        depths = self._shared.depths
        depths[self] -= 1
        if not depths[self]:
            del depths[self]

    def _refuse_damaged(self) -> None:
        if self._shared.is_damaged:
            raise ModelDamaged(
                f"Some weights of {self.name} could not be put back after an error, so this copy of the model was given up: "
                "start again, and it is loaded anew. What you had stays as it was."
            )

    def _come_to_rest(self, fittings: AttachedParts) -> None:
        """Nobody is at work any more: the model is given back as it was loaded, or found to be damaged."""
        shared = self._shared
        shared.depths.clear()
        del shared.stack[1:]
        shared.journal.doubtful.update(name for name, _ in shared.journal.entries)
        with suppress(BaseException):  # what raised first is on its way; what could not be put back is in doubt
            shared.journal.unwind()
        try:
            fittings.put_back(self.model)
        except BaseException:
            shared.is_damaged = True
        if shared.journal.doubtful:
            self._look_at(shared.stack[0].digests)
        shared.fittings = None

    def _look_at(self, expected: Digests) -> None:
        """Hashes the weights in doubt: those that are what they were are fine, any other damages the model."""
        shared = self._shared
        is_known_to_be_whole = False  # what cannot be looked at is not trusted
        try:
            found = digests(self.model, sorted(shared.journal.doubtful))
            is_known_to_be_whole = all(found[name] == expected[name] for name in found)
        finally:
            shared.is_damaged |= not is_known_to_be_whole
            shared.journal.doubtful.clear()

    @contextmanager
    def _in_place(self, made: Fitted) -> Iterator[None]:
        """Inside, the model has the edit's values, and its fingerprint with them."""
        stack = self._shared.stack
        with self.lent({write.name: put_back(write) for write in made.ready.writes}):
            put(made.ready)
            stack.append(made.weights)
            try:
                yield
            finally:
                stack.pop()

    def _fitted(self, edit: Edit) -> Fitted:
        """Raises BadInput for an edit that was made on another model, or that does not fit this one's parameters."""
        made_on, stack = edit.provenance.fingerprint, self._shared.stack
        known = [weights.fingerprint for weights in stack]
        if made_on not in known:
            raise BadInput(
                f"This edit was made on {edit.provenance.model} ({made_on}), but this model is {self.name} ({known[-1]}): load "
                "that model, or switch on the edits that were in place when it was made, or make it again on this one."
            )
        made = ready(self.model, edit, untouched=made_on == known[-1])
        with self.lent({write.name: put_back(write) for write in made.writes}):
            put(made)
            changed = {**stack[-1].digests, **digests(self.model, edit.changes)}
        return Fitted(made, Weights(fingerprint(self.model, changed), changed))
