"""Exclusive access to a model's weights, with the edits that are in place during it.

All sessions of a model share its lock. While a `ModelSession` is held its edits are in place, and no other session ever sees
them. When it is released, the model is as it was loaded. Weights that could not be restored are checked by their hashes, and a
model that still differs is refused from then on.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from torch import nn

from privlens.errors import BadInput, ModelDamaged
from privlens.lm.editing import PreparedEdit, put, put_back, ready
from privlens.lm.fair_lock import FairLock
from privlens.lm.fingerprints import Digests, digests, fingerprint
from privlens.lm.restoring import AttachedParts, Journal, PutBack
from privlens.types import Edit


@dataclass(frozen=True, eq=False)
class WeightsState:
    """The state of the weights at one moment: their fingerprint, and the digest of each."""

    fingerprint: str
    digests: Digests


@dataclass(frozen=True, eq=False)
class FittedEdit:
    """An edit prepared for a model, and the state of the weights with it in place."""

    prepared: PreparedEdit
    weights: WeightsState

    @property
    def edit(self) -> Edit:
        """The edit itself."""
        return self.prepared.edit


@dataclass(eq=False)
class SharedState:
    """What all sessions of one model share.

    Attributes:
        lock: held while any session is in use. stack: the states of the weights, as loaded first, then with each edit in place.
        journal: the weights that are overwritten at the moment. depths: how often each session is entered, by the thread that has
            the lock.
        attached_parts: hooks and forwards as they were before the session was entered; None while none is in use.
        is_damaged: whether some weights could not be restored.
    """

    stack: list[WeightsState]
    lock: FairLock = field(default_factory=FairLock)
    journal: Journal = field(default_factory=Journal)
    depths: Counter["ModelSession"] = field(default_factory=Counter)
    attached_parts: AttachedParts | None = None
    is_damaged: bool = False


class ModelSession:
    """Access to a model under its lock, with certain edits in place while it is held.

    Attributes:
        fitted: the edits, in the order they are applied; none for the plain model.
        lock: shared by all sessions of the model, whatever their edits.
    """

    def __init__(self, name: str, model: nn.Module) -> None:
        self.name = name
        self.model = model
        self.fitted: tuple[FittedEdit, ...] = ()
        loaded = digests(model)
        self._shared = SharedState([WeightsState(fingerprint(model, loaded), loaded)])
        self.lock = self._shared.lock

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the weights. Never waits for the lock.

        For the thread that has the lock it is that of the weights as they are now; otherwise that of this session's edits.
        """
        if self.lock.is_mine:
            with self.held():
                return self._shared.stack[-1].fingerprint
        self._refuse_damaged()
        weights = self.fitted[-1].weights if self.fitted else self._shared.stack[0]
        return weights.fingerprint

    @property
    def is_damaged(self) -> bool:
        """Whether the model differs from what was loaded and can no longer be used."""
        return self._shared.is_damaged

    @property
    def is_as_loaded(self) -> bool:
        """Whether all weights have the values that were loaded. The caller holds the lock."""
        return len(self._shared.stack) == 1 and not self._shared.journal.entries

    def under(self, edits: Sequence[Edit]) -> "ModelSession":
        """Another session of the same model, with these edits after this one's: a later edit overrides an earlier one.

        Raises:
            BadInput: for an edit that was made neither on this model nor on it with the preceding edits, or that does not fit.
        """
        session = copy.copy(self)
        with self.held(), ExitStack() as stack:
            for edit in edits:
                fitted = self._fit(edit)
                stack.enter_context(self._in_place(fitted))
                session.fitted = (*session.fitted, fitted)
        return session

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the lock, with the edits in place; a nested `held` of the same session has no further effect.

        Raises:
            ModelDamaged: if the weights could not be restored, now or earlier.
        """
        with self.lock, self._entered() as is_first, ExitStack() as stack:
            for fitted in self.fitted if is_first else ():
                stack.enter_context(self._in_place(fitted))
            yield

    @contextmanager
    def edited(self, edit: Edit) -> Iterator[None]:
        """Holds the model with one more edit in place. Raises BadInput as `under` does."""
        with self.held(), self._in_place(self._fit(edit)):
            yield

    @contextmanager
    def overwriting(self, put_back: Mapping[str, PutBack]) -> Iterator[None]:
        """Inside, these named weights may be overwritten; on leaving each is restored by its function.

        Within `held` only. If that fails, the model is refused with ModelDamaged from then on.
        """
        expected = self._shared.stack[-1].digests
        try:
            with self._shared.journal.overwriting(put_back):
                yield
        finally:
            if self._shared.journal.doubtful:
                self._verify(expected)

    @contextmanager
    def _entered(self) -> Iterator[bool]:
        """Yields whether this is the outermost `held` of this session. The caller has the lock.

        After an exception, the outermost of all sessions restores the model.
        """
        shared = self._shared
        if not shared.depths:
            if shared.attached_parts is not None:  # the previous session was interrupted while it was leaving
                self._restore(shared.attached_parts)
            shared.attached_parts = AttachedParts.of(self.model)
        self._refuse_damaged()
        shared.depths[self] += 1
        try:
            yield shared.depths[self] == 1
        except BaseException as error:
            self._leave()
            if not shared.depths and shared.attached_parts is not None:
                self._restore(shared.attached_parts)
                if isinstance(error, Exception):
                    self._refuse_damaged()
            raise
        self._leave()
        if not shared.depths:
            shared.attached_parts = None

    def _leave(self) -> None:
        depths = self._shared.depths
        depths[self] -= 1
        if not depths[self]:
            del depths[self]

    def _refuse_damaged(self) -> None:
        if self._shared.is_damaged:
            raise ModelDamaged(
                f"Some weights of {self.name} could not be restored after an error, so this copy of the model is no longer used: "
                "start again, and it will be reloaded. Your earlier results are unchanged."
            )

    def _restore(self, attached_parts: AttachedParts) -> None:
        """Restores the model as it was loaded once no session is in use, or finds it damaged."""
        shared = self._shared
        shared.depths.clear()
        del shared.stack[1:]
        shared.journal.doubtful.update(name for name, _ in shared.journal.entries)
        with suppress(BaseException):  # the first error is already being raised; what cannot be restored is in `doubtful`
            shared.journal.unwind()
        try:
            attached_parts.put_back(self.model)
        except BaseException:
            shared.is_damaged = True
        if shared.journal.doubtful:
            self._verify(shared.stack[0].digests)
        shared.attached_parts = None

    def _verify(self, expected: Digests) -> None:
        """Hashes the doubtful weights: if any of them differs from what is expected, the model is damaged."""
        shared = self._shared
        is_intact = False  # also if they cannot be hashed
        try:
            actual = digests(self.model, sorted(shared.journal.doubtful))
            is_intact = all(actual[name] == expected[name] for name in actual)
        finally:
            shared.is_damaged |= not is_intact
            shared.journal.doubtful.clear()

    @contextmanager
    def _in_place(self, fitted: FittedEdit) -> Iterator[None]:
        """Inside, the model has the edit's values and the matching fingerprint."""
        stack = self._shared.stack
        with self.overwriting({write.name: put_back(write) for write in fitted.prepared.writes}):
            put(fitted.prepared)
            stack.append(fitted.weights)
            try:
                yield
            finally:
                stack.pop()

    def _fit(self, edit: Edit) -> FittedEdit:
        """Raises BadInput for an edit that was made on another model, or that does not fit this one's parameters."""
        made_on = edit.provenance.fingerprint
        stack = self._shared.stack
        fingerprints = [weights.fingerprint for weights in stack]
        if made_on not in fingerprints:
            raise BadInput(
                f"This edit was made on {edit.provenance.model} ({made_on}), but this model is {self.name} ({fingerprints[-1]}): "
                "load that model, or switch on the edits that were in place when it was made, or make it again on this one."
            )
        prepared = ready(self.model, edit, untouched=made_on == fingerprints[-1])
        with self.overwriting({write.name: put_back(write) for write in prepared.writes}):
            put(prepared)
            edited = {**stack[-1].digests, **digests(self.model, edit.changes)}
        return FittedEdit(prepared, WeightsState(fingerprint(self.model, edited), edited))
