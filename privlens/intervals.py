"""95 % intervals of rates, means, medians, correlations, and areas under a ROC curve; all intervals are computed here.

An interval printed as 95 % has to cover 95 %. A percentile bootstrap of 3 to 8 draws covers 76 to 89 %, and BCa of 20 normal
draws only 92 %, so neither is used. If the draws cannot give an interval (one draw, or all equal) the result is None, never a
width of 0.
"""

import math
import statistics
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy.special import betaincinv, expit, logit, stdtrit
from scipy.stats import binom, pearsonr, rankdata

CONFIDENCE = 0.95
UPPER = (1 + CONFIDENCE) / 2

Interval = tuple[float, float]


def rate(k: float, n: float) -> Interval:
    """Clopper-Pearson interval of a rate that was seen k times in n, both ends in 0..1: exact, covers at least 95 %.

    k and n need not be whole, since `share` uses effective numbers. Raises ValueError unless 0 <= k <= n and n > 0.
    """
    if not 0 <= k <= n or n <= 0:
        raise ValueError(f"A rate of {k} in {n} is impossible.")
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, 1 - UPPER))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, UPPER))
    return low, high


def mean(values: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean of independent draws; None if there are fewer than two, or all are equal.

    Exact for normal draws, near 95 % for others that are about as often above their mean as below it. For shares use `share`.
    """
    n = len(values)
    if n < 2 or min(values) == max(values):
        return None
    half_width = float(stdtrit(n - 1, UPPER)) * statistics.stdev(values) / n**0.5
    center = statistics.fmean(values)
    return center - half_width, center + half_width


def difference(first: tuple[int, int], second: tuple[int, int]) -> Interval:
    """Interval of the difference of two rates (k, n): first minus second, -1..1.

    Newcombe (1998): the distances to the limits of each rate, squared and added; here to those of Clopper and Pearson, which
    makes it wide rather than narrow. It takes the rates as independent; two rates of the same items differ by less.
    """
    rates, bounds = [k / n for k, n in (first, second)], [rate(k, n) for k, n in (first, second)]
    center = rates[0] - rates[1]
    below = math.hypot(rates[0] - bounds[0][0], bounds[1][1] - rates[1])
    above = math.hypot(bounds[0][1] - rates[0], rates[1] - bounds[1][0])
    return center - below, center + above


def correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, Interval | None] | None:
    """Pearson's r of pairs and its interval by Fisher's z; None for fewer than three pairs, or where one of the two never varies.

    No interval for three pairs, which it does not bound, and for pairs that lie on a line.
    """
    if len(x) < 3 or min(x) == max(x) or min(y) == max(y):
        return None
    result = pearsonr(x, y)
    r = float(result.statistic)
    if len(x) < 4 or 1 - abs(r) < 1e-12:
        return r, None
    low, high = result.confidence_interval(CONFIDENCE)
    return r, (float(low), float(high))


def share(shares: Sequence[float], size: float) -> Interval | None:
    """Interval of the mean of shares, each of about `size` counted items, within 0..1; None if there are fewer than two draws.

    The items of one draw are correlated, so all draws together say less than as many independent items. Korn and Graubard (1998)
    take the Clopper-Pearson interval of the effective sample size: the number of independent items that would vary as much as the
    draws do, reduced further where there are few draws. So the interval has a width even if all shares are 1.
    """
    n_draws = len(shares)
    if n_draws < 2:
        return None
    mean_share = min(1.0, max(0.0, statistics.fmean(shares)))
    return _correlated(mean_share, statistics.variance(shares) / n_draws, n_draws * size, n_draws)


def _correlated(mean_share: float, variance: float, n_items: float, n_draws: int) -> Interval:
    """Korn and Graubard's interval, from the variance that the draws show for the mean share."""
    n_effective = min(n_items, mean_share * (1 - mean_share) / variance) if variance > 0 else n_items
    n_effective *= float(stdtrit(max(n_items - 1, n_draws - 1), UPPER) / stdtrit(n_draws - 1, UPPER)) ** 2
    return rate(mean_share * n_effective, n_effective)


def clustered(counts: Sequence[tuple[int, int]]) -> Interval | None:
    """Interval of a rate whose items come in clusters of any size, such as the secrets of one person; None for fewer than two.

    Korn and Graubard's interval as in `share`, with the linearized variance of a ratio. If all clusters have the same rate, they
    do not show how far the items of one stand and fall together, so each counts as one item.

    Args:
        counts: (k, n) of every cluster: k of its n items were hit, n >= 1.
    """
    n_clusters, n_items = len(counts), sum(n for _, n in counts)
    if n_clusters < 2:
        return None
    ratio = sum(k for k, _ in counts) / n_items
    squares = sum((k - ratio * n) ** 2 for k, n in counts)
    if squares < 1e-12:  # equal but for rounding
        return rate(ratio * n_clusters, n_clusters)
    return _correlated(ratio, n_clusters / (n_clusters - 1) * squares / n_items**2, n_items, n_clusters)


def below_if_none(n: int) -> float:
    """What a rate is below, with 95 % confidence one-sided, if n independent trials had no hit: about 3/n, the rule of three."""
    return float(-math.expm1(math.log(1 - CONFIDENCE) / n))


def n_without_hit(bound: float) -> int:
    """The number of trials that must all miss to show, one-sided, a rate below this bound in 0..1: 29 for 10 %, 299 for 1 %."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-bound))


def median(values: Sequence[float]) -> Interval | None:
    """Distribution-free interval of a median, between two of the values; covers at least 95 %. None for fewer than six values."""
    n = len(values)
    rank = int(binom.ppf(1 - UPPER, n, 0.5)) if n else 0
    ordered = sorted(values)
    return (ordered[rank - 1], ordered[n - rank]) if rank else None


Clusters = Sequence[Hashable]


def auc(
    positives: Sequence[float], negatives: Sequence[float], clusters: tuple[Clusters, Clusters] | None = None
) -> tuple[float, Interval | None]:
    """Area under the ROC curve, the Mann-Whitney statistic with ties counted as half, and its interval within 0..1.

    DeLong, DeLong & Clarke-Pearson (1988) with the clusters of Obuchowski (1997): scores of one cluster, of either class, may
    be correlated. The interval is on the logit scale with Student's t. None where the classes are separated, or one has fewer
    than two clusters.

    Args:
        clusters: the cluster of each positive and of each negative; by default each score is one of its own.
    """
    m, n = len(positives), len(negatives)
    by_positive, by_negative = clusters or ([("+", i) for i in range(m)], [("-", i) for i in range(n)])
    ranks = rankdata([*positives, *negatives])
    of_positives = (ranks[:m] - rankdata(positives)) / n  # the share of negatives below each
    of_negatives = 1 - (ranks[m:] - rankdata(negatives)) / m
    area = float(of_positives.mean())
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys([*by_positive, *by_negative]))}
    sums = [
        np.bincount([numbers[cluster] for cluster in of_class], parts - area, len(numbers))
        for of_class, parts in ((by_positive, of_positives), (by_negative, of_negatives))
    ]
    sizes = [len(set(by_positive)), len(set(by_negative))]
    if min(sizes) < 2:
        return area, None
    (size_p, size_n), n_all = sizes, len(numbers)
    variance = size_p / (size_p - 1) * _squares(sums[0]) / m**2 + size_n / (size_n - 1) * _squares(sums[1]) / n**2
    variance += 2 * n_all / (n_all - 1) * float(sums[0] @ sums[1]) / (m * n)
    if variance <= 0 or not 0 < area < 1:
        return area, None
    half_width = float(stdtrit(min(sizes) - 1, UPPER)) * variance**0.5 / (area * (1 - area))
    low, high = (float(expit(logit(area) + sign * half_width)) for sign in (-1, 1))
    return area, (low, high)


def _squares(values: Any) -> float:
    return float(values @ values)
