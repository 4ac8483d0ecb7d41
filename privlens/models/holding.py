"""Whose turn it is with a model's weights, and which edits stand in them meanwhile.

All that work with one model share its lock. Whoever holds it through a `Holding` of their own has their edits in place, and
nobody else ever sees these. Knows nothing of neurons or passes.
"""

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import nn

from privlens.errors import BadInput
from privlens.models.edits import Ready, in_place, model_fingerprint, ready
from privlens.records import Edit


class Holding:
    """One way of holding a model: its lock, and the edits that are in place whenever it is held so.

    Attributes:
        ready: the edits, in the order they are applied; of the plain model none.
        lock: shared by all that hold the model, whatever their edits.
    """

    def __init__(self, name: str, model: nn.Module) -> None:
        self.name, self.model = name, model
        self.ready: tuple[Ready, ...] = ()
        self.lock = threading.RLock()
        self._fingerprints = [model_fingerprint(model)]  # shared like the lock: the plain model's, then each edit's
        self._depth = 0

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the weights; others' edits are waited for, so only one's own are seen."""
        with self.held():
            return self._fingerprints[-1]

    def under(self, edits: Sequence[Edit]) -> "Holding":
        """Another way of holding the same model: with these edits after one's own, the later with the last word.

        Raises:
            BadInput: for an edit that was made on neither this model nor on it under the edits before, or that does not fit.
        """
        other = copy.copy(self)
        other._depth = 0
        with self.held(), ExitStack() as stack:
            for edit in edits:
                made = self._made_ready(edit)
                stack.enter_context(self._in_place(made))
                other.ready = (*other.ready, made)
        return other

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the lock, with the edits in place; inside another `held` of its own it does nothing more."""
        with self.lock, ExitStack() as stack:
            if not self._depth:
                for made in self.ready:
                    stack.enter_context(self._in_place(made))
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    @contextmanager
    def edited(self, edit: Edit) -> Iterator[None]:
        """Holds the model with one more edit in place. Raises BadInput as `under` does."""
        with self.held(), self._in_place(self._made_ready(edit)):
            yield

    @contextmanager
    def _in_place(self, made: Ready) -> Iterator[None]:
        with in_place(made):
            self._fingerprints.append(made.fingerprint(self._fingerprints[-1]))
            try:
                yield
            finally:
                self._fingerprints.pop()

    def _made_ready(self, edit: Edit) -> Ready:
        """Raises BadInput for an edit that was made on another model, or that does not fit this one's parameters."""
        made_on, known = edit.provenance.fingerprint, self._fingerprints
        if made_on not in known:
            raise BadInput(
                f"This edit was made on {edit.provenance.model} ({made_on}), but this model is {self.name} ({known[-1]}): load "
                "that model, or switch on the edits that were in place when it was made, or make it again on this one."
            )
        return ready(self.model, edit, untouched=made_on == known[-1])
