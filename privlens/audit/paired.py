"""The same secrets measured twice, before and after: what changed, and whether chance would change as much."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest


@dataclass(frozen=True)
class Paired:
    """A yes or no of n secrets, twice. `lost`: yes only before. `gained`: yes only after.

    `p_value` is McNemar's exact test (1947; two-sided binomial of lost against gained); None where nothing changed.
    """

    n: int
    before: int
    after: int
    lost: int
    gained: int
    p_value: float | None


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """Compares two measurements of the same secrets, in the same order. Raises ValueError for different numbers of them."""
    pairs = list(zip(before, after, strict=True))
    lost, gained = pairs.count((True, False)), pairs.count((False, True))
    return Paired(len(pairs), sum(before), sum(after), lost, gained, even_chance(lost, gained))


def even_chance(k: int, other: int) -> float | None:
    """The exact two-sided chance of a split at least as uneven if both sides are equally likely; None for none on either."""
    return float(binomtest(k, k + other, 0.5).pvalue) if k + other else None
