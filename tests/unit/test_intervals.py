"""Intervals: numbers worked by hand or known from tables, and 95 % that cover 95 %."""

import numpy as np
import pytest

from privlens import intervals

RUNS = 2000
FEWEST = 0.95 - 3 * (0.95 * 0.05 / RUNS) ** 0.5
"""What an interval that covers 95 % is below in one of 700 simulations."""


def test_rates_are_clopper_and_pearsons() -> None:
    assert intervals.rate(0, 20) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert intervals.rate(0, 20)[1] == pytest.approx(0.168, abs=0.0005)
    assert intervals.rate(20, 20) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert intervals.rate(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)  # tabled
    assert intervals.rate(35, 36) == pytest.approx((0.8547, 0.9993), abs=1e-4)
    for k, n in ((-1, 3), (4, 3), (0, 0)):
        with pytest.raises(ValueError, match="is impossible"):
            intervals.rate(k, n)


def test_means_are_students() -> None:
    # 1, 2, 3: mean 2, standard error 1/sqrt(3); t of two degrees of freedom at 97.5 % is 4.3027.
    assert intervals.mean([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    assert intervals.mean([1.0]) is None
    assert intervals.mean([0.5] * 8) is None, "draws that are all alike do not tell how much others would differ"


def test_a_share_of_one_is_no_certainty_and_stays_within_0_and_1() -> None:
    low, high = intervals.share([1.0] * 8, 21) or (0, 0)
    assert high == 1.0
    # 168 of 168, cut by the t of 7 degrees of freedom (2.3646) against that of 167 (1.9743).
    assert low == pytest.approx(0.025 ** (1 / (168 * (1.9743 / 2.3646) ** 2)), abs=1e-4)
    assert intervals.share([0.9], 21) is None
    assert intervals.share([0.0] * 3, 6) == (0.0, pytest.approx(1 - (intervals.share([1.0] * 3, 6) or (0, 0))[0]))
    for shares in ([0.9, 1.0], [0.0, 1.0, 1.0], [0.99] * 19 + [0.5]):
        low, high = intervals.share(shares, 50) or (-1, 2)
        assert 0 <= low < np.mean(shares) < high <= 1


def test_draws_that_differ_more_than_chance_count_for_less() -> None:
    even, uneven = [0.75, 0.75, 0.8, 0.7], [0.5, 1.0, 0.5, 1.0]
    narrow, wide = intervals.share(even, 20) or (0, 0), intervals.share(uneven, 20) or (0, 0)
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])
    assert narrow[1] - narrow[0] > intervals.rate(60, 80)[1] - intervals.rate(60, 80)[0]


@pytest.mark.parametrize("n", [3, 6, 8, 20])
def test_rates_cover(n: int) -> None:
    rng = np.random.default_rng(n)
    ends = [intervals.rate(k, n) for k in range(n + 1)]
    for rate in (0.05, 0.3, 0.5, 0.95):
        drawn = rng.binomial(n, rate, RUNS)
        assert np.mean([ends[k][0] <= rate <= ends[k][1] for k in drawn]) >= FEWEST


@pytest.mark.parametrize("n", [3, 6, 8, 20])
def test_means_cover(n: int) -> None:
    drawn = np.random.default_rng(n).normal(0.04, 0.02, (RUNS, n))
    found = [intervals.mean(row) or (0, 0) for row in drawn.tolist()]
    covered = np.mean([low <= 0.04 <= high for low, high in found])
    assert FEWEST <= covered <= 0.95 + (0.95 - FEWEST), "exact, so no more than that either"


KINDS = [(0.95, 20, 0.0), (0.99, 20, 0.0), (0.7, 12, 0.0), (0.9, 50, 0.1), (0.5, 20, 0.1)]


@pytest.mark.parametrize("draws", [3, 6, 8, 20])
@pytest.mark.parametrize(("mean", "size", "alike"), KINDS)
def test_shares_cover(draws: int, mean: float, size: int, alike: float) -> None:
    """`alike` is the correlation of two counted things of one draw."""
    rng = np.random.default_rng(draws)
    each = 1 / alike - 1 if alike else 0
    rates = rng.beta(mean * each, (1 - mean) * each, (RUNS, draws)) if alike else np.full((RUNS, draws), mean)
    found = [intervals.share(row, size) or (0, 0) for row in (rng.binomial(size, rates) / size).tolist()]
    assert np.mean([low <= mean <= high for low, high in found]) >= FEWEST
