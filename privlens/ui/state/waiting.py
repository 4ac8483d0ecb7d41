"""The line of heavy runs: a few take turns, step by step; the others wait until one of them ends, first come, first served."""

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
"""Heavy runs that take turns; each needs memory for its gradients, and with more of them all end late."""
EACH = 2
"""Heavy runs of one visitor, those that wait among them."""
REMEMBERED = 20
"""Runs from whose time it is told how long others may take."""


class Place:
    """A heavy run's place in the line.

    Attributes:
        work: the run as a piece of work. share: 0..1, how far it is.
    """

    def __init__(self, line: "Line", visitor: str) -> None:
        self.visitor, self.share = visitor, 0.0
        self.work = Work(is_heavy=True)
        self.began = 0.0
        self._line = line

    def has_come(self, seconds: float) -> bool:
        """Whether it is this run's turn to begin, now or within these seconds."""
        return self._line._comes(self, seconds)

    def told(self) -> str:
        """What a visitor who waits is told: how many runs are before theirs, and for how long, once that can be said."""
        return self._line._told(self)

    @property
    def n_beside(self) -> int:
        """Other runs that take turns with this one."""
        return len(self._line._under_way()) - 1

    def left(self) -> float | None:
        """Seconds until this run ends at its pace so far; None before its first step."""
        return (time.monotonic() - self.began) * (1 - self.share) / self.share if self.share else None


class Line:
    """All heavy runs of a page, in the order in which they were asked for."""

    def __init__(self, at_once: int = AT_ONCE, each: int = EACH) -> None:
        self.at_once, self.each = at_once, each
        self._changed = threading.Condition()
        self._places: list[Place] = []
        self._took: deque[float] = deque(maxlen=REMEMBERED)

    @contextmanager
    def place(self, visitor: str) -> Iterator[Place]:
        """Inside, a run of this visitor stands in the line. Raises BadInput where they have enough of them there."""
        place = Place(self, visitor)
        with self._changed:
            if sum(other.visitor == visitor for other in self._places) >= self.each:
                raise BadInput(
                    f"{self.each} runs of yours are under way or waiting, which is as many as one visitor may have: wait for one "
                    "to end, or cancel it."
                )
            self._places.append(place)
        try:
            yield place
        finally:
            with self._changed:
                if place.began:
                    self._took.append(time.monotonic() - place.began)
                self._places.remove(place)
                self._changed.notify_all()

    def wait(self, place: Place, stop: Stop) -> Iterator[str]:
        """Waits for a place's turn, and yields what to tell meanwhile, about once a second.

        Raises:
            Cancelled: when `stop` said so.
        """
        while not place.has_come(0):
            yield place.told()
            place.has_come(1.0)
            if stop():
                raise Cancelled("Stopped while other runs were before this one; nothing was changed.")

    def _under_way(self) -> list[Place]:
        return self._places[: self.at_once]

    def _comes(self, place: Place, seconds: float) -> bool:
        with self._changed:
            has_come = self._changed.wait_for(lambda: place in self._under_way(), seconds)
            if has_come and not place.began:
                place.began = time.monotonic()
            return has_come

    def _told(self, place: Place) -> str:
        with self._changed:
            n_before, under_way = self._places.index(place), self._under_way()
            seconds = self._until(max(0, n_before - len(under_way)), under_way)
        runs = f"{n_before} run{'' if n_before == 1 else 's'} before yours"
        return runs if seconds is None else f"{runs}, about {duration(seconds)} until it begins"

    def _until(self, n_waiting: int, under_way: list[Place]) -> float | None:
        """Seconds until so many waiting runs and one more have begun; None where neither pace nor earlier runs tell."""
        usual = statistics.median(self._took) if self._took else None
        ends = [usual if place.share == 0 else place.left() for place in under_way]
        known = sorted(seconds for seconds in ends if seconds is not None)
        rounds, last = divmod(n_waiting, self.at_once)
        if len(known) <= last or (rounds and usual is None):
            return None
        return known[last] + rounds * (usual or 0.0)


def duration(seconds: float) -> str:
    """Seconds in words: below two minutes in seconds, above in minutes."""
    return f"{max(1, round(seconds))} s" if seconds < 120 else f"{round(seconds / 60)} min"
