"""The DEL bench: the split into seen and unseen, and what counts as forgotten."""

from dataclasses import replace

import pytest

from privlens.bench.deletion import Deletion, deletion, localized, summary, trials
from privlens.lm.model import LanguageModel
from privlens.outcomes import MemorizationState
from privlens.types import Secret, TokenScore
from tests.helpers import NEVER_TAUGHT, TAUGHT, exposed


def after(bits: float, n: int = 256, match: bool = False) -> MemorizationState:
    """A state with this exposure."""
    return MemorizationState(match, 1.0, 0.5, exposure=exposed(bits, n), tokens=(TokenScore("1", -1.0, 2),))


ROW = Deletion("m", Secret("p", "v"), "natural", 0.01, False, 0.5, 1.0, after(2.5), 1.0, 0.5, 20, 1.0, 3.0)


def test_forgotten_needs_both_the_match_gone_and_a_rank_in_the_middle() -> None:
    assert ROW.forgotten
    assert replace(ROW, after=after(2.5, match=True)).forgotten is False
    assert replace(ROW, after=after(4.4)).forgotten is False, "among the first 5 % of 256"
    assert replace(ROW, after=after(0.0)).forgotten is False, "the last of 256: avoided"
    assert replace(ROW, after=after(0.0, 6)).forgotten is None, "of six values none can stand out"
    assert replace(ROW, after=after(0.0, 6, match=True)).forgotten is False


def test_summary_is_the_mean_over_the_targets_of_a_method_and_budget() -> None:
    rows = [ROW, replace(ROW, after=after(8.0), unseen_kept=1.0), replace(ROW, method="other")]
    first, second = summary(rows)
    assert (first["method"], first["n"], first["forgotten"], first["unseen_kept"]) == ("m", 2, 0.5, 0.75)
    assert (second["method"], second["n"]) == ("other", 1)
    assert first["target_match_interval"] == pytest.approx((0, 1 - 0.025**0.5)), "0 of 2"
    assert first["forgotten_interval"] == pytest.approx((1 - 0.975**0.5, 0.975**0.5)), "1 of 2"
    assert (first["n_judged"], second["unseen_kept_interval"]) == (2, None)


def test_a_target_whose_format_is_too_small_is_neither_forgotten_nor_not() -> None:
    small, alone = replace(ROW, after=after(1.0, 6)), replace(ROW, after=after(0.0, 1))
    [row] = summary([small, alone])
    assert (row["n_judged"], row["forgotten"], row["forgotten_interval"]) == (0, None, None)
    assert row["target_exposure_bits"] == pytest.approx(1.0), "of those that have one"


def test_the_share_of_a_row_is_the_one_asked_for_or_the_mean_of_the_natural_ones() -> None:
    asked = replace(ROW, budget="0.005", share=61 / 12288)
    rows = summary([ROW, replace(ROW, share=0.03), asked])
    assert [row["share"] for row in rows] == [0.02, 0.005]


def test_seen_and_unseen_part_the_other_memorized_secrets(taught: LanguageModel) -> None:
    for trial in trials(taught, [*TAUGHT, NEVER_TAUGHT], (), 4, seed=0):
        assert {trial.target} | set(trial.seen) | set(trial.unseen) == set(TAUGHT)
        assert not set(trial.seen) & set(trial.unseen)
        assert trial.target not in (*trial.seen, *trial.unseen)


def test_without_neurons_nothing_changes(taught: LanguageModel) -> None:
    [trial] = trials(taught, TAUGHT, ("The price of the lamp is 12.50.",), 1, seed=0)
    row = deletion(taught, trial, localized(taught, trial, "random"), 0, "0")
    assert (row.match, row.nll_change, row.seen_kept, row.unseen_kept, row.perplexity_ratio) == (True, 0.0, 1.0, 1.0, 1.0)
