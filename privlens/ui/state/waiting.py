"""The queue of heavy runs: a few take turns, step by step; the others wait until one of them ends, first come, first served."""

import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from privlens.errors import BadInput, Cancelled
from privlens.lm.fair_lock import Work
from privlens.lm.model import Stop

AT_ONCE = 4
"""Heavy runs that take turns. Each needs memory for its gradients, and with more of them each ends later."""
EACH = 2
"""Heavy runs that one visitor may have, including those that wait: a higher limit lets one visitor fill the queue."""
REMEMBERED = 20
"""Latest runs whose median time is the estimate for others: fewer follow a change sooner, more vary less."""


class Place:
    """A heavy run's place in the queue.

    Attributes:
        work: the run as a piece of work. share: 0..1, its progress.
    """

    def __init__(self, queue: "RunQueue", visitor: str) -> None:
        self.visitor = visitor
        self.share = 0.0
        self.work = Work(is_heavy=True)
        self.began = 0.0
        self._queue = queue

    def has_come(self, seconds: float) -> bool:
        """Whether this run may begin, now or within these seconds."""
        return self._queue._has_come(self, seconds)

    def told(self) -> str:
        """The text for a visitor who waits: how many runs are before theirs, and for how long if that can be estimated."""
        return self._queue._waiting_text(self)

    @property
    def n_beside(self) -> int:
        """The number of other runs that take turns with this one."""
        return len(self._queue._running()) - 1

    def left(self) -> float | None:
        """Seconds until this run ends at its pace so far; None before its first step."""
        if not self.share:
            return None
        return (time.monotonic() - self.began) * (1 - self.share) / self.share


class RunQueue:
    """All heavy runs of a page, in the order in which they were started."""

    def __init__(self, at_once: int = AT_ONCE, each: int = EACH) -> None:
        self.at_once = at_once
        self.each = each
        self._changed = threading.Condition()
        self._places: list[Place] = []
        self._durations: deque[float] = deque(maxlen=REMEMBERED)

    @contextmanager
    def place(self, visitor: str) -> Iterator[Place]:
        """Inside, a run of this visitor has a place in the queue. Raises BadInput if they have as many as allowed."""
        place = Place(self, visitor)
        with self._changed:
            if sum(queued.visitor == visitor for queued in self._places) >= self.each:
                raise BadInput(
                    f"You have {self.each} runs in progress or waiting, the most that one visitor may have: wait for one to end, "
                    "or cancel one."
                )
            self._places.append(place)
        try:
            yield place
        finally:
            with self._changed:
                if place.began:
                    self._durations.append(time.monotonic() - place.began)
                self._places.remove(place)
                self._changed.notify_all()

    def wait(self, place: Place, stop: Stop) -> Iterator[str]:
        """Waits until a place's run may begin, and yields the text to show meanwhile, about once a second.

        Raises:
            Cancelled: when `stop` returns true.
        """
        while not place.has_come(0):
            yield place.told()
            place.has_come(1.0)
            if stop():
                raise Cancelled("Stopped while waiting for other runs; nothing was changed.")

    def _running(self) -> list[Place]:
        return self._places[: self.at_once]

    def _has_come(self, place: Place, seconds: float) -> bool:
        with self._changed:
            has_come = self._changed.wait_for(lambda: place in self._running(), seconds)
            if has_come and not place.began:
                place.began = time.monotonic()
            return has_come

    def _waiting_text(self, place: Place) -> str:
        with self._changed:
            n_before = self._places.index(place)
            running = self._running()
            seconds = self._seconds_until(max(0, n_before - len(running)), running)
        runs = f"{n_before} run{'' if n_before == 1 else 's'} before yours"
        return runs if seconds is None else f"{runs}, about {duration(seconds)} until it begins"

    def _seconds_until(self, n_waiting: int, running: list[Place]) -> float | None:
        """Seconds until n_waiting runs and one more have begun; None if neither their pace nor earlier runs allow an estimate."""
        median = statistics.median(self._durations) if self._durations else None
        estimates = [median if place.share == 0 else place.left() for place in running]
        remaining = sorted(seconds for seconds in estimates if seconds is not None)
        rounds, last = divmod(n_waiting, self.at_once)
        if len(remaining) <= last or (rounds and median is None):
            return None
        return remaining[last] + rounds * (median or 0.0)


def duration(seconds: float) -> str:
    """Seconds in words: below two minutes in seconds, above in minutes."""
    return f"{max(1, round(seconds))} s" if seconds < 120 else f"{round(seconds / 60)} min"
