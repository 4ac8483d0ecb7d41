"""Whose turn it is with a model: a lock that is fair, and lets short work go before the next step of long work.

Work takes the lock many times, once for every step of it, so that turns change between two steps:

- light work (a check, a toggle's answer) goes first, the piece that began first before the others, from its first step to its
  last without a heavy step in between;
- heavy work (localize, erase) takes turns step by step, first come, first served;
- neither starves: after some pieces of light work a heavy step has its turn, and light work that goes on and on becomes heavy.

A piece of work is said with `at_work`; whatever runs without is light, each step for itself.
"""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

LIGHT_BEFORE_HEAVY = 4
"""Pieces of light work that may go before a heavy step which waits."""
LIGHT_FOR = 10.0
"""Seconds a piece of light work may hold models before it counts as heavy."""
PAUSE = 0.1
"""Seconds a heavy step waits for a piece of light work that is between two steps; it may be busy with something else."""
_arrivals = itertools.count()


@dataclass(eq=False)
class Work:
    """A piece of work for one visitor, on one thread at a time.

    Attributes:
        is_heavy: it goes step by step, after all light work. arrival: its number in the order of beginning.
        has_held: seconds it has held models so far. began_on: the turns in which it has held a model since its last rest.
    """

    is_heavy: bool = False
    arrival: int = field(default_factory=lambda: next(_arrivals))
    has_held: float = 0.0
    began_on: "set[Turns]" = field(default_factory=set)

    @property
    def goes_first(self) -> bool:
        """Whether it is short, as far as one can tell."""
        return not self.is_heavy and self.has_held < LIGHT_FOR


_now: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def at_work(work: Work) -> Iterator[None]:
    """Inside, all that this thread does with models is this piece of work. On leaving, it rests: others need not wait for it."""
    before = _now.set(work)
    try:
        yield
    finally:
        _now.reset(before)
        while work.began_on:
            work.began_on.pop()._rested(work)


class Turns:
    """A reentrant lock, given to whoever's turn it is."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._owner: int | None = None
        self._depth = 0
        self._since = 0.0  # when it was taken, or given back
        self._holder: Work | None = None
        self._waiting: list[Work] = []  # in the order of coming
        self._under_way: set[Work] = set()  # light work between its first step and its rest
        self._went_before = 0  # pieces of light work that ended while a heavy step waited

    @property
    def is_mine(self) -> bool:
        """Whether this thread has it."""
        return self._owner == threading.get_ident()

    def acquire(self, blocking: bool = True) -> bool:
        """Waits for this thread's turn; returns False only where it is not to wait and somebody else's turn it is."""
        if self.is_mine:
            self._depth += 1
            return True
        work = _now.get() or Work()
        with self._changed:
            if not blocking and self._owner is not None:
                return False
            self._waiting.append(work)
            try:
                while not self._is_turn_of(work):
                    self._changed.wait(PAUSE if self._under_way else None)
            finally:
                self._waiting.remove(work)
                self._changed.notify_all()  # where it was interrupted, it may have been its turn
            self._take(work)
        return True

    def release(self) -> None:
        """Gives one `acquire` back. Raises RuntimeError where this thread does not have it."""
        if not self.is_mine:
            raise RuntimeError("This thread does not have the lock.")
        self._depth -= 1
        if self._depth:
            return
        with self._changed:
            now = time.monotonic()
            if self._holder is not None:
                self._holder.has_held += now - self._since
            self._owner, self._holder, self._since = None, None, now
            self._changed.notify_all()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take(self, work: Work) -> None:
        self._owner, self._depth, self._holder, self._since = threading.get_ident(), 1, work, time.monotonic()
        if not work.goes_first:
            self._went_before = 0
        elif _now.get() is work:
            self._under_way.add(work)
            work.began_on.add(self)

    def _is_turn_of(self, work: Work) -> bool:
        return self._owner is None and self._next() is work

    def _next(self) -> Work | None:
        """Of those who wait; nobody where light work that came earlier, and is between two steps, is expected back at once."""
        light = [work for work in self._waiting if work.goes_first]
        heavy = [work for work in self._waiting if not work.goes_first]
        if heavy and self._went_before >= LIGHT_BEFORE_HEAVY:
            return heavy[0]
        if time.monotonic() - self._since < PAUSE:
            light += [work for work in self._under_way if work.goes_first]
        first = min(light, key=lambda work: work.arrival, default=next(iter(heavy), None))
        return first if first in self._waiting else None

    def _rested(self, work: Work) -> None:
        with self._changed:
            self._under_way.discard(work)
            if any(not waiting.goes_first for waiting in self._waiting):
                self._went_before += 1
            self._changed.notify_all()
