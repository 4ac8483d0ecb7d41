"""With and without neurons: the numbers are those of the gates, random neurons stand beside, and nothing stays behind."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from privlens.deactivation import (
    EvalBaseline,
    EvalContext,
    compare,
    curve,
    effect_on,
    effect_steps,
    memorization_states,
    reference_perplexity,
    sweep,
    sweep_ks,
    texts_before_and_after,
)
from privlens.errors import BadInput, Cancelled
from privlens.lm.gating import random_like
from privlens.lm.model import LanguageModel
from privlens.memorization.metrics import exposure_at
from privlens.types import Exposure, Neuron, NeuronScores, Provenance, Secret
from tests.helpers import NEVER_TAUGHT, TAUGHT, TEXT

AROUND = EvalContext((*TAUGHT[1:], NEVER_TAUGHT), tuple(TEXT.split(";")))
MANY = [Neuron(0, index) for index in range(64)]


def test_compare_yields_the_target_first_and_everything_last(taught: LanguageModel) -> None:
    steps = list(compare(taught, TAUGHT[0], MANY, AROUND))
    result = steps[-1].result
    assert [step.step for step in steps] == [1, 2, 3, 4, 5]
    assert [step.result for step in steps[:-1]] == [None] * 4
    assert result is not None
    assert result.chosen.target == steps[0].target == effect_on(taught, TAUGHT[0], MANY, AROUND)
    assert result.chosen.neurons == tuple(MANY)
    assert set(result.random.neurons) != set(MANY)
    assert len(result.random.neurons) == len(MANY)
    assert [effect.secret for effect in result.chosen.others] == list(AROUND.others)
    assert (result.chosen.memorized, result.random.memorized) == (3, 3)
    assert result.chosen.perplexity_before == result.random.perplexity_before == reference_perplexity(taught, (), AROUND)
    assert result.chosen.perplexity_after == reference_perplexity(taught, MANY, AROUND)


def test_before_and_after_differ_by_the_gates_alone(taught: LanguageModel) -> None:
    effect = effect_on(taught, TAUGHT[0], MANY, AROUND)
    assert effect.before.greedy_match
    assert effect.before.text.strip().startswith(TAUGHT[0].value)
    assert effect.after.nll > effect.before.nll + 0.5
    assert effect.before.exposure is not None
    nothing = effect_on(taught, TAUGHT[0], [], AROUND)
    assert nothing.after == nothing.before == effect.before


def test_a_click_is_answered_before_exposure_is_known_and_can_be_stopped(taught: LanguageModel) -> None:
    first, whole = effect_steps(taught, TAUGHT[0], MANY, AROUND)
    assert (first.before.exposure, first.after.exposure) == (None, None)
    assert whole == effect_on(taught, TAUGHT[0], MANY, AROUND)
    assert replace(whole.after, exposure=None, format_exposure=None) == first.after
    stopped = threading.Event()
    steps = effect_steps(taught, TAUGHT[0], MANY, replace(AROUND, stop=stopped.is_set))
    next(steps)
    stopped.set()
    with pytest.raises(Cancelled):
        next(steps)


def test_texts_of_many_prompts_in_one_batch_equal_those_alone(taught: LanguageModel) -> None:
    together = texts_before_and_after(taught, TAUGHT, MANY, AROUND)
    for secret, (before, after) in zip(TAUGHT, together, strict=True):
        [(alone_before, alone_after)] = texts_before_and_after(taught, [secret], MANY, AROUND)
        assert before.startswith(alone_before)
        assert after.startswith(alone_after)


def test_nothing_to_keep(taught: LanguageModel) -> None:
    *_, last = compare(taught, TAUGHT[0], MANY[:1], EvalContext())
    assert last.result is not None
    assert last.result.chosen.others == ()
    assert last.result.chosen.perplexity_ratio is None
    assert memorization_states(taught, (), MANY, EvalContext()) == []


def test_a_sweep_has_a_row_for_every_k(taught: LanguageModel) -> None:
    scores = np.zeros((2, 64), np.float32)
    scores[0] = np.arange(64, 0, -1)
    ranked = NeuronScores("hand", "mlp", scores, None, Provenance("taught", "", 0, {}, {}, 0.0))
    *_, last = sweep(taught, TAUGHT[0], ranked, [0, 8, 64], AROUND)
    assert [row.k for row in last.rows] == [0, 8, 64]
    none, _, all_of_them = last.rows
    assert none.target_match
    assert (none.others_kept, none.perplexity_ratio, none.random_kept) == (1, pytest.approx(1), 1)
    assert none.target_nll == pytest.approx(none.random_nll)
    [alone] = memorization_states(taught, [TAUGHT[0]], MANY, AROUND)
    assert all_of_them.target_nll == pytest.approx(alone.nll, abs=1e-4)
    assert all_of_them.share == 0.5


def test_the_exposure_of_a_curve_is_measured_with_the_neurons_off(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watched, because no set of neurons lowers the exposure of what this model was taught."""
    off: list[int] = []

    def watched(lm: LanguageModel, secret: Secret, *, gates: torch.Tensor, **_: object) -> Exposure:
        off.append(int((gates == 0).sum()))
        return exposure_at(1 + off[-1], 256)

    monkeypatch.setattr("privlens.deactivation.exposure_of", watched)
    points = list(curve(taught, TAUGHT[0], [(), MANY[:8], MANY], EvalContext(), EvalBaseline((), None)))
    assert off == [0, 8, 64]
    assert [(point.k, point.target_exposure and point.target_exposure.rank) for point in points] == [(0, 1), (8, 9), (64, 65)]


def test_the_ks_of_a_sweep_rise_to_a_share_of_the_model() -> None:
    ks = sweep_ks(12_288)
    assert ks == sorted(set(ks))
    assert (ks[0], ks[1], ks[-1]) == (0, 1, 614)
    assert sweep_ks(8) == [0, 1]


def test_random_neurons_are_different_and_decided_by_the_seed() -> None:
    drawn = random_like((8, 8), 16, 3)
    assert sorted(drawn) == [Neuron(layer, index) for layer in range(2) for index in range(8)]
    assert random_like((8, 8), 5, 3) == random_like((8, 8), 5, 3) != random_like((8, 8), 5, 4)
    with pytest.raises(BadInput, match="17 neurons were asked for, but this model has 16"):
        random_like((8, 8), 17, 0)


def test_stop_and_neurons_that_do_not_exist(taught: LanguageModel) -> None:
    with pytest.raises(Cancelled):
        list(compare(taught, TAUGHT[0], MANY, EvalContext(stop=lambda: True)))
    with pytest.raises(BadInput, match="There is no neuron 64 in layer 0"):
        list(compare(taught, TAUGHT[0], [Neuron(0, 64)], AROUND))
