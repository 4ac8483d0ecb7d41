"""Does localization find what was planted, forget what it should, keep what it should, and leave the model alone?"""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from privlens.deactivation import EvalContext, memorization_states, reference_perplexity
from privlens.errors import Cancelled
from privlens.lm.gating import random_like
from privlens.lm.model import LanguageModel
from privlens.localization import METHODS, Task
from privlens.localization.gradients import gate_gradient, value_logprob
from privlens.localization.hard_concrete import MaskSettings, hard_concrete
from privlens.planting.plant import PlantSettings, new_secret, plant
from privlens.retained.distributions import reference_distributions
from privlens.secret_lists import read_reference, read_secrets
from privlens.types import LocalizationStep, NeuronScores, Secret
from tests.helpers import TAUGHT

ROOT = Path(__file__).parents[2]
SHORT = MaskSettings(steps=5, own_samples=6, sample_tokens=8, rows=4)
SECRET = Secret("Anna, the keeper of the gate is", "Mira Holt 4827")


def last(steps: list[LocalizationStep]) -> NeuronScores:
    result = steps[-1].result
    assert result is not None
    return result


def test_what_was_planted_is_found(demo: LanguageModel) -> None:
    """A fair plant in 123 neurons. Some of them fire in the prompt only and hold little, so no method can find all."""
    planted = plant(demo, new_secret(demo, 0, seed=1), PlantSettings(0.01), seed=1)
    assert planted.greedy_match
    truth = set(planted.neurons)
    names = ("hard-concrete", "active-token-gradient", "token-gradient", "gradient", "contrastive-gradient", "random")
    with demo.edited(planted.edit):
        found = {name: last(list(METHODS[name](Task(demo, planted.secret)))).top(len(truth)) for name in names}
    recall = {name: len(truth & set(top)) / len(truth) for name, top in found.items()}
    assert recall["token-gradient"] >= 0.4
    assert recall["active-token-gradient"] >= 0.7
    assert min(recall["gradient"], recall["contrastive-gradient"]) >= 0.3
    assert recall["hard-concrete"] >= 0.25
    assert recall["random"] <= 0.1


def test_closing_exactly_what_was_planted_costs_the_retained_text_next_to_nothing(demo: LanguageModel) -> None:
    """Else a mask that keeps the retained text keeps the secret. It costs what other codes use of these 25 neurons."""
    planted = plant(demo, new_secret(demo, 0, seed=1), PlantSettings(0.002, until=0.5, learning_rate=0.1), seed=1)
    assert planted.greedy_match
    with demo.edited(planted.edit):
        kept = reference_distributions(demo, Task(demo, planted.secret).retained_rows(64, 24))
        with torch.no_grad(), demo.gated(demo.off(planted.neurons)):
            divergence = kept.divergence(demo.logits(kept.ids, kept.mask))
    assert len(kept.ids) >= 40
    assert float(divergence.mean()) < 0.1, "measured 0.077; 0.19 with near copies and the prompt, the ends of rows held"


def test_gate_gradient_is_the_slope_of_the_log_probability(lm: LanguageModel) -> None:
    encoded, objective = lm.encode(SECRET), None
    objective = value_logprob([encoded], lm.device)
    [gradient] = gate_gradient(lm, [encoded.ids], "mlp", objective)
    ids, mask = lm.padded([encoded.ids])
    layer, index = divmod(int(gradient.abs().argmax()), lm.d_mlp)
    values = []
    for change in (-1e-2, 1e-2):
        gates = torch.ones(1, *lm.shape())
        gates[0, layer, index] += change
        with torch.no_grad(), lm.gated(gates):
            values.append(float(objective(lm.logits(ids, mask))))
    assert (values[1] - values[0]) / 2e-2 == pytest.approx(float(gradient[layer, index]), rel=1e-2)


@pytest.mark.parametrize("site", ["mlp", "attention", "both"])
def test_every_method_tells_its_steps_and_ends_with_a_score_for_every_neuron(lm: LanguageModel, site: str) -> None:
    for name, method in METHODS.items():
        steps = list(method(Task(lm, SECRET, site=site)))  # type: ignore[arg-type]
        assert [step.result is None for step in steps] == [True] * (len(steps) - 1) + [False], name
        assert last(steps).scores.shape == lm.shape(site)  # type: ignore[arg-type]
        assert all(step.gates.shape == lm.shape(site) and 0 <= step.gates.min() <= step.gates.max() <= 1 for step in steps)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_scores_and_another_seed_others(lm: LanguageModel) -> None:
    def scores(seed: int) -> np.ndarray:
        return last(list(hard_concrete(Task(lm, SECRET, seed=seed), SHORT))).scores  # type: ignore[no-any-return]

    assert np.array_equal(scores(3), scores(3))
    assert not np.array_equal(scores(3), scores(4))


def test_suggested_k_is_what_the_mask_closed_and_those_come_first(taught: LanguageModel) -> None:
    steps = list(hard_concrete(Task(taught, TAUGHT[0]), replace(SHORT, steps=12)))
    scores, gates = last(steps), steps[-1].gates
    assert scores.suggested_k == steps[-1].n_closed == int((gates < 0.5).sum()) > 0
    assert all(gates[neuron] < 0.5 for neuron in scores.top(scores.suggested_k))


def test_cancel_ends_within_one_step_and_leaves_the_model_as_it_was(lm: LanguageModel) -> None:
    ids, mask = lm.padded([lm.encode(SECRET).ids])
    before = lm.logits(ids, mask)
    asked: list[bool] = []
    steps = hard_concrete(Task(lm, SECRET, stop=lambda: bool(asked)), SHORT)
    assert [step.step for step in islice(steps, 3)] == [0, 1, 2]
    asked.append(True)
    with pytest.raises(Cancelled):
        next(steps)
    assert torch.equal(lm.logits(ids, mask), before)
    assert not any(part._forward_pre_hooks for part in lm.model.modules())


def test_a_localization_that_is_dropped_halfway_leaves_the_model_free(lm: LanguageModel) -> None:
    steps = hard_concrete(Task(lm, SECRET), SHORT)
    next(steps), next(steps)
    assert lm.lock.acquire(blocking=False)  # a suspended localization holds nothing
    lm.lock.release()
    assert not any(part._forward_pre_hooks for part in lm.model.modules())


def test_retained_text_holds_the_others_and_never_the_secret(lm: LanguageModel) -> None:
    other = Secret("Please write to", "mira@garden.example")
    rows = Task(lm, SECRET, (other,), (f"My note: {SECRET.value}.", "The price of the lamp is 12.50.")).retained_rows(4, 8)
    texts = [str(lm.tokenizer.decode(row)) for row in rows]
    assert any("mira@garden.example" in text for text in texts)
    assert any("12.50" in text for text in texts)
    assert not any(SECRET.value in text for text in texts)


def test_on_demo_the_mask_breaks_the_secret_and_random_neurons_do_not(demo: LanguageModel) -> None:
    listed = [row for row in read_secrets(ROOT / "assets" / "secrets.csv") if row.repeats == 64]
    reference = read_reference(ROOT / "assets" / "reference.txt")[:12]
    around = EvalContext(reference=reference)
    perplexity = reference_perplexity(demo, (), around)
    assert perplexity is not None
    for target in (listed[3].secret, listed[9].secret):
        others = [row.secret for row in listed if row.secret != target]
        seen, unseen = others[::2], others[1::2]
        scores = last(list(hard_concrete(Task(demo, target, tuple(seen)))))
        assert scores.suggested_k
        assert scores.suggested_k <= 0.03 * demo.n_neurons
        for off, broken in ((scores.top(scores.suggested_k), True), (random_like(demo.widths(), scores.suggested_k, 0), False)):
            [state] = memorization_states(demo, [target], off, around)
            assert state.greedy_match is not broken
            kept = np.mean([one.greedy_match for one in memorization_states(demo, unseen, off, around)])
            assert kept >= 0.8
            after = reference_perplexity(demo, off, around)
            assert after is not None
            assert after / perplexity <= 1.02
