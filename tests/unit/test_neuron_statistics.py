"""Statistics of all neurons: by hand from the weights, and over a text against the whole array of activations."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from transformers import PreTrainedTokenizerFast

from privlens.errors import BadInput, Cancelled
from privlens.lm.activations import inputs, read
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import plain_ids
from privlens.lm.unembedding import unembedding
from privlens.memorization.states import reference_ids
from privlens.neurons import activation_statistics, weight_statistics
from privlens.neurons.activation_statistics import EDGES, POSITIONS
from privlens.neurons.activation_sums import N_CONTEXTS, explained
from privlens.neurons.profile import profile
from privlens.neurons.profile_records import ModelProfile
from privlens.neurons.weight_statistics import moments
from privlens.types import Array
from tests.helpers import TAUGHT, TEXT, WIDTH, Maker, random_model

TEXTS = (TEXT, "a", *(f"{secret.prompt} {secret.value}, {secret.prompt}" for secret in TAUGHT), TEXT[40:], "the lamp")


def profile_of(lm: LanguageModel, texts: tuple[str, ...] = TEXTS, use_cache: bool = False) -> ModelProfile:
    *_, last = profile(lm, texts, use_cache=use_cache)
    assert last.result
    return last.result


def test_moments_by_hand() -> None:
    """Of 0, 0, 0, 4: mean 1, variance 3, third moment 6, fourth 21. What does not vary has neither skew nor kurtosis."""
    found = moments(torch.tensor([[0.0, 0, 0, 4], [7, 7, 7, 7]]))
    assert found[:, 0].tolist() == pytest.approx([1, 3, 6 / 3**1.5, 21 / 9])
    assert found[:2, 1].tolist() == [7, 0]
    assert found[2:, 1].isnan().all()


def test_the_weights_of_a_plain_mlp_by_hand(tiny: Maker) -> None:
    lm = tiny("gpt2")
    weights = profile_of(lm).weights
    layer, index = 1, 5
    mlp = lm.model.transformer.h[layer].mlp
    written, read_with = mlp.c_proj.weight[index].detach(), mlp.c_fc.weight[:, index].detach()
    assert weights.input_names == ("c_fc",)
    assert weights.output_norm[layer, index] == pytest.approx(float(written.norm()))
    assert weights.input_norms[0][layer, index] == pytest.approx(float(read_with.norm()))
    assert weights.input_biases[0] is not None
    assert weights.input_biases[0][layer, index] == pytest.approx(float(mlp.c_fc.bias[index]))
    cosine = float(written @ read_with / written.norm() / read_with.norm())
    assert weights.cosines[0][layer, index] == pytest.approx(cosine, abs=1e-6)
    assert weights.squared_norm[layer, index] == pytest.approx(float(written.square().sum() + read_with.square().sum()))
    assert weights.hidden_size == 16


def test_a_gated_mlp_has_two_input_vectors_and_no_bias(tiny: Maker) -> None:
    lm = tiny("llama")
    weights = profile_of(lm).weights
    mlp = lm.model.model.layers[2].mlp
    assert weights.input_names == ("gate_proj", "up_proj")
    assert weights.input_biases == (None, None)
    for number, projection in enumerate((mlp.gate_proj, mlp.up_proj)):
        vector, written = projection.weight[7].detach(), mlp.down_proj.weight[:, 7].detach()
        assert weights.input_norms[number][2, 7] == pytest.approx(float(vector.norm()))
        cosine = float(torch.cosine_similarity(vector, written, dim=0))
        assert weights.cosines[number][2, 7] == pytest.approx(cosine, abs=1e-6)
    norms = [weights.output_norm, *weights.input_norms]
    np.testing.assert_allclose(weights.squared_norm, sum(norm**2 for norm in norms), rtol=1e-5)


def test_fused_input_projections_are_told_apart(tiny: Maker) -> None:
    weights = profile_of(tiny("phi3")).weights
    assert weights.input_names == ("gate_up_proj, first half", "gate_up_proj, second half")
    fused = tiny("phi3").model.model.layers[0].mlp.gate_up_proj.weight.detach()
    assert weights.input_norms[1][0, 3] == pytest.approx(float(fused[WIDTH + 3].norm()))


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_cosines_with_the_vocabulary_against_scipy(tiny: Maker, architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny(architecture)
    whole = profile_of(lm).weights
    rows = unembedding(lm)
    rows = (rows - rows.mean(0)).numpy()
    written = read_outputs(lm, 2)
    by_hand = written @ rows.T / np.linalg.norm(written, axis=1)[:, None] / np.linalg.norm(rows, axis=1)
    found = whole.vocabulary
    np.testing.assert_allclose(found.mean[2], by_hand.mean(1), atol=1e-6)
    np.testing.assert_allclose(found.variance[2], by_hand.var(1), rtol=1e-4)
    np.testing.assert_allclose(found.skew[2], scipy.stats.skew(by_hand, axis=1), atol=1e-4)
    np.testing.assert_allclose(found.kurtosis[2], scipy.stats.kurtosis(by_hand, axis=1, fisher=False), rtol=1e-4)
    np.testing.assert_array_equal(whole.extreme_tokens[2, :, 0], by_hand.argmax(1))
    np.testing.assert_array_equal(whole.extreme_tokens[2, :, 10], by_hand.argmin(1))
    monkeypatch.setattr(weight_statistics, "COSINES_AT_ONCE", 5 * len(rows))
    np.testing.assert_allclose(profile_of(lm).weights.vocabulary.kurtosis, found.kurtosis, rtol=1e-5)


def read_outputs(lm: LanguageModel, layer: int) -> Array:
    """The output vectors of a layer [width, hidden]."""
    weight = lm.layout.mlp[layer].weight.detach()
    return (weight if lm.architecture == "GPT2LMHeadModel" else weight.T).numpy()


def activations_of(lm: LanguageModel, texts: tuple[str, ...]) -> Iterator[tuple[int, Array]]:
    """(paragraph, activations [n_layers, tokens, width]) of each, one at a time."""
    for number, ids in enumerate(reference_ids(lm, texts)):
        yield number, read(lm, [ids], lambda hidden: hidden.float())[0].numpy()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt"])
def test_streamed_statistics_are_those_of_the_whole_array(
    tiny: Maker, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches of a few tokens and a few neurons; OPT hands its MLP tokens without rows."""
    lm = tiny(architecture)
    at_once = profile_of(lm).activations
    monkeypatch.setattr(activation_statistics, "TOKENS_AT_ONCE", 60)
    monkeypatch.setattr(activation_statistics, "NEURONS_AT_ONCE", 7)
    found = profile_of(lm).activations
    whole = np.concatenate([values[:, 1:] for _, values in activations_of(lm, TEXTS)], axis=1)
    for moment, by_hand in (
        ("mean", whole.mean(1)),
        ("variance", whole.var(1)),
        ("skew", scipy.stats.skew(whole, axis=1)),
        ("kurtosis", scipy.stats.kurtosis(whole, axis=1, fisher=False)),
    ):
        for streamed in (found, at_once):
            np.testing.assert_allclose(getattr(streamed.moments, moment), by_hand, rtol=2e-3, atol=1e-4, err_msg=moment)
    np.testing.assert_allclose(found.share_positive, (whole > 0).mean(1), rtol=1e-6)
    counts = [np.histogram(whole[1, :, index], [-np.inf, *EDGES, np.inf])[0] for index in range(WIDTH)]
    np.testing.assert_array_equal(found.histogram[1], counts)
    np.testing.assert_array_equal(found.histogram, at_once.histogram)
    np.testing.assert_allclose(found.token_explained, at_once.token_explained, atol=1e-5)
    np.testing.assert_allclose(found.context_activations, at_once.context_activations, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("at_once", [2048, 60])
def test_contexts_are_the_strongest_token_of_each_paragraph(tiny: Maker, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_statistics, "TOKENS_AT_ONCE", at_once)
    lm = tiny("gpt2")
    found = profile_of(lm).activations
    strongest = [(number, values[2, 1:, 9]) for number, values in activations_of(lm, TEXTS) if values.shape[1] > 1]
    by_hand = sorted(((values.max(), number, values.argmax() + 1) for number, values in strongest), reverse=True)[:N_CONTEXTS]
    n = len(by_hand)
    assert found.context_rows[2, 9].tolist() == [number for _, number, _ in by_hand] + [-1] * (N_CONTEXTS - n)
    assert found.context_positions[2, 9, :n].tolist() == [position for *_, position in by_hand]
    np.testing.assert_allclose(found.context_activations[2, 9, :n], [value for value, *_ in by_hand], rtol=1e-5)


def test_a_planted_context_is_found(tokenizer: PreTrainedTokenizerFast) -> None:
    """A neuron that reads with what stands at one token, where all inputs have the same norm, is most active there."""
    lm = LanguageModel("planted", random_model("gpt2", len(tokenizer)), tokenizer)
    ids = plain_ids(tokenizer, TEXTS[3], 128)
    at_token = inputs(lm, ids)[1][6]
    with torch.no_grad():
        lm.model.transformer.h[1].mlp.c_fc.weight[:, 4] = at_token / at_token.norm()
    found = profile_of(LanguageModel("planted", lm.model, tokenizer)).activations
    assert (found.context_rows[1, 4, 0], found.context_positions[1, 4, 0]) == (3, 6)


def test_what_a_group_explains_by_hand() -> None:
    """Two groups of two tokens: 0, 0 and 2, 2 are explained fully; 0, 2 and 0, 2 not at all; 1, 1, 1, 1 do not vary."""
    values = torch.tensor([[0.0, 0, 1], [0, 2, 1], [2, 0, 1], [2, 2, 1]])
    sums = torch.stack([values[:2].sum(0), values[2:].sum(0)])
    share = explained(sums, values.square().sum(0).double(), torch.tensor([2, 2]))
    assert share[:2].tolist() == pytest.approx([1, 0])
    assert share[2].isnan()
    assert explained(sums[:1], values.square().sum(0).double(), torch.tensor([4])).isnan().all()


@pytest.mark.parametrize("kind", ["position", "token"])
def test_what_position_and_token_explain_against_an_analysis_of_variance(tiny: Maker, kind: str) -> None:
    lm = tiny("gpt2")
    found = getattr(profile_of(lm).activations, f"{kind}_explained")[0]
    ids = reference_ids(lm, TEXTS)
    tokens = np.concatenate([row[1:] for row in ids])
    values = np.concatenate([activations[0, 1:] for _, activations in activations_of(lm, TEXTS)])
    if kind == "position":
        labels = np.concatenate([np.searchsorted(POSITIONS, np.arange(1, len(row)), side="right") for row in ids])
    else:
        kept = [token for token, n in zip(*np.unique(tokens, return_counts=True), strict=True) if n >= 5]
        inside = np.isin(tokens, kept)
        values, labels = values[inside], tokens[inside]
    groups = [values[labels == label] for label in np.unique(labels)]
    within = sum(group.var(0) * len(group) for group in groups)
    total = values.var(0) * len(values)
    by_hand = 1 - within / total * (len(values) - 1) / (len(values) - len(groups))
    np.testing.assert_allclose(found, by_hand.clip(0, 1), atol=1e-4)
    assert found.max() > 0.1


def test_a_neuron_that_never_fires_has_no_shape(tokenizer: PreTrainedTokenizerFast) -> None:
    model = random_model("gpt2", len(tokenizer), activation_function="relu")
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.bias[2] = -1e4
    found = profile_of(LanguageModel("dead", model, tokenizer)).activations
    assert (found.moments.mean[0, 2], found.moments.variance[0, 2], found.share_positive[0, 2]) == (0, 0, 0)
    assert np.isnan([found.moments.skew[0, 2], found.moments.kurtosis[0, 2], found.token_explained[0, 2]]).all()


def test_a_text_without_a_sentence_is_refused_and_work_stops_when_asked(tiny: Maker) -> None:
    lm = tiny("gpt2")
    for texts in ((), ("a",)):
        with pytest.raises(BadInput, match="a paragraph of a sentence or more"):
            list(profile(lm, texts, use_cache=False))
    steps: Any = profile(lm, TEXTS, stop=lambda: True, use_cache=False)
    with pytest.raises(Cancelled, match="nothing was changed"):
        next(steps)
