"""What was worked out for one visitor and serves all of them: a few values in memory, the ones used last."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Step(Protocol):
    """Progress of what makes a value; the result is set on the last step only."""

    @property
    def result(self) -> Any: ...


AnyStep = TypeVar("AnyStep", bound=Step)


class Kept(Generic[Key, Value]):
    """At most `room` values by key, for several threads."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """The value, if it is still there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def keep(self, key: Key, value: Value) -> None:
        """Keeps a value; those that were not used for longest make room for it."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._room:
                self._values.popitem(last=False)

    def steps(self, key: Key, done: Callable[[Value], AnyStep], made: Iterator[AnyStep]) -> Iterator[AnyStep]:
        """One step with the value that is kept, by `done`; else those that make it, whose result is kept."""
        known = self.get(key)
        if known is not None:
            yield done(known)
            return
        for step in made:
            if step.result is not None:
                self.keep(key, step.result)
            yield step
