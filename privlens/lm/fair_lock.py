"""A fair lock for a model, which lets short work go before the next step of long work.

Work takes the lock once for each of its steps, so another piece of work can have its turn between two steps:

- light work (a check, the answer to a toggle) goes first, in the order in which it began, and no heavy step comes between its
  steps;
- heavy work (localize, erase) takes turns step by step, first come, first served;
- neither starves: after some pieces of light work a heavy step has its turn, and light work that takes too long becomes heavy.

`at_work` marks a piece of work; without it every step counts as a piece of light work of its own.
"""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

LIGHT_BEFORE_HEAVY = 4
"""Pieces of light work that may go before a waiting heavy step: more answer visitors sooner, fewer delay long runs less."""
LIGHT_SECONDS = 10.0
"""Seconds for which a piece of light work may hold models before it counts as heavy."""
PAUSE = 0.1
"""Seconds for which a heavy step waits for light work that is between two steps; not longer, as that may be busy elsewhere."""
_arrivals = itertools.count()


@dataclass(eq=False)
class Work:
    """A piece of work for one visitor, on one thread at a time.

    Attributes:
        is_heavy: whether it is long, and goes step by step after all light work. arrival: its number in order of arrival.
        held_seconds: how long it has held models so far. locks: those it has taken as light work since it began.
    """

    is_heavy: bool = False
    arrival: int = field(default_factory=lambda: next(_arrivals))
    held_seconds: float = 0.0
    locks: "set[FairLock]" = field(default_factory=set)

    @property
    def is_light(self) -> bool:
        """Whether it goes before heavy work: it was not declared heavy and has not held models for long."""
        return not self.is_heavy and self.held_seconds < LIGHT_SECONDS


_current_work: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def at_work(work: Work) -> Iterator[None]:
    """Inside, all that this thread does with models belongs to this piece of work; on leaving, others need not wait for it."""
    token = _current_work.set(work)
    try:
        yield
    finally:
        _current_work.reset(token)
        while work.locks:
            work.locks.pop()._finish(work)


class FairLock:
    """A reentrant lock that is granted in the order described above."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._owner: int | None = None
        self._depth = 0
        self._changed_at = 0.0  # when the lock was last taken or released
        self._holder: Work | None = None
        self._waiting: list[Work] = []  # in order of arrival
        self._in_progress: set[Work] = set()  # light work that has begun and not ended
        self._n_passed = 0  # pieces of light work that ended while a heavy step was waiting

    @property
    def is_mine(self) -> bool:
        """Whether this thread has the lock."""
        return self._owner == threading.get_ident()

    def acquire(self, blocking: bool = True) -> bool:
        """Waits for this thread's turn and takes the lock. Returns False only if not `blocking` and another thread has it."""
        if self.is_mine:
            self._depth += 1
            return True
        work = _current_work.get() or Work()
        with self._condition:
            if not blocking and self._owner is not None:
                return False
            self._waiting.append(work)
            try:
                while not self._is_turn_of(work):
                    self._condition.wait(PAUSE if self._in_progress else None)
            finally:
                self._waiting.remove(work)
                self._condition.notify_all()  # if this wait was interrupted, it may have been this work's turn
            self._take(work)
        return True

    def release(self) -> None:
        """Undoes one `acquire`. Raises RuntimeError if this thread does not have the lock."""
        if not self.is_mine:
            raise RuntimeError("This thread does not have the lock.")
        self._depth -= 1
        if self._depth:
            return
        with self._condition:
            now = time.monotonic()
            if self._holder is not None:
                self._holder.held_seconds += now - self._changed_at
            self._owner = None
            self._holder = None
            self._changed_at = now
            self._condition.notify_all()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take(self, work: Work) -> None:
        self._owner = threading.get_ident()
        self._depth = 1
        self._holder = work
        self._changed_at = time.monotonic()
        if not work.is_light:
            self._n_passed = 0
        elif _current_work.get() is work:
            self._in_progress.add(work)
            work.locks.add(self)

    def _is_turn_of(self, work: Work) -> bool:
        return self._owner is None and self._next_in_line() is work

    def _next_in_line(self) -> Work | None:
        """The waiting work whose turn it is; None while light work that came earlier may come back for its next step."""
        light = [work for work in self._waiting if work.is_light]
        heavy = [work for work in self._waiting if not work.is_light]
        if heavy and self._n_passed >= LIGHT_BEFORE_HEAVY:
            return heavy[0]
        if time.monotonic() - self._changed_at < PAUSE:
            light += [work for work in self._in_progress if work.is_light]
        first = min(light, key=lambda work: work.arrival, default=next(iter(heavy), None))
        return first if first in self._waiting else None

    def _finish(self, work: Work) -> None:
        with self._condition:
            self._in_progress.discard(work)
            if any(not waiting.is_light for waiting in self._waiting):
                self._n_passed += 1
            self._condition.notify_all()
