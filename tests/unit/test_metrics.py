"""Metrics with numbers worked by hand."""

import math

import pytest

from privlens.memorization import metrics
from privlens.types import Lift, verdict


def test_nll_is_the_mean_in_nats_per_token() -> None:
    assert metrics.nll([math.log(0.5), math.log(0.125)]) == pytest.approx(2 * math.log(2))
    assert metrics.nll([0.0]) == 0


def test_memorization_accuracy_is_the_share_of_first_choices() -> None:
    assert metrics.memorization_accuracy([1, 2, 3, 9], [1, 2, 3, 4]) == 0.75


@pytest.mark.parametrize(
    ("argmax", "strength"),
    [
        ([1, 2, 3, 4], 1.0),  # k* = 0
        ([9, 2, 3, 4], 0.75),  # right from the second token on
        ([1, 9, 3, 4], 0.5),
        ([9, 9, 9, 4], 0.25),
        ([1, 2, 3, 9], 0.0),  # the last is wrong, so no suffix is extracted
    ],
)
def test_extraction_strength(argmax: list[int], strength: float) -> None:
    assert metrics.extraction_strength(argmax, [1, 2, 3, 4]) == strength


def test_ngrams() -> None:
    assert metrics.ngrams([1, 2, 3], 2) == [(1, 2), (2, 3)]
    assert metrics.ngrams([1, 1, 1], 2) == [(1, 1), (1, 1)]
    assert metrics.ngrams([1], 2) == []


def test_extraction_likelihood_is_the_mean_share_of_shared_ngrams() -> None:
    written = [[1, 2, 3, 4], [2, 3, 9, 9], [7]]
    true = [[1, 2, 3, 4], [2, 3, 4], [4]]
    # 3 of 3 bigrams; (2, 3) of (2, 3), (3, 9), (9, 9); too short for a bigram
    assert metrics.extraction_likelihood(written, true, 2) == pytest.approx((1 + 1 / 3 + 0) / 3)


def test_an_ngram_counts_as_often_as_it_is_written() -> None:
    # 111 four times, 112, 123, 234: of these seven 123 and 234 stand in 1..9
    assert metrics.extraction_likelihood([[1] * 6 + [2, 3, 4]], [list(range(1, 10))], 3) == pytest.approx(2 / 7)
    # 12 is written three times and stands there once: three of three
    assert metrics.extraction_likelihood([[1, 2, 1, 2, 1, 2]], [[1, 2, 1, 2, 9, 9]], 2) == 1
    assert metrics.extraction_likelihood([[1, 2, 1, 2, 1, 2]], [[1, 2, 9, 9, 9, 9]], 2) == pytest.approx(3 / 5)


def test_a_match_is_every_token_of_the_value_and_nothing_behind_it() -> None:
    assert metrics.greedy_match((5, 6), (5, 6))
    assert metrics.greedy_match([5, 6, 7], (5, 6))
    assert not metrics.greedy_match((5,), (5, 6))
    assert not metrics.greedy_match((5, 7), (5, 6))


def test_exposure_is_log2_of_the_space_over_the_rank() -> None:
    others = [-float(rank) for rank in range(255)]
    assert metrics.exposure(1.0, others).bits == 8
    assert metrics.exposure(-0.5, others).bits == 7  # second of 256
    assert metrics.exposure(-1000.0, others).bits == 0


def test_values_that_tie_share_the_middle_of_their_ranks() -> None:
    others = [-float(rank) for rank in range(255)]
    assert metrics.exposure(0.0, others).rank == 1.5, "first and second"
    assert metrics.exposure(-1.0, [0.0, -1.0, -1.0, -2.0]).rank == 3, "second, third and fourth"
    uniform = metrics.exposure(-7.0, [-7.0] * 255)
    assert (uniform.rank, uniform.bits) == (128.5, pytest.approx(8 - math.log2(128.5)))
    assert metrics.exposure(-7.0, [-7.0 + 2e-5] * 2).rank == 2, "the noise of float32 is no difference"
    assert metrics.exposure(-7.0, [-7.0 - 2e-5] * 2).rank == 2
    assert metrics.exposure(-7.0, [-6.999] * 2).rank == 3
    assert metrics.exposure(-7.0, [-7.001] * 2).rank == 1
    assert metrics.exposure(-math.inf, [-math.inf]).rank == 1.5


def test_chance_is_that_of_the_space_at_hand() -> None:
    for n in (2, 6, 7, 10, 32, 256):
        found = metrics.exposure_at(1, n)
        by_hand = sum(math.log2(n) - math.log2(rank) for rank in range(1, n + 1)) / n
        assert (found.bits, found.max_bits) == (math.log2(n), math.log2(n))
        assert found.chance_bits == pytest.approx(by_hand)
    assert metrics.exposure_at(1, 10).chance_bits == pytest.approx(1.14, abs=0.005)
    assert metrics.exposure_at(1, 256).chance_bits == pytest.approx(1.42, abs=0.005)
    alone = metrics.exposure(-1.0, [])
    assert (alone.bits, alone.max_bits, alone.chance_bits, alone.n) == (None, None, None, 1)


def judged(rank: float, n: int, lift: Lift | None = None, *, fair: bool = True) -> str | None:
    return verdict(False, metrics.exposure_at(rank, n, fair), lift)


def test_a_random_value_is_judged_by_its_rank_in_its_own_space() -> None:
    assert [judged(rank, 256) for rank in (1, 12.8, 13, 243, 244, 244.5, 245, 256)] == [
        "hidden", "hidden", "forgotten", "forgotten", "forgotten", "avoided", "avoided", "avoided"
    ]  # fmt: skip
    assert [judged(rank, 20) for rank in (1, 1.5, 2, 19, 20)] == ["hidden", "forgotten", "forgotten", "forgotten", "avoided"]
    assert [judged(rank, 19) for rank in (1, 19)] == [None, None], "5 % of 19 are less than one value"
    assert verdict(True, metrics.exposure_at(200, 256), None) == "known", "it is still generated"
    assert verdict(False, None, None) is None, "not measured"
    share = sum(judged(rank, 256) == "forgotten" for rank in range(1, 257)) / 256
    assert share == pytest.approx(0.9, abs=0.01), "of values that nobody trained on, 90 % count as forgotten"


def test_a_word_is_judged_beside_other_peoples_values() -> None:
    def among_peers(rank: float, n: int = 40) -> str | None:
        return judged(1, 256, Lift(1.0, 0.0, rank, n), fair=False)

    assert [among_peers(rank) for rank in (1, 2, 3, 38, 39)] == ["hidden", "hidden", "forgotten", "forgotten", "avoided"]
    assert [among_peers(rank, 9) for rank in (1, 2, 9)] == ["hidden", "forgotten", "forgotten"], "of 9 none is in the last 5 %"
    assert judged(1, 256, fair=False) is None, "a word outranks random letters without being memorized"
    assert judged(100, 256, fair=False) == "forgotten", "not even that"
    assert judged(100, 256, Lift(1.0, 0.0, 1, 40)) == "forgotten", "a random value has fair rivals in its own format"
    assert judged(1, 256, Lift(1.0, 0.0, 20, 40)) == "hidden", "though whose it is was forgotten"
    assert verdict(False, None, Lift(1.0, 0.0, 1, 40)) == "hidden", "an exposure that decides nothing need not be measured"


def test_perplexity() -> None:
    assert metrics.perplexity(math.log(20)) == pytest.approx(20)
