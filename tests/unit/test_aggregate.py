"""Votes, overlap and share by site, with numbers worked by hand."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from privlens.errors import BadInput
from privlens.localization.aggregate import SHUFFLES, VoteSettings, chance_overlap, overlap, share_by_site, specificity, vote
from privlens.types import Neuron, NeuronScores, Provenance, Site

HOW = Provenance("m", "f", 3, {"steps": 20}, {}, 1.5)


def scored(*rows: list[float], site: Site = "mlp") -> NeuronScores:
    return NeuronScores("gradient", site, np.array(rows, np.float32), None, HOW)


THREE = [
    scored([10.0, 1.0, 0.9], [0.0, -5.0, 4.0]),
    scored([0.1, 1.0, 0.2], [0.05, -9.0, 0.0]),
    scored([-1.0, 2.0, 0.0], [20.0, 0.0, 3.0]),
]
"""Votes at a tenth of the maximum: 10, 1, 4 | 0.1, 1, 0.2 | 2, 20, 3; so [2, 3, 1], [1, 0, 2]."""


def test_votes_by_hand() -> None:
    found = vote(THREE)
    # Sums: (0, 1) 4.0 with 3 votes; (0, 0) 9.1 and (1, 2) 7.0 with 2. (0, 2) and (1, 0) have 1 of 3.
    assert found.top(3) == [Neuron(0, 1), Neuron(0, 0), Neuron(1, 2)]
    assert found.suggested_k == 3
    assert np.floor(found.scores).tolist() == [[2, 3, 0], [0, 0, 2]]
    assert found.scores[0].tolist()[2] == found.scores[1].tolist()[0] == 0


def test_equal_votes_go_by_the_summed_score() -> None:
    turned = [THREE[0], THREE[1], scored([-1.0, 2.0, 0.0], [20.0, 0.0, 6.0])]
    assert vote(turned).top(3) == [Neuron(0, 1), Neuron(1, 2), Neuron(0, 0)], "10.0 now, above 9.1"


def test_the_three_settings() -> None:
    assert vote(THREE, VoteSettings(most=2)).suggested_k == 2
    assert vote(THREE, VoteSettings(of_secrets=1.0)).suggested_k == 1
    assert vote(THREE, VoteSettings(of_secrets=0.0)).suggested_k == 5, "a neuron without a vote never stays"
    assert vote(THREE, VoteSettings(of_maximum=0.2)).suggested_k == 0, "one vote each: 10, 4 | 1, 0.2 | 20"
    everyone = [scored([1.0, 2.0])] * 7 + [scored([0.0, 1.0])] * 3
    assert vote(everyone, VoteSettings(of_secrets=0.7)).suggested_k == 2, "7 of 10 are 0.7"


def test_votes_record_what_they_depend_on() -> None:
    found = vote(THREE)
    assert (found.method, found.site) == ("gradient, voted", "mlp")
    assert found.provenance.settings == {"steps": 20, "secrets": 3, "of_maximum": 0.1, "of_secrets": 0.5, "most": 200}
    assert found.provenance.seconds == 4.5


def test_a_secret_without_a_positive_score_votes_for_none() -> None:
    for hopeless in (scored([-1.0, -2.0]), scored([0.0, -2.0])):
        found = vote([hopeless])
        assert (found.suggested_k, found.scores.tolist()) == (0, [[0.0, 0.0]])


def test_what_cannot_vote_together_is_refused() -> None:
    for wrong in (
        [],
        [THREE[0], scored([1.0, 2.0])],
        [THREE[0], replace(THREE[0], site="attention")],
        [THREE[0], replace(THREE[0], method="zero-out")],
        [THREE[0], replace(THREE[0], provenance=replace(HOW, fingerprint="g"))],
    ):
        with pytest.raises(BadInput, match="localize"):
            vote(wrong)


def test_overlap_by_hand() -> None:
    # Best two: {(0,0), (1,2)}, {(0,1), (0,2)}, {(1,0), (1,2)}.
    found = overlap(THREE, 2)
    np.testing.assert_allclose(found, [[1, 0, 1 / 3], [0, 1, 0], [1 / 3, 0, 1]])
    with pytest.raises(BadInput, match="at least 1"):
        overlap(THREE, 0)
    with pytest.raises(BadInput, match="at least one secret"):
        overlap([], 1)


def test_share_by_site_by_hand() -> None:
    both: dict[Site, NeuronScores] = {
        "mlp": scored([4.0, 1.0, -8.0]),
        "attention": scored([2.0, -1.0], [0.5, 0.5], site="attention"),
    }
    assert share_by_site(both) == {"mlp": 5 / 8, "attention": 3 / 8}
    assert share_by_site(both, 1) == {"mlp": 1.0, "attention": 0.0}
    assert share_by_site(both, 3) == pytest.approx({"mlp": 2 / 3, "attention": 1 / 3})
    assert share_by_site(both, 99) == pytest.approx({"mlp": 2 / 5, "attention": 3 / 5}), "positive ones only"
    assert share_by_site({"mlp": scored([-1.0, 0.0])}) == {"mlp": 0.0}


def test_what_random_sets_have_in_common_by_hand() -> None:
    # Two of four: of 6 second pairs 1 is the same (1), 4 share one neuron (1/3), 1 shares none (0).
    assert chance_overlap(4, 2) == pytest.approx((1 + 4 / 3 + 0) / 6)
    assert chance_overlap(5, 1) == pytest.approx(1 / 5)
    assert chance_overlap(7, 7) == pytest.approx(1)
    drawn = np.random.default_rng(0)
    sets = [set(drawn.choice(300, 40, replace=False).tolist()) for _ in range(400)]
    mean = np.mean([len(a & b) / len(a | b) for a, b in pairwise(sets)])
    assert chance_overlap(300, 40) == pytest.approx(float(mean), rel=0.05)
    for wrong in (0, 5):
        with pytest.raises(BadInput, match="must be 1 to 4"):
            chance_overlap(4, wrong)


def test_specificity_by_hand() -> None:
    overlaps = np.eye(4)
    for (a, b), value in {(0, 1): 0.5, (0, 2): 0.1, (0, 3): 0.2, (1, 2): 0.3, (1, 3): 0.0, (2, 3): 0.9}.items():
        overlaps[a, b] = overlaps[b, a] = value
    found = specificity(overlaps, ["phone", "phone", "mail", "mail"])
    assert found.categories == ("phone", "mail")
    assert found.within == pytest.approx((0.5 + 0.9) / 2)
    assert found.between == pytest.approx((0.1 + 0.2 + 0.3 + 0.0) / 4)
    np.testing.assert_allclose(found.means, [[0.5, 0.15], [0.15, 0.9]], rtol=1e-6)
    # Of the three ways to pair four secrets this one differs most, so a third of all shufflings is as large.
    assert found.shuffled == pytest.approx(1 / 3, abs=0.05)


def test_the_true_categories_are_one_of_the_shuffles() -> None:
    """With these overlaps no shuffle is as good as the truth, which counts as one: p is never 0."""
    names = ["phone"] * 15 + ["mail"] * 15
    of = np.array(names)
    found = specificity((of[:, None] == of[None]).astype(float), names)
    assert found.shuffled == 1 / (SHUFFLES + 1)


def test_specificity_of_one_category_or_of_single_secrets() -> None:
    alone = specificity(np.ones((3, 3)), ["a", "b", "c"])
    assert (alone.within, alone.between, alone.shuffled) == (None, 1.0, None)
    assert np.isnan(np.diag(alone.means)).all(), "a secret's overlap with itself is no pair"
    alike = specificity(np.ones((2, 2)), ["a", "a"])
    assert (alike.within, alike.between, alike.shuffled) == (1.0, None, None)
    with pytest.raises(BadInput, match="do not match"):
        specificity(np.ones((2, 2)), ["a"])
