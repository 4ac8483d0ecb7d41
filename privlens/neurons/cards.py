"""The card of one neuron: what the model's profile says of it. Runs no model."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import percentileofscore

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import token_texts
from privlens.neurons.activation_statistics import EDGES
from privlens.neurons.card_records import Histogram, NeuronCard, ScoreAt, Statistic, TokenWeight
from privlens.neurons.families import badges
from privlens.neurons.links import neuron_link
from privlens.neurons.profile_records import ModelProfile
from privlens.provenance import provenance
from privlens.types import Array, Neuron, NeuronScores


def card(lm: LanguageModel, profile: ModelProfile, neuron: Neuron, scores: Sequence[NeuronScores] = ()) -> NeuronCard:
    """The card of one neuron.

    Args:
        profile: of this model or view. scores: score maps of which its score and rank are shown.

    Raises:
        BadInput: for a neuron that does not exist, or a profile or scores of a model of another shape.
    """
    started = time.perf_counter()
    if profile.fingerprint != lm.fingerprint:
        raise BadInput("This profile is of another model, or of this one under other edits: make the profile of this model.")
    lm.off([neuron])  # refuses a neuron that does not exist
    promoted, suppressed = _tokens(lm, profile, neuron)
    settings = {"n_texts": profile.n_texts, "n_tokens": profile.n_tokens, "text_key": profile.text_key}
    return NeuronCard(
        neuron=neuron,
        link=neuron_link(profile.fingerprint, neuron),
        promoted=promoted,
        suppressed=suppressed,
        badges=badges(profile, neuron),
        statistics=tuple(_statistic(name, values, neuron) for name, values in all_statistics(profile)),
        histogram=Histogram(EDGES, tuple(profile.activations.histogram[neuron].tolist())),
        scores=tuple(_score_at(profile, one, neuron) for one in scores),
        provenance=provenance(lm, 0, settings, started),
    )


def _tokens(lm: LanguageModel, profile: ModelProfile, neuron: Neuron) -> tuple[tuple[TokenWeight, ...], tuple[TokenWeight, ...]]:
    """The tokens that it promotes, and those that it suppresses."""
    weights = profile.weights
    ids = weights.extreme_tokens[neuron]
    cosines = weights.extreme_cosines[neuron]
    logits = cosines * weights.output_norm[neuron] * weights.direction_norms[ids]
    texts = token_texts(lm.tokenizer, ids.tolist())
    tokens = tuple(map(TokenWeight, texts, ids.tolist(), cosines.tolist(), logits.tolist()))
    return tokens[: len(tokens) // 2], tokens[len(tokens) // 2 :]


def all_statistics(profile: ModelProfile) -> Iterator[tuple[str, Array]]:
    """Names and values [n_layers, width] of all statistics of a profile, those of the weights first."""
    weights, activations = profile.weights, profile.activations
    yield "output norm", weights.output_norm
    for name, norms, biases, cosines in zip(
        weights.input_names, weights.input_norms, weights.input_biases, weights.cosines, strict=True
    ):
        yield f"input norm ({name})", norms
        if biases is not None:
            yield f"input bias ({name})", biases
        yield f"cosine of input and output ({name})", cosines
    yield "sum of squared norms", weights.squared_norm
    for of, moments in (("cosines with the vocabulary", weights.vocabulary), ("activations", activations.moments)):
        for name in ("mean", "variance", "skew", "kurtosis"):
            yield f"{name} of {of}", getattr(moments, name)
    yield "share of activations above 0", activations.share_positive
    yield "variance explained by the position", activations.position_explained
    yield "variance explained by the token", activations.token_explained


def _statistic(name: str, values: Array, neuron: Neuron) -> Statistic:
    value = float(values[neuron])
    if np.isnan(value):
        return Statistic(name, value, None)
    return Statistic(name, value, float(percentileofscore(values[~np.isnan(values)], value, kind="mean")))


def _score_at(profile: ModelProfile, scores: NeuronScores, neuron: Neuron) -> ScoreAt:
    """What a localization gave the neuron. With the site `both` a layer's first coordinates are its MLP neurons."""
    n_layers, width = profile.weights.output_norm.shape
    fits = scores.scores.shape == (n_layers, width) if scores.site == "mlp" else scores.scores.shape[1] > width
    if scores.site == "attention" or len(scores.scores) != n_layers or not fits:
        raise BadInput(f"The scores of {scores.method} are not of this model's MLP neurons: localize in this model, site mlp.")
    score = float(scores.scores[neuron])
    return ScoreAt(scores.method, score, int(np.sum(scores.scores > score)) + 1, scores.n_neurons)
