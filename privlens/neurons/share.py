"""A rate with its interval, as the records of this package hold it."""

from dataclasses import dataclass

from privlens import intervals
from privlens.intervals import Interval


@dataclass(frozen=True)
class Share:
    """k of n, with the Clopper-Pearson interval of the rate; None for n = 0."""

    k: int
    n: int
    interval: Interval | None

    @property
    def rate(self) -> float | None:
        """k / n."""
        return self.k / self.n if self.n else None


def share_of(k: int, n: int) -> Share:
    """A share with its interval."""
    return Share(k, n, intervals.rate(k, n) if n else None)
