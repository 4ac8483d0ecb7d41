"""Entropy against memorization: distances, entropies and the line by hand; the objections show in the numbers."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import pearsonr

from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel
from privlens.neurons.entropy_memorization import (
    DEALS,
    entropy_law,
    entropy_sets,
    grouped,
    line_through,
    plug_in_entropy,
    token_distance,
)
from privlens.neurons.entropy_records import ENTROPY_CAUTIONS, EntropyLaw, EntropyStep
from privlens.types import Secret
from tests.helpers import NEVER_TAUGHT, TAUGHT


def last(steps: Iterator[EntropyStep]) -> EntropyLaw:
    *_, step = steps
    assert step.result
    return step.result


def test_distance_in_tokens_by_hand() -> None:
    assert token_distance([5, 6, 7, 8], [5, 6, 7]) == 0  # what follows the value does not matter
    assert token_distance([5, 9, 7], [5, 6, 7]) == 1
    assert token_distance([6, 7, 5], [5, 6, 7]) == 2  # one is left out, one put in
    assert token_distance([], [5, 6, 7]) == 3
    assert token_distance([300, 1], [300, 100_000]) == 1


def test_entropy_by_hand() -> None:
    assert plug_in_entropy([7, 7, 7]) == 0
    assert plug_in_entropy([1, 2, 3, 4]) == pytest.approx(2)
    assert plug_in_entropy([1, 1, 2, 3]) == pytest.approx(1.5)


def test_sets_pool_their_tokens() -> None:
    first, second = grouped([2, 0, 2], [(1, 2), (9, 9), (1, 3)])
    assert (first.distance, first.n_items, first.n_tokens, first.n_different) == (0, 1, 2, 1)
    assert (first.entropy, first.normalized) == (0, None)
    assert (second.distance, second.n_items, second.n_tokens, second.n_different) == (2, 2, 4, 3)
    assert second.entropy == pytest.approx(1.5)
    assert second.normalized == pytest.approx(1.5 / math.log2(3))


def test_the_line_by_hand() -> None:
    """Points (0, 1), (1, 3), (2, 2), (3, 6): means 1.5 and 3, covariance 7, variances 5 and 14."""
    line = line_through([0, 1, 2, 3], [1, 3, 2, 6])
    assert line is not None
    assert line.slope == pytest.approx(7 / 5)
    assert line.intercept == pytest.approx(3 - 1.5 * 7 / 5)
    assert line.r == pytest.approx(7 / math.sqrt(5 * 14))
    fisher = math.atanh(line.r), 1.959964
    assert line.interval == pytest.approx([math.tanh(fisher[0] - fisher[1]), math.tanh(fisher[0] + fisher[1])], abs=1e-5)
    assert line_through([0, 1, 2], [1, 3, 2]) is None
    assert line_through([1, 1, 1, 1], [1, 3, 2, 5]) is None
    straight = line_through([0, 1, 2, 3], [0, 2, 4, 6])
    assert straight is not None
    assert straight.r == pytest.approx(1)
    assert straight.interval is None


def test_the_trend_turns_round_once_it_is_normalized() -> None:
    """Larger distances have more tokens of more kinds, of which a few are more and more frequent."""
    values = [[*range(2**size)] + [0] * (2 ** (size + 1) - 2) for size in range(1, 7)]
    groups = grouped(list(range(6)), values)
    plain = line_through([group.entropy for group in groups], [group.distance for group in groups])
    normalized = line_through([group.normalized or 0.0 for group in groups], [group.distance for group in groups])
    assert plain is not None
    assert normalized is not None
    assert plain.r > 0.9
    assert normalized.r < -0.9


def test_small_sets_are_left_out_of_everything() -> None:
    """Sets of 2, 3 and 1 secrets: with at least 2 of them, the value of the last shows in no number."""
    distances, values = [0, 4, 0, 4, 2, 4], [(1, 2), (3, 3), (1, 2), (3, 4), (9, 8), (3, 3)]
    sets = entropy_sets(distances, values, 0, fewest=2)
    assert (sets.n_secrets, sets.n_left_out, sets.fewest) == (5, 1, 2)
    assert [(group.distance, group.n_items) for group in sets.groups] == [(0, 2), (4, 3)]
    assert [group.entropy for group in sets.groups] == pytest.approx([1, 0.6500224])
    assert sets.of_items is not None
    assert sets.of_items.n == 5
    assert sets == entropy_sets(distances, [*values[:4], (7, 7), values[5]], 0, fewest=2)
    assert sets.too_few.startswith("2 sets of equal distance and of 2 secrets or more: a line needs 4.")
    assert entropy_sets([0, 1], [(1,), (2,)], 0, fewest=5).groups == ()


def test_the_control_is_of_sets_as_large_as_these() -> None:
    """Every deal once more, with the sets of `grouped` and scipy's r."""
    rng = np.random.default_rng(5)
    values = [[int(token) for token in rng.integers(0, 6, size)] for size in rng.integers(2, 9, 40)]
    distances = [int(distance) for distance in rng.integers(0, 6, 40)]
    sets = entropy_sets(distances, values, 3)
    deals = np.random.default_rng(3)
    dealt = []
    for _ in range(DEALS):
        groups = grouped([distances[place] for place in deals.permutation(40)], values)
        dealt.append(float(pearsonr([group.entropy for group in groups], [group.distance for group in groups]).statistic))
    assert sets.line is not None
    assert sets.shuffled == pytest.approx(np.mean(dealt))
    assert sets.n_deals == DEALS
    assert sets.p_value == pytest.approx((1 + sum(r >= sets.line.r for r in dealt)) / (1 + DEALS))


def test_what_is_known_has_distance_nothing(taught: LanguageModel) -> None:
    result = last(entropy_law(taught, [*TAUGHT, NEVER_TAUGHT]))
    distances = [item.distance for item in result.items]
    assert distances[:4] == [0, 0, 0, 0]
    assert 0 < distances[4] <= result.items[4].n_tokens
    assert result.items[1].entropy == pytest.approx(plug_in_entropy(taught.encode(TAUGHT[1]).value_ids))
    assert (result.line, result.normalized, result.shuffled) == (None, None, None)
    assert result.too_few == "2 sets of equal distance: a line needs 4. Give a longer or more varied list."


def test_a_line_stands_beside_dealt_out_distances(taught: LanguageModel) -> None:
    listed = [
        Secret(secret.prompt, secret.value[:end] + other.value[:more])
        for secret in TAUGHT
        for other in TAUGHT
        for end, more in ((3, 0), (5, 2), (8, 5), (12, 9))
    ]
    result = last(entropy_law(taught, listed, seed=1))
    assert result.line is not None
    groups = [(group.entropy, group.distance) for group in result.groups]
    assert result.line.r == pytest.approx(pearsonr(*zip(*groups, strict=True)).statistic)
    assert result.line.n == len(groups) == len({item.distance for item in result.items})
    assert sum(group.n_items for group in result.groups) == len(listed)
    assert result.shuffled is not None
    assert result.p_value is not None
    assert 0.001 <= result.p_value <= 1
    assert result.of_items is not None
    assert result.of_items.n == len(listed)
    assert result.too_few == ""
    assert len(ENTROPY_CAUTIONS) == 3
    assert last(entropy_law(taught, listed, seed=1)).p_value == result.p_value


def test_wrong_input_and_a_stop(taught: LanguageModel) -> None:
    with pytest.raises(BadInput, match="No secret was given"):
        next(entropy_law(taught, []))
    with pytest.raises(Cancelled):
        next(entropy_law(taught, TAUGHT, stop=lambda: True))
