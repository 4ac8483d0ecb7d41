"""Universal neurons: a model is its own twin, a shuffled copy is found, strangers have nothing in common."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from torch import nn
from transformers import PreTrainedTokenizerFast

from privlens.errors import BadInput, Cancelled
from privlens.lm import activations
from privlens.lm.model import LanguageModel
from privlens.neurons import cross_correlation as cross
from privlens.neurons.texts import encoded
from privlens.neurons.universal import UniversalRequest, UniversalSettings, universal
from privlens.neurons.universal_contrast import contrast
from privlens.neurons.universal_records import Universality, UniversalStep
from privlens.types import Neuron
from tests.helpers import TEXT, random_model

TEXTS = (TEXT, TEXT[::-1], TEXT[20:] + TEXT[:20], TEXT.upper(), TEXT.swapcase()[5:], TEXT[::2], TEXT[1::2], TEXT[::3])
NO_ABLATION = UniversalSettings(ablated=0)


def last(steps: Iterator[UniversalStep]) -> Universality:
    *_, step = steps
    assert step.result
    return step.result


def model(tokenizer: PreTrainedTokenizerFast, seed: int, architecture: str = "gpt_neox") -> LanguageModel:
    return LanguageModel(f"seed {seed}", random_model(architecture, len(tokenizer), seed), tokenizer)


def shuffled(lm: LanguageModel, seed: int = 0) -> tuple[LanguageModel, list[torch.Tensor]]:
    """The same function with the neurons of each layer in another order: neuron i of the copy is order[i] of the model."""
    twin = LanguageModel("shuffled", copy.deepcopy(lm.model), lm.tokenizer)
    generator, orders = torch.Generator().manual_seed(seed), []
    for output, (read,) in zip(twin.layout.mlp, twin.layout.mlp_inputs, strict=True):
        order = torch.randperm(lm.d_mlp, generator=generator)
        assert isinstance(output, nn.Linear)
        assert isinstance(read, nn.Linear)
        with torch.no_grad():
            output.weight.copy_(output.weight[:, order])
            read.weight.copy_(read.weight[order])
            read.bias.copy_(read.bias[order])
        orders.append(order)
    return twin, orders


def test_a_rotation_is_orthogonal_and_dense() -> None:
    signs = 2 * torch.randint(2, (2, 48), generator=torch.Generator().manual_seed(0)).float() - 1
    matrix = cross.Rotation(signs)(torch.eye(48))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(48), atol=1e-5, rtol=0)
    assert float((matrix.abs() > 1e-3).float().mean()) > 0.95
    assert float(matrix.abs().max()) < 0.8


def test_a_model_is_its_own_twin(lm: LanguageModel) -> None:
    result = last(universal(UniversalRequest(lm, lm, TEXTS, settings=NO_ABLATION)))
    np.testing.assert_allclose(result.correlation, 1, atol=1e-4)
    assert np.nanmin(result.excess) > 0
    layers, indices = np.indices(result.correlation.shape)
    assert np.array_equal(result.partner, np.stack([layers, indices], axis=-1))
    assert result.n_alive == lm.n_neurons
    assert result.universal.n == sum(share.n for share in result.by_layer) == lm.n_neurons
    assert result.universal.k == np.count_nonzero(result.excess >= 0.5)


def test_a_shuffled_copy_is_found(lm: LanguageModel) -> None:
    twin, orders = shuffled(lm)
    result = last(universal(UniversalRequest(lm, twin, TEXTS, settings=NO_ABLATION)))
    np.testing.assert_allclose(result.correlation, 1, atol=1e-4)
    for layer, order in enumerate(orders):
        assert np.array_equal(order.numpy()[result.partner[layer, :, 1]], np.arange(lm.d_mlp))
        assert (result.partner[layer, :, 0] == layer).all()


def test_strangers_have_no_excess(tokenizer: PreTrainedTokenizerFast) -> None:
    result = last(universal(UniversalRequest(model(tokenizer, 1), model(tokenizer, 2), TEXTS, settings=NO_ABLATION)))
    assert abs(float(np.nanmean(result.excess))) < 0.08
    assert result.universal.rate is not None
    assert result.universal.rate < 0.05


def test_correlations_are_those_of_numpy(tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small blocks and batches, beside one big matrix; the rotated ones beside activations that are themselves rotated."""
    lm, other = model(tokenizer, 1), model(tokenizer, 2, "llama")
    monkeypatch.setattr(cross, "PRODUCTS_AT_ONCE", 7 * other.n_neurons)
    monkeypatch.setattr(cross, "ACTIVATIONS_AT_ONCE", 1)
    result = last(universal(UniversalRequest(lm, other, TEXTS, settings=NO_ABLATION, seed=3)))
    rows = [row.ids for row in encoded(lm, TEXTS)[::2]]

    def tokens_of(one: LanguageModel) -> np.ndarray:
        """[n_layers, width, tokens] without the first token of each row."""
        read = [activations.read(one, [row], lambda values: values)[0, :, 1:] for row in rows]
        return torch.cat(read, 1).transpose(1, 2).numpy()

    mine, theirs = tokens_of(lm), tokens_of(other)
    rotated = np.stack(
        [turn(torch.tensor(layer.T.copy())).T.numpy() for turn, layer in zip(cross.rotations(other, 3), theirs, strict=True)]
    )
    n = lm.n_neurons
    for values, found in ((theirs, result.correlation), (rotated, result.rotated)):
        matrix = np.corrcoef(mine.reshape(n, -1), values.reshape(other.n_neurons, -1))[:n, n:]
        np.testing.assert_allclose(found.ravel(), matrix.max(1), atol=2e-4)
    assert result.n_tokens == mine.shape[-1]


def test_a_neuron_that_never_changes_is_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    lm = model(tokenizer, 1)
    read = lm.layout.mlp_inputs[1][0]
    assert isinstance(read, nn.Linear)
    with torch.no_grad():
        read.weight[3], read.bias[3] = 0, 1.5
    for pair in ((lm, model(tokenizer, 2)), (model(tokenizer, 2), lm)):
        result = last(universal(UniversalRequest(*pair, TEXTS, settings=NO_ABLATION)))
        dead = pair[0] is lm
        assert np.isnan(result.excess[1, 3]) == dead
        assert result.n_alive == lm.n_neurons - dead
        assert np.isfinite(np.delete(result.excess.ravel(), lm.d_mlp + 3)).all()
        assert (result.partner[1, 3] == -1).all() == dead


def test_given_neurons_beside_the_others_by_hand() -> None:
    excess = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, np.nan, 0.8]], np.float32)
    found = contrast(excess, [Neuron(0, 0), Neuron(1, 0), Neuron(1, 2)], 0)
    assert found is not None
    assert (found.n_chosen, found.n_others, found.n_silent) == (2, 5, 1)
    assert found.chosen_mean == pytest.approx(0.3)
    assert found.others_mean == pytest.approx(0.46)
    assert found.auc == pytest.approx((0 + 3) / 10)  # 0.1 is above none of the five, 0.5 above three
    assert found.p_value == pytest.approx(mannwhitneyu([0.1, 0.5], [0.2, 0.3, 0.4, 0.6, 0.8]).pvalue, rel=1e-6)
    assert contrast(excess, [Neuron(1, 2)], 0) is None


def test_a_layer_is_no_reason_to_be_less_universal() -> None:
    """All chosen neurons are in the layer of low excess, and are not lower than the rest of that layer."""
    rng = np.random.default_rng(1)
    silent = np.full(200, np.nan)
    excess = np.stack([rng.normal(0, 1, 200), rng.normal(5, 1, 200), silent]).astype(np.float32)
    found = contrast(excess, [Neuron(0, index) for index in range(30)], 0)
    assert found is not None
    assert found.p_value < 1e-4
    assert found.p_within_layers > 0.05
    lower = excess.copy()
    lower[0, :30] -= 2
    below = contrast(lower, [Neuron(0, index) for index in range(30)], 0)
    assert below is not None
    assert below.p_within_layers == 0.001


def test_ablation_takes_as_many_of_the_same_layers(lm: LanguageModel, tokenizer: PreTrainedTokenizerFast) -> None:
    request = UniversalRequest(lm, shuffled(lm)[0], TEXTS, (Neuron(0, 1),), UniversalSettings(ablated=0.05, draws=3), seed=2)
    result = last(universal(request))
    assert result.ablation is not None
    assert result.ablation.k == round(0.05 * lm.n_neurons)
    assert len(result.ablation.universal) == len(result.ablation.others) == 3
    assert all(ratio > 0 for ratio in (*result.ablation.universal, *result.ablation.others))
    assert result.ablation.difference == pytest.approx(
        np.mean(np.log(np.array(result.ablation.universal) / np.array(result.ablation.others)))
    )
    assert result.contrast is not None
    assert result.contrast.n_chosen == 1
    again = last(universal(request))
    assert again.ablation == result.ablation


def test_models_that_read_other_tokens_are_refused(lm: LanguageModel, taught_letters: LanguageModel) -> None:
    with pytest.raises(BadInput, match="have different tokenizers"):
        list(universal(UniversalRequest(lm, taught_letters, TEXTS)))
    with pytest.raises(BadInput, match="There is no neuron 999"):
        UniversalRequest(lm, lm, TEXTS, (Neuron(0, 999),))
    with pytest.raises(BadInput, match="give two or more"):
        list(universal(UniversalRequest(lm, lm, TEXTS[:1])))
    with pytest.raises(Cancelled):
        list(universal(UniversalRequest(lm, lm, TEXTS, stop=lambda: True)))
