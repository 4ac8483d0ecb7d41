"""What the weights alone say of every neuron of a model, layer by layer: norms, cosines, and what a neuron writes to the logits.

The cosines with the vocabulary are those of Gurnee et al. (2024, arXiv 2401.12181): of the output vector with each token's row of
the unembedding, in which the final norm's gain is folded in and which is centred over the vocabulary.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from privlens.errors import Cancelled, UnsupportedModel
from privlens.lm.layout import widths
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.neuron_vectors import Vectors, neuron_vectors
from privlens.lm.unembedding import unembedding
from privlens.neurons.profile_records import Moments, ProfileStep, WeightStatistics
from privlens.types import Array

N_TOKENS = 10
"""Tokens that are kept of those that a neuron promotes, and of those that it suppresses."""
COSINES_AT_ONCE = 2**24
"""Neurons times tokens whose cosines are computed at once: 64 MiB, a few times over."""
DISTINCT = 1e-12
"""A variance below this share of the squared mean is rounding: the neuron does not vary."""


def moments(values: Tensor) -> Tensor:
    """[4, n]: mean, variance, skew and kurtosis of each row of [n, m]; the last two are NaN where a row does not vary."""
    mean = values.mean(1)
    centred = values - mean[:, None]
    square = centred.square()
    return standardized(mean, square.mean(1), (square * centred).mean(1), square.square().mean(1))


def standardized(mean: Tensor, variance: Tensor, third: Tensor, fourth: Tensor) -> Tensor:
    """[4, n]: mean, variance, skew and kurtosis, from the mean and the central moments, each [n]."""
    varies = variance > DISTINCT * mean.square()
    spread = variance.where(varies, torch.nan)
    return torch.stack([mean, variance.where(varies, 0), third / spread**1.5, fourth / spread.square()])


def hidden_size(lm: LanguageModel) -> int:
    """Directions of the residual stream."""
    return int(lm.model.config.get_text_config().hidden_size)


def directions(lm: LanguageModel) -> tuple[Tensor, Tensor]:
    """The tokens' centred directions as unit vectors [V, d], and their norms [V].

    Raises:
        UnsupportedModel, BadInput: as `unembedding` does; or if tokens are read in another space than neurons write to.
    """
    rows = unembedding(lm)
    if rows.shape[1] != hidden_size(lm):
        raise UnsupportedModel(f"{lm.architecture} reads its vocabulary in another space than its neurons write to.")
    rows -= rows.mean(0)
    norms = rows.norm(dim=1)
    return rows / norms.clamp_min(torch.finfo(rows.dtype).tiny)[:, None], norms


@dataclass(frozen=True, eq=False)
class _Layer:
    """Numbers of the neurons of one layer, each [width] or [inputs, width], [4, width], [width, 2n]."""

    output_norm: Array
    input_norms: Array
    input_biases: Array
    cosines: Array
    vocabulary: Array
    extreme_tokens: Array
    extreme_cosines: Array


def input_names(lm: LanguageModel) -> tuple[str, ...]:
    """The projections that a neuron reads with, by their names in the model: one, or two in a gated MLP."""
    with lm.held():
        _, *inputs = neuron_vectors(lm, 0)
    leaves = [vectors.name.removesuffix(".weight").rpartition(".")[2] for vectors in inputs]
    if len(set(leaves)) == len(leaves):
        return tuple(leaves)
    return tuple(f"{leaf}, {half} half" for leaf, half in zip(leaves, ("first", "second"), strict=True))


def weight_statistics(lm: LanguageModel, n_steps: int, stop: Stop = never_stop) -> Generator[ProfileStep, None, WeightStatistics]:
    """Yields after every layer, and returns the statistics of all; the model is not changed.

    Args:
        n_steps: of the whole profile, for its steps.

    Raises:
        BadInput: if weights are quantized or offloaded. UnsupportedModel: if there are no output embeddings.
        Cancelled: if `stop` returned True.
    """
    names = input_names(lm)
    vocabulary, norms = directions(lm)
    layers = []
    for layer in range(lm.n_layers):
        if stop():
            raise Cancelled("Stopped while reading the weights; nothing was changed.")
        layers.append(_layer(lm, layer, vocabulary))
        yield ProfileStep(layer + 1, n_steps, f"weights of layer {layer}")
    return _stacked(layers, names, norms.cpu().numpy(), hidden_size(lm))


@torch.no_grad()
def _layer(lm: LanguageModel, layer: int, vocabulary: Tensor) -> _Layer:
    """The numbers of one layer; `vocabulary` has the tokens' directions [V, d]."""
    with lm.held():
        written, *read = (_all_of(lm, vectors, layer) for vectors in neuron_vectors(lm, layer))
        biases = _input_biases(lm, layer)
    norm = written.norm(dim=1)
    unit = written / norm.clamp_min(torch.finfo(norm.dtype).tiny)[:, None]
    parts = [_on_vocabulary(part, vocabulary) for part in unit.split(max(1, COSINES_AT_ONCE // len(vocabulary)))]
    in_vocabulary, tokens, extreme = (torch.cat(part, dim=-1) for part in zip(*parts, strict=True))
    return _Layer(
        output_norm=norm.cpu().numpy(),
        input_norms=torch.stack([vectors.norm(dim=1) for vectors in read]).cpu().numpy(),
        input_biases=torch.stack(biases).cpu().numpy(),
        cosines=torch.stack([torch.cosine_similarity(vectors, written, dim=1) for vectors in read]).cpu().numpy(),
        vocabulary=in_vocabulary.cpu().numpy(),
        extreme_tokens=tokens.T.cpu().numpy().astype(np.int32),
        extreme_cosines=extreme.T.cpu().numpy(),
    )


def _all_of(lm: LanguageModel, vectors: Vectors, layer: int) -> Tensor:
    """The vectors of all neurons of a layer [width, d], float32."""
    everyone = torch.arange(lm.widths()[layer], device=vectors.weight.device)
    return vectors.of(everyone).float().to(lm.device)


def _input_biases(lm: LanguageModel, layer: int) -> list[Tensor]:
    """For each input projection the neurons' biases [width], NaN where it has none; in the order of `neuron_vectors`."""
    width = lm.widths()[layer]
    biases: list[Tensor] = []
    for projection in lm.layout.mlp_inputs[layer]:
        bias = getattr(projection, "bias", None)
        n_inputs = widths(projection)[1] // width
        missing = torch.full((n_inputs * width,), torch.nan, dtype=torch.float32)
        biases += (missing if bias is None else bias.detach().float()).to(lm.device).split(width)
    return biases


def _on_vocabulary(unit: Tensor, vocabulary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of unit vectors [n, d]: moments [4, n] of their cosines, and the extreme tokens and their cosines, both [2n_tokens, n]."""
    cosines = unit @ vocabulary.T
    n_tokens = min(N_TOKENS, cosines.shape[1])
    promoted, suppressed = cosines.topk(n_tokens), cosines.topk(n_tokens, largest=False)
    tokens = torch.cat([promoted.indices, suppressed.indices], dim=1).T
    return moments(cosines), tokens, torch.cat([promoted.values, suppressed.values], dim=1).T


def padded(layers: Sequence[Array], axis: int, missing: float = np.nan) -> Array:
    """Arrays of layers stacked along a new first axis, filled up where a layer is narrower along `axis` than the widest."""
    widest = max(layer.shape[axis] for layer in layers)

    def fill(layer: Array) -> Array:
        ends = [(0, 0)] * layer.ndim
        ends[axis] = (0, widest - layer.shape[axis])
        return np.pad(layer, ends, constant_values=missing)

    return np.stack([fill(layer) for layer in layers])


def _stacked(layers: Sequence[_Layer], names: tuple[str, ...], direction_norms: Array, n_directions: int) -> WeightStatistics:
    output_norm = padded([layer.output_norm for layer in layers], 0)
    input_norms = padded([layer.input_norms for layer in layers], 1)
    biases = padded([layer.input_biases for layer in layers], 1)
    cosines = padded([layer.cosines for layer in layers], 1)
    vocabulary = padded([layer.vocabulary for layer in layers], 1)
    inputs = range(len(names))
    return WeightStatistics(
        output_norm=output_norm,
        input_names=names,
        input_norms=tuple(input_norms[:, number] for number in inputs),
        input_biases=tuple(None if np.isnan(biases[:, number]).all() else biases[:, number] for number in inputs),
        cosines=tuple(cosines[:, number] for number in inputs),
        squared_norm=output_norm**2 + (input_norms**2).sum(1),
        vocabulary=Moments(*(vocabulary[:, number] for number in range(4))),
        extreme_tokens=padded([layer.extreme_tokens for layer in layers], 0, -1),
        extreme_cosines=padded([layer.extreme_cosines for layer in layers], 0),
        direction_norms=direction_norms,
        hidden_size=n_directions,
    )
