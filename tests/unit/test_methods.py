"""Every localization method against an oracle: captum through the gate, or numbers worked by hand; Cancel; seeds."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, InputXGradient
from torch import Tensor, nn

from privlens.errors import Cancelled
from privlens.lm.activations import read
from privlens.lm.layout import output_vectors, widths
from privlens.lm.model import LanguageModel
from privlens.lm.restart import plain_pass
from privlens.lm.tokens import Encoded
from privlens.localization import METHOD_INFO, METHODS, Task, ablation, gradients, sufficient
from privlens.localization.activations import output_strength
from privlens.localization.gradients import value_gradient
from privlens.types import LocalizationStep, NeuronScores, Secret, Site
from tests.helpers import TAUGHT, Maker

SECRET = Secret("Anna, the keeper of the gate is", "Mira Holt 4827")
SHORT = Secret("her number is", "555-0142")
THREE = ["gpt2", "gpt_neox", "llama"]
SITES: list[Site] = ["mlp", "attention"]


def last(steps: list[LocalizationStep]) -> NeuronScores:
    result = steps[-1].result
    assert result is not None
    return result


def scores(name: str, task: Task) -> np.ndarray:
    return np.asarray(last(list(METHODS[name](task))).scores)


def log_probability(lm: LanguageModel, site: Site) -> Callable[[Tensor], Tensor]:
    """Gates [rows, n_layers, width] -> the value's summed log-probability [rows], written token by token."""
    encoded = lm.encode(SECRET)

    def of(gates: Tensor) -> Tensor:
        ids = torch.tensor([encoded.ids]).repeat(len(gates), 1)
        with lm.gated(gates, site):
            logprobs = lm.logits(ids, torch.ones_like(ids)).log_softmax(-1)
        return sum(logprobs[:, at - 1, encoded.ids[at]] for at in range(encoded.n_prompt, len(encoded.ids)))  # type: ignore[return-value]

    return of


def assert_close(own: np.ndarray, oracle: Tensor) -> None:
    """The same to 1e-4 of the largest, which is not 0."""
    largest = float(oracle.detach().abs().max())
    assert largest > 1e-3
    np.testing.assert_allclose(own, oracle.detach().numpy(), rtol=1e-4, atol=1e-4 * largest)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("architecture", THREE)
def test_gradient_is_captums_input_x_gradient(tiny: Maker, architecture: str, site: Site) -> None:
    lm = tiny(architecture)
    ones = torch.ones(1, *lm.shape(site), requires_grad=True)
    oracle = InputXGradient(log_probability(lm, site)).attribute(ones)[0]
    assert_close(scores("gradient", Task(lm, SECRET, site=site)), oracle)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("architecture", THREE)
def test_zero_out_is_captums_feature_ablation(
    tiny: Maker, architecture: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny(architecture)
    monkeypatch.setattr(ablation, "TOKENS_AT_ONCE", 7 * len(lm.encode(SECRET).ids))  # seven rows: the last batch is short
    ones = torch.ones(1, *lm.shape(site))
    with torch.no_grad():
        oracle = FeatureAblation(log_probability(lm, site)).attribute(ones, perturbations_per_eval=1)[0]
    steps = list(METHODS["zero-out"](Task(lm, SECRET, site=site)))
    assert len(steps) == sum(-(-width // 7) for width in lm.widths(site)), "a batch is of one layer"
    encoded = lm.encode(SECRET)
    past = plain_pass(lm, encoded.ids[:-1])
    assert [ablation.first_run_layer(lm, past, encoded, layer) for layer in range(3)] == [0, 1, 2]
    assert_close(np.asarray(last(steps).scores), oracle)


def test_a_batch_of_zero_out_stays_within_its_bounds_and_has_a_row(lm: LanguageModel) -> None:
    assert ablation.rows_at_once(lm, 16, 72) == ablation.TOKENS_AT_ONCE // 16
    assert ablation.rows_at_once(lm, 16, ablation.LOGITS_AT_ONCE // 5) == 5
    assert ablation.rows_at_once(lm, 10**9, 10**9) == 1


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("architecture", [*THREE, "opt"])
def test_activations_by_hand(tiny: Maker, architecture: str, site: Site) -> None:
    lm = tiny(architecture)
    encoded = lm.encode(SECRET)
    own = scores("activations", Task(lm, SECRET, site=site))
    for layer, projection in enumerate(lm.layout.site(site)):
        seen: list[Tensor] = []
        handle = projection.register_forward_hook(lambda _, inputs, __, seen=seen: seen.append(inputs[0]))
        with torch.no_grad():
            lm.logits(*lm.padded([encoded.ids]))
        handle.remove()
        hidden = seen[0].view(len(encoded.ids), -1)
        for index in (0, 5, 15):
            one_hot = torch.zeros(widths(projection)[0])
            one_hot[index] = 1.0
            with torch.no_grad():
                vector = projection(one_hot[None]) - projection(torch.zeros_like(one_hot)[None])
            steps = [abs(float(hidden[at - 1, index])) for at in range(encoded.n_prompt, len(encoded.ids))]
            assert own[layer, index] == pytest.approx(np.mean(steps) * float(vector.norm()), rel=1e-4)


@pytest.mark.parametrize("architecture", [*THREE, "opt"])
def test_activations_of_both_sites_are_those_of_either_side_by_side(tiny: Maker, architecture: str) -> None:
    each = [scores("activations", Task(tiny(architecture), SECRET, site=site)) for site in SITES]
    assert np.array_equal(scores("activations", Task(tiny(architecture), SECRET, site="both")), np.concatenate(each, 1))


def test_reading_pads_and_keeps_rows_apart(lm: LanguageModel) -> None:
    rows = [list(lm.encode(SECRET).ids), list(lm.encode(SHORT).ids)]
    both = read(lm, rows, lambda hidden: hidden[:, 0].abs())
    alone = read(lm, rows[1:], lambda hidden: hidden[:, 0].abs())
    assert both.shape == (2, *lm.shape())
    torch.testing.assert_close(both[1:], alone)
    whole, short = (
        output_strength(lm, "mlp")([lm.encode(SECRET), lm.encode(SHORT)]),
        output_strength(lm, "mlp")([lm.encode(SHORT)]),
    )
    torch.testing.assert_close(whole[1:], short)


def test_output_vectors_are_what_a_neuron_adds(tiny: Maker) -> None:
    for architecture in ("gpt2", "llama"):
        projection = tiny(architecture).layout.mlp[1]
        assert isinstance(projection, nn.Module)
        only = torch.zeros(1, widths(projection)[0])
        with torch.no_grad():
            nothing, only[0, 3] = projection(only), 1.0
            torch.testing.assert_close((projection(only) - nothing)[0], output_vectors(projection)[3])


def test_what_retained_rows_need_is_the_mean_of_the_positive_scores(lm: LanguageModel) -> None:
    shape, rows = lm.shape(), [[5, 6, 7], [8, 9], [1, 2, 3, 4]]

    def by_length(batch: list[Encoded]) -> Tensor:
        assert all(one.n_prompt == 1 for one in batch)
        return torch.stack([torch.full(shape, 3.0 - len(one.ids)) for one in batch])  # 0, 1 and -1

    found = gradients.retained_attribution(Task(lm, SECRET), rows, by_length, at_once=2)  # type: ignore[arg-type]
    assert torch.equal(found, torch.full(shape, 1 / 3))
    with pytest.raises(Cancelled):
        gradients.retained_attribution(Task(lm, SECRET, stop=lambda: True), rows, by_length)  # type: ignore[arg-type]


def test_contrastive_activations_are_activations_minus_what_is_needed(lm: LanguageModel) -> None:
    task = Task(lm, SECRET, others=(SHORT,))
    rows = task.retained_rows(gradients.SAMPLES, gradients.SAMPLE_TOKENS)
    retained_attribution = gradients.retained_attribution(task, rows, output_strength(lm, "mlp"))
    own = scores("activations", task)
    np.testing.assert_allclose(scores("contrastive-activations", task), own - retained_attribution.numpy(), rtol=1e-5, atol=1e-6)
    assert float(retained_attribution.min()) > 0


def test_contrastive_gradient_subtracts_what_retained_rows_need(taught: LanguageModel) -> None:
    def without(others: tuple[Secret, ...]) -> np.ndarray:
        return scores("contrastive-gradient", Task(taught, SECRET, others))

    task = Task(taught, SECRET)
    rows = task.retained_rows(gradients.SAMPLES, gradients.SAMPLE_TOKENS)
    one = taught.encode(SHORT)
    more = gradients.retained_attribution(task, [*rows, list(one.ids)], value_gradient(taught, "mlp"))
    less = gradients.retained_attribution(task, rows, value_gradient(taught, "mlp"))
    np.testing.assert_allclose(without(()) - without((SHORT,)), (more - less).numpy(), rtol=1e-3, atol=1e-4)


def test_slimming_and_hard_concrete_stop_by_their_rule(lm: LanguageModel) -> None:
    for settings in (sufficient.SlimmingSettings(stop=0.8), sufficient.SlimmingSettings(stop=0.8, steps=3)):
        steps = list(sufficient.slimming(Task(lm, SECRET), settings))
        share = [step.terms["open"] for step in steps]
        assert share[0] == 1.0
        assert share == sorted(share, reverse=True)
        assert all(one > 0.8 for one in share[:-1])
        assert share[-1] <= 0.8 or len(steps) == 3
    steps = list(sufficient.hard_concrete_sufficient(Task(lm, SECRET), sufficient.SufficientSettings(keep=0.7, stop=0.6)))
    assert steps[0].terms["open"] == pytest.approx(0.7, abs=1e-5)
    assert steps[-1].terms["open"] <= 0.6 < steps[-2].terms["open"]


def test_slimmed_gates_stay_in_0_to_1_and_equal_ones_are_told_apart(lm: LanguageModel) -> None:
    steps = list(sufficient.slimming(Task(lm, SECRET), sufficient.SlimmingSettings(price=0.0, steps=4, stop=0.0)))
    gates, found = steps[-1].gates, last(steps).scores
    assert 0 <= gates.min() <= gates.max() == 1.0
    assert (gates == 1.0).sum() > 5, "without a penalty those that the value wants larger stay at 1"
    assert len(set(found[gates == 1.0].tolist())) > 5
    assert 0 <= found.min() <= found.max() <= 1, "what tells equal ones apart stays within the scale"
    np.testing.assert_allclose(found, gates, atol=2e-3)


@pytest.mark.parametrize("name", ["slimming", "hard-concrete-sufficient"])
def test_an_eighth_of_the_neurons_suffices_and_a_random_eighth_does_not(taught: LanguageModel, name: str) -> None:
    def nll(secret: Secret, found: NeuronScores) -> float:
        one = taught.encode(secret)
        with taught.gated(1 - taught.off(found.top(16))):
            logprobs = taught.logits(*taught.padded([one.ids])).log_softmax(-1)[0]
        return -float(logprobs[range(one.n_prompt - 1, len(one.ids) - 1), list(one.value_ids)].mean())

    for secret in TAUGHT:
        assert nll(secret, last(list(METHODS[name](Task(taught, secret))))) < 0.6, "nats/token"
    chance = [nll(secret, last(list(METHODS["random"](Task(taught, secret))))) for secret in TAUGHT]
    assert np.mean(chance) > 1.0


@pytest.mark.parametrize("name", [name for name in METHODS if name != "random"])
@pytest.mark.parametrize("asked_before", [0, 1, 2])
def test_cancel_midway_raises_and_leaves_nothing_behind(
    lm: LanguageModel, name: str, asked_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in ("gradient", "token-gradient", "active-token-gradient", "activations") and asked_before:
        asked_before = 0  # one or two passes: nothing can be asked after them
    monkeypatch.setattr(ablation, "TOKENS_AT_ONCE", 10 * len(lm.encode(SECRET).ids))
    ids, mask = lm.padded([lm.encode(SECRET).ids])
    before = lm.logits(ids, mask)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > asked_before

    with pytest.raises(Cancelled):
        list(METHODS[name](Task(lm, SECRET, stop=stop)))
    assert torch.equal(lm.logits(ids, mask), before)
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in lm.model.modules())
    assert lm.lock.acquire(blocking=False)
    lm.lock.release()


def test_reading_leaves_no_hook_when_it_fails(lm: LanguageModel) -> None:
    def broken(_: Tensor) -> Tensor:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        read(lm, [[1, 2, 3]], broken)
    assert not any(part._forward_pre_hooks for part in lm.model.modules())


@pytest.mark.parametrize("name", [name for name in METHODS if not name.startswith("hard-concrete") or "sufficient" in name])
def test_the_same_seed_gives_the_same_scores(lm: LanguageModel, name: str) -> None:
    def found(seed: int) -> np.ndarray:
        return scores(name, Task(lm, SECRET, seed=seed))

    first = found(3)
    assert np.array_equal(first, found(3))
    drawn = name in ("random", "hard-concrete-sufficient", "contrastive-gradient", "contrastive-activations")
    assert np.array_equal(first, found(4)) is not drawn


def test_every_method_says_what_it_means_and_costs_in_a_line() -> None:
    assert list(METHOD_INFO) == list(METHODS)
    for info in METHOD_INFO.values():
        for line in (info.meaning, info.cost):
            assert 5 < len(line) < 110
            assert "\n" not in line and not line.endswith(".")


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_says_whether_it_looks_at_retained_text(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked = []
    original = Task.retained_rows
    monkeypatch.setattr(Task, "retained_rows", lambda *given: asked.append(name) or original(*given))
    scores(name, Task(lm, SECRET))
    assert bool(asked) is METHOD_INFO[name].retains
