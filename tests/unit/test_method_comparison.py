"""Several methods on one secret: each one's scores are those of the method alone, the effects are those of deactivation."""

from dataclasses import replace

import pytest

from privlens.deactivation import EvalContext, effect_on, memorization_states, reference_perplexity
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel
from privlens.localization import Task, result_of
from privlens.localization.several import PARTS, localize_each
from privlens.memorization.check import exposure_of
from privlens.method_comparison import BUDGETS, Measured, MethodComparison, compare_methods, measured_ks, suggested_k
from privlens.outcomes import CurvePoint, MeasuredOn
from tests.helpers import NEVER_TAUGHT, TAUGHT, TEXT, exposed

AROUND = EvalContext((*TAUGHT, NEVER_TAUGHT), tuple(TEXT.split(";")))


@pytest.fixture(scope="module")
def compared(taught: LanguageModel) -> MethodComparison:
    *_, last = compare_methods(["gradient", "random", "activations"], Task(taught, TAUGHT[0], TAUGHT[1:2], seed=5), AROUND)
    assert last.step == last.n_steps
    assert last.result is not None
    return last.result


def test_every_method_has_its_own_scores_and_random_is_last(taught: LanguageModel, compared: MethodComparison) -> None:
    assert [one.scores.method for one in compared.methods] == ["gradient", "activations", "random"]
    for one in compared.methods:
        alone = result_of(one.scores.method, Task(taught, TAUGHT[0], TAUGHT[1:2], seed=5))
        assert (one.scores.scores == alone.scores).all()


def test_the_effect_of_each_point_is_that_of_switching_its_neurons_off(taught: LanguageModel, compared: MethodComparison) -> None:
    assert compared.before.known == tuple(TAUGHT[2:]), "not the target, not what was retained, not what it does not know"
    around = EvalContext(compared.before.known, AROUND.reference, seed=5)
    perplexity = reference_perplexity(taught, (), around)
    assert compared.on == MeasuredOn(others=2, known=2, paragraphs=2, candidates=32)
    for one in compared.methods:
        assert tuple(point.k for point in one.curve) == compared.ks == measured_ks(128) == (1, 3)
        for point in one.curve:
            off = one.scores.top(point.k)
            after = effect_on(taught, TAUGHT[0], off, around).after
            exposure = exposure_of(taught, TAUGHT[0], gates=taught.off(off), seed=5, size=32)
            assert (point.target_match, point.target_exposure, exposure.n) == (after.greedy_match, exposure, 32)
            assert point.target_nll == pytest.approx(after.nll, abs=1e-4)
            kept = [state.greedy_match for state in memorization_states(taught, compared.before.known, off, around)]
            assert point.others_kept == sum(kept) / 2
            assert point.perplexity_ratio == pytest.approx((reference_perplexity(taught, off, around) or 0) / (perplexity or 1))


def test_all_is_measured_where_that_is_asked_for(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGETS, "sample", replace(BUDGETS["sample"], others=1, paragraphs=1))
    found = {}
    for extent in ("sample", "all"):
        *_, last = compare_methods(["gradient"], Task(taught, TAUGHT[0], seed=5), AROUND, extent, at_k=9)  # type: ignore[arg-type]
        assert last.result
        found[extent] = last.result
    sample, whole = found["sample"], found["all"]
    assert sample.on == MeasuredOn(others=1, known=3, paragraphs=1, candidates=32)
    assert whole.on == MeasuredOn(others=3, known=3, paragraphs=2, candidates=256)
    assert len(sample.before.known) == 1
    assert set(sample.before.known) < set(whole.before.known) == set(TAUGHT[1:])
    assert (sample.ks, whole.ks) == ((1, 3, 9), (1, 3, 9))
    assert sample.provenance.settings["n_unseen"] == 1


def test_a_k_that_is_asked_for_is_measured_beside_the_shares_of_the_model(compared: MethodComparison) -> None:
    assert measured_ks(46_080) == (9, 46, 230, 922)
    assert measured_ks(46_080, "sample", 20) == (9, 20, 46, 230, 922)
    assert measured_ks(46_080, "all", None) == (9, 23, 46, 92, 230, 461, 922)
    scores = compared.methods[0].scores
    assert suggested_k([scores, replace(scores, suggested_k=0), replace(scores, suggested_k=17)]) == 17
    assert suggested_k([scores]) is None


def test_scores_come_first_and_effects_one_by_one(taught: LanguageModel) -> None:
    steps = list(compare_methods(["gradient"], Task(taught, TAUGHT[0]), AROUND))
    assert [step.step for step in steps] == sorted(step.step for step in steps)
    first = next(step for step in steps if step.result is not None)
    assert first.result is not None
    assert [len(one.curve) for one in first.result.methods] == [0, 0]
    assert len(first.scores) == 2
    results = [step.result for step in steps if step.result is not None]
    assert [[len(one.curve) for one in result.methods] for result in results[:4]] == [[0, 0], [2, 0], [2, 2], [2, 2]]
    whole = [[point.k for one in result.methods for point in one.curve if point.others_kept is not None] for result in results]
    assert whole == [[], [], [], [1], [1, 1], [1, 3, 1], [1, 3, 1, 3]], "every method at the smallest k first"
    assert [point.target_nll for point in results[2].methods[0].curve] == [
        point.target_nll for point in results[-1].methods[0].curve
    ], "the secret's own numbers come first and stay"


def test_several_localizations_report_how_far_they_are(taught: LanguageModel) -> None:
    jobs = [("hard-concrete", Task(taught, TAUGHT[0])), ("weight-norm", Task(taught, TAUGHT[0]))]
    steps = list(localize_each(jobs))
    assert [len(step.scores) for step in steps] == sorted(len(step.scores) for step in steps)
    assert (steps[-1].step, steps[-1].n_steps) == (2 * PARTS, 2 * PARTS)
    mask, norms = steps[-1].scores
    assert (mask.method, norms.method) == ("hard-concrete", "weight-norm")
    assert norms.provenance.seconds < mask.provenance.seconds, "each is timed by itself, not from the start of all"


def test_cancel_and_nothing_chosen(taught: LanguageModel) -> None:
    with pytest.raises(Cancelled):
        list(compare_methods(["gradient"], Task(taught, TAUGHT[0], stop=lambda: True), AROUND))
    with pytest.raises(BadInput, match="choose at least one"):
        list(compare_methods([], Task(taught, TAUGHT[0]), AROUND))


def test_the_nearest_measured_point_goes_by_ratio(compared: MethodComparison) -> None:
    points = tuple(CurvePoint(k, True, 0.0, 0.0, exposed(8.0), None, None) for k in (2, 10, 100))
    measured = Measured(compared.methods[0].scores, points)
    for k, expected in ((1, 2), (4, 2), (5, 10), (31, 10), (32, 100), (999, 100)):
        point = measured.nearest(k)
        assert point is not None
        assert point.k == expected
    assert Measured(compared.methods[0].scores).nearest(5) is None
