"""Several methods on one secret: each one's scores are those of the method alone, the effects are those of deactivation."""

import pytest
from conftest import NEVER_TAUGHT, TAUGHT, TEXT

from privlens.deactivation import Surroundings, effect_on, recalls, reference_perplexity
from privlens.errors import BadInput, Cancelled
from privlens.localization import Task, result_of
from privlens.localization.several import PARTS, localize_each
from privlens.method_comparison import Measured, MethodComparison, compare_methods, measured_ks
from privlens.models.language_model import LanguageModel
from privlens.outcomes import CurvePoint

AROUND = Surroundings((*TAUGHT, NEVER_TAUGHT), tuple(TEXT.split(";")))


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
    around = Surroundings(compared.before.known, AROUND.reference, seed=5)
    perplexity = reference_perplexity(taught, (), around)
    for one in compared.methods:
        assert [point.k for point in one.curve] == measured_ks(128) == [1, 3]
        for point in one.curve:
            off = one.scores.top(point.k)
            after = effect_on(taught, TAUGHT[0], off, around).after
            assert (point.target_match, point.target_exposure_bits) == (after.greedy_match, after.exposure_bits)
            assert point.target_nll == pytest.approx(after.nll, abs=1e-4)
            kept = [state.greedy_match for state in recalls(taught, compared.before.known, off, around)]
            assert point.others_kept == sum(kept) / 2
            assert point.perplexity_ratio == pytest.approx((reference_perplexity(taught, off, around) or 0) / (perplexity or 1))


def test_scores_come_first_and_effects_one_by_one(taught: LanguageModel) -> None:
    steps = list(compare_methods(["gradient"], Task(taught, TAUGHT[0]), AROUND))
    assert [step.step for step in steps] == sorted(step.step for step in steps)
    first = next(step for step in steps if step.result is not None)
    assert first.result is not None
    assert [len(one.curve) for one in first.result.methods] == [0, 0]
    assert len(first.scores) == 2
    points = [sum(len(one.curve) for one in step.result.methods) for step in steps if step.result is not None]
    assert points == list(range(2 * len(measured_ks(128)) + 1))


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
    points = tuple(CurvePoint(k, True, 0.0, 8.0, None, None) for k in (2, 10, 100))
    measured = Measured(compared.methods[0].scores, points)
    for k, expected in ((1, 2), (4, 2), (5, 10), (31, 10), (32, 100), (999, 100)):
        point = measured.nearest(k)
        assert point is not None
        assert point.k == expected
    assert Measured(compared.methods[0].scores).nearest(5) is None
