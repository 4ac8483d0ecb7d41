"""The highest correlation of every neuron of one model with any neuron of another, on the same tokens, plain and rotated.

The covariances of all pairs would not fit (458,752 neurons squared), so the neurons of the first model come in blocks: each block
has a pass over the text of its own, in which the sums of its products with all neurons of the other model grow. Memory: one such
block.

The rotation mixes the neurons of each layer of the other model: random signs, a Hartley transform, and both once more, an
orthogonal map whose rows are dense, in n log n steps and without a matrix of n squared numbers. A rotated covariance follows from
a plain one. (The source draws rows of a Gaussian matrix and scales each to length 1, which is orthogonal only nearly.)

Source: Gurnee et al. 2024, Universal Neurons (arXiv 2401.12181).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from privlens.lm import activations
from privlens.lm.model import LanguageModel

ACTIVATIONS_AT_ONCE = 2**25
"""Activations of one forward pass: 128 MiB as float32."""
PRODUCTS_AT_ONCE = 2**26
"""Sums of products that are held: 256 MiB as float32. More need more memory, fewer more passes over the text."""
LEAST_VARIANCE = 1e-12
"""A neuron whose variance is at most this share of its mean square (or 0) counts as constant: rounding gives it no
correlation."""


def hartley(values: Tensor) -> Tensor:
    """The orthonormal Hartley transform of the last axis, which is orthogonal and its own inverse."""
    spectrum: Tensor = torch.fft.fft(values, norm="ortho")
    transformed: Tensor = spectrum.real - spectrum.imag
    return transformed


@dataclass(frozen=True, eq=False)
class Rotation:
    """A random orthogonal map of the neurons of one layer; `signs` [2, width]."""

    signs: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """values [..., width], rotated along the last axis."""
        for signs in self.signs:
            values = hartley(values * signs)
        return values


def rotations(lm: LanguageModel, seed: int) -> list[Rotation]:
    """One for each layer of a model."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randint(2, (2, width), generator=generator) for width in lm.widths()]
    return [Rotation((2 * signs - 1).to(lm.device, torch.float32)) for signs in drawn]


Batches = Callable[[LanguageModel], Iterator[list[Tensor]]]
"""Passes over the text: for a model, batch by batch, the activations of each layer at the same tokens, [tokens, width]
float32."""


def batches_of(rows: Sequence[Sequence[int]], n_neurons: int, go_on: Callable[[], None]) -> Batches:
    """Passes over rows of ids; the first token of each row is left out, at which many models have outliers whatever follows.

    Args:
        n_neurons: of the larger model. go_on: called before every forward pass; may raise Cancelled.
    """
    longest = max(map(len, rows))
    at_once = max(1, ACTIVATIONS_AT_ONCE // (longest * n_neurons))

    def run(lm: LanguageModel) -> Iterator[list[Tensor]]:
        for start in range(0, len(rows), at_once):
            go_on()
            part = rows[start : start + at_once]
            read = activations.read(lm, part, lambda values: values.float())
            lengths = torch.tensor([len(row) for row in part])
            places = torch.arange(read.shape[2])
            counts = ((places >= 1) & (places < lengths[:, None])).to(read.device)
            yield [read[:, layer][counts][:, :width] for layer, width in enumerate(lm.widths())]

    return run


@dataclass(frozen=True, eq=False)
class Moments:
    """For each layer the mean and standard deviation of its neurons, [width] float32; a constant neuron has a deviation of 0."""

    means: list[Tensor]
    deviations: list[Tensor]
    n_tokens: int


def moments(lm: LanguageModel, batches: Batches, rotated: Sequence[Rotation] | None = None) -> Moments:
    """The moments of a model's neurons, rotated or not, in one pass over the text; sums are of float64."""
    sums = [torch.zeros(width, dtype=torch.float64, device=lm.device) for width in lm.widths()]
    squares = [torch.zeros_like(of_layer) for of_layer in sums]
    n_tokens = 0
    for batch in batches(lm):
        n_tokens += len(batch[0])
        for layer, values in enumerate(batch):
            exact = (rotated[layer](values) if rotated else values).double()
            sums[layer] += exact.sum(0)
            squares[layer] += exact.square().sum(0)
    means = [of_layer / n_tokens for of_layer in sums]
    spreads = []
    for mean, square in zip(means, squares, strict=True):
        variance = square / n_tokens - mean.square()
        constant = variance <= LEAST_VARIANCE * square / n_tokens
        spreads.append(torch.where(constant, 0.0, variance.clamp_min(0).sqrt()).float())
    return Moments([mean.float() for mean in means], spreads, n_tokens)


@dataclass(frozen=True, eq=False)
class Block:
    """Some neurons of one layer of the first model, with their highest correlations.

    `plain`, `rotated`, `layers`, `indices` are [n]: the two correlations, and the most similar neuron of the other model.
    """

    layer: int
    first: int
    plain: Tensor
    rotated: Tensor
    layers: Tensor
    indices: Tensor


def blocks(lm: LanguageModel, other: LanguageModel) -> list[tuple[int, int, int]]:
    """(layer, first, end) of the blocks in which the first model's neurons come."""
    size = max(1, PRODUCTS_AT_ONCE // sum(other.widths()))
    return [
        (layer, start, min(width, start + size)) for layer, width in enumerate(lm.widths()) for start in range(0, width, size)
    ]


def highest(
    lm: LanguageModel,
    other: LanguageModel,
    batches: Batches,
    block: tuple[int, int, int],
    of_first: Moments,
    of_other: Moments,
    of_rotated: Moments,
    rotated: Sequence[Rotation],
) -> Block:
    """One block: a pass over the text, then the highest correlation of each of its neurons. Constant neurons give 0."""
    layer, start, end = block
    products = [torch.zeros(end - start, width, device=other.device, dtype=torch.float32) for width in other.widths()]
    for mine, theirs in zip(batches(lm), batches(other), strict=True):
        centered = (mine[layer][:, start:end] - of_first.means[layer][start:end]).to(other.device)
        for of_layer, values, mean in zip(products, theirs, of_other.means, strict=True):
            of_layer += centered.T @ (values - mean)
    scale = (of_first.deviations[layer][start:end] * of_first.n_tokens).to(other.device)[:, None]

    def correlations(covariances: Tensor, deviations: Tensor) -> Tensor:
        return (covariances / (scale * deviations)).nan_to_num(0, 0, 0)

    plain = [correlations(*pair) for pair in zip(products, of_other.deviations, strict=True)]
    turned = [
        correlations(rotate(of_layer), deviations).amax(1)
        for of_layer, rotate, deviations in zip(products, rotated, of_rotated.deviations, strict=True)
    ]
    by_layer = torch.stack([of_layer.amax(1) for of_layer in plain])
    layers = by_layer.argmax(0)
    indices = torch.stack([of_layer.argmax(1) for of_layer in plain])[layers, torch.arange(end - start, device=layers.device)]
    return Block(layer, start, by_layer.amax(0), torch.stack(turned).amax(0), layers, indices)
