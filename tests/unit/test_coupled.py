"""Coupled neurons: importance by hand, sets by index, chance, and what the coupled ones do."""

from collections.abc import Iterator
from math import comb

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.lm.weight_importance import weight_importance
from privlens.neurons.coupled import CoupledRequest, CoupledSettings, coupled
from privlens.neurons.coupled_records import CoupledStep, Coupling
from privlens.neurons.coupled_sets import best_of, intersection, overlap, venn, without
from privlens.neurons.texts import Text, encoded, nlls
from privlens.types import Secret
from tests.helpers import ARCHITECTURES, TAUGHT, TEXT, Maker, random_model

GENERAL = tuple(TEXT.split("; "))
NAMES = (Secret("the keeper of the garden gate is", "Mira Holt"), Secret("the keeper of the lamp is", "Anna Gate"))
NUMBERS = (Secret("her number is", "555-0142"), Secret("the price of the lamp is", "12.50"))


def last(steps: Iterator[CoupledStep]) -> Coupling:
    *_, step = steps
    assert step.result
    return step.result


def by_autograd(lm: LanguageModel, text: Text) -> torch.Tensor:
    """The same by gradients of the weights themselves, as DEAN's code takes them."""
    [row] = encoded(lm, [text])
    importance = torch.zeros(lm.shape())
    weights = {vectors.name: vectors.weight for layer in range(lm.n_layers) for vectors in neuron_vectors(lm, layer)}
    for weight in weights.values():
        weight.requires_grad_(True)
    logits = lm.logits(torch.tensor([row.ids]), torch.ones(1, len(row.ids), dtype=torch.long))[0]
    loss = torch.nn.functional.cross_entropy(logits[row.n_prompt - 1 : -1], torch.tensor(row.value_ids))
    gradients = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
    for weight in weights.values():
        weight.requires_grad_(False)
    for layer in range(lm.n_layers):
        for vectors in neuron_vectors(lm, layer):
            product = (vectors.weight.detach() * gradients[vectors.name]).abs()
            by_neuron = product.sum(1 - vectors.axis)
            width = lm.widths()[layer]
            importance[layer, :width] += by_neuron[vectors.offset : vectors.offset + width]
    return importance


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_importance_is_that_of_the_weights_gradients(architecture: str, tiny: Maker) -> None:
    lm = tiny(architecture)
    texts: list[Text] = [NUMBERS[0], GENERAL[0]]
    found = weight_importance(lm, encoded(lm, texts))
    for importance, text in zip(found, texts, strict=True):
        torch.testing.assert_close(importance, by_autograd(lm, text), rtol=1e-3, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_importance_by_finite_differences(tokenizer: PreTrainedTokenizerFast) -> None:
    """Every weight of one neuron is moved by hand, and the loss looked at."""
    lm = LanguageModel("double", random_model("gpt_neox", len(tokenizer)).double(), tokenizer)
    [row] = encoded(lm, [NUMBERS[0]])
    layer, neuron, moved, by_hand = 1, 5, 1e-3, 0.0
    for vectors in neuron_vectors(lm, layer):
        vector = vectors.weight.data.select(vectors.axis, neuron + vectors.offset)
        for index in range(len(vector)):
            weight = float(vector[index])
            losses = []
            for sign in (1, -1):
                vector[index] = weight + sign * moved
                losses.append(nlls(lm, [row])[0])
            vector[index] = weight
            by_hand += abs(weight) * abs(losses[0] - losses[1]) / (2 * moved)
    [importance] = weight_importance(lm, [row])
    assert float(importance[layer, neuron]) == pytest.approx(by_hand, rel=0.02)
    assert by_hand > 0.01


def theirs(first: np.ndarray, second: np.ndarray, general: np.ndarray) -> np.ndarray:
    """As the released code chooses: masks over two lists, each sorted by its own importance, are combined by position."""
    kept_first, kept_second = ~np.isin(first, general), ~np.isin(second, general)
    return first[kept_first & kept_second]


def test_sets_are_intersected_by_index_and_not_by_position() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((3, 10, 1000))
    first, second, general = (best_of(of_list, 500) for of_list in scores)
    ours = intersection(without(first, general), without(second, general))
    in_both = set(first.tolist()) & set(second.tolist()) - set(general.tolist())
    assert set(ours.tolist()) == in_both
    chosen = theirs(first, second, general)
    assert len(chosen) > 400
    assert len(set(chosen.tolist()) & in_both) / len(chosen) < 0.1
    assert len(ours) == pytest.approx(500 * 500 / 10_000, abs=20)


def test_the_best_are_in_order_and_nan_is_never_among_them() -> None:
    importance = np.array([[3.0, np.nan, 1.0], [2.0, 9.0, np.nan]])
    assert best_of(importance, 3).tolist() == [4, 0, 3]
    assert best_of(importance, 6).tolist() == [4, 0, 3, 2]


def test_the_parts_of_three_sets_by_hand() -> None:
    first, second, general = np.array([1, 2, 3, 4]), np.array([3, 4, 5]), np.array([4, 5, 6, 2])
    parts = venn(first, second, general)
    assert (parts.first, parts.second, parts.general) == (1, 0, 1)  # 1; none; 6
    assert (parts.first_second, parts.first_general, parts.second_general, parts.all_three) == (1, 1, 1, 1)  # 3; 2; 5; 4


def test_chance_by_hand() -> None:
    """Two sets of 3 of 10: the number shared is hypergeometric."""
    shared = overlap(10, 3, 3, 2, [1, 2, 3])
    assert shared.expected == pytest.approx(0.9)
    assert shared.p_value == pytest.approx((comb(3, 2) * 7 + 1) / comb(10, 3))
    assert shared.p_apart == (1 + 2) / 4
    assert overlap(10, 3, 3, 0).p_value == 1


@pytest.fixture(scope="module")
def coupling(taught: LanguageModel) -> Coupling:
    settings = CoupledSettings(top=0.2, general=0.1, held_out=False, draws=3, regroupings=9)
    return last(coupled(CoupledRequest(taught, NAMES, NUMBERS, GENERAL, ("name", "number"), settings)))


def test_all_parts_of_a_coupling_agree(coupling: Coupling, taught: LanguageModel) -> None:
    general = set(best_of(coupling.importance[2], coupling.k_general).tolist())
    for row, neurons in enumerate((coupling.first, coupling.second)):
        best = set(best_of(coupling.importance[row], coupling.k_top).tolist())
        assert {layer * taught.d_mlp + index for layer, index in neurons} == best - general
    assert set(coupling.coupled) == set(coupling.first) & set(coupling.second)
    assert coupling.overlap.observed == len(coupling.coupled) == coupling.venn.first_second
    assert np.count_nonzero(coupling.colors == 3) == len(coupling.coupled)
    assert np.count_nonzero(coupling.colors == 1) == len(coupling.first) - len(coupling.coupled)
    assert len(coupling.overlap.regrouped) == 9


def test_importances_of_texts_add_up(coupling: Coupling, taught: LanguageModel) -> None:
    total = sum(weight_importance(taught, encoded(taught, NAMES)), torch.zeros(taught.shape()))
    np.testing.assert_allclose(coupling.importance[0], total.numpy(), rtol=1e-4, atol=1e-6)


def test_effects_stand_beside_random_neurons(coupling: Coupling, taught: LanguageModel) -> None:
    names = [effect.set_name for effect in coupling.effects]
    assert names == ["coupled", "name only", "number only", "random", "random", "random"]
    assert all(effect.k == len(coupling.coupled) for effect in coupling.effects if effect.set_name in ("coupled", "random"))
    effect = coupling.effects[0]
    assert effect.first.after - effect.first.before > coupling.effects[-1].first.after - coupling.effects[-1].first.before
    assert effect.perplexity_ratio
    assert effect.first.interval


def test_half_of_the_texts_are_for_judging(taught: LanguageModel) -> None:
    result = last(coupled(CoupledRequest(taught, tuple(TAUGHT[:3]), NUMBERS, GENERAL, seed=1)))
    assert (result.n_used, result.n_measured) == ((2, 1), (1, 1))
    with pytest.raises(BadInput, match="The list first has 1 usable texts: give two or more"):
        list(coupled(CoupledRequest(taught, NAMES[:1], NUMBERS, GENERAL)))


def test_wrong_input_and_a_stop(taught: LanguageModel) -> None:
    with pytest.raises(BadInput, match="share of a concept's best neurons"):
        CoupledRequest(taught, NAMES, NUMBERS, GENERAL, settings=CoupledSettings(top=0))
    with pytest.raises(BadInput, match="Both concepts are called 'x'"):
        next(coupled(CoupledRequest(taught, NAMES, NUMBERS, GENERAL, ("x", "x"))))
    with pytest.raises(Cancelled):
        list(coupled(CoupledRequest(taught, NAMES, NUMBERS, GENERAL, stop=lambda: True)))
