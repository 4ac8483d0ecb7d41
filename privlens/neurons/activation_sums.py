"""Sums over the tokens of a reference text, neuron by neuron, and the statistics that follow from them. Knows no model.

Moments come from sums of powers of the activation minus a shift near its mean, which loses no digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from privlens.neurons.profile_records import ActivationStatistics, Moments
from privlens.neurons.weight_statistics import padded, standardized
from privlens.types import Array

N_CONTEXTS = 10
"""Paragraphs that are kept for each neuron, those in which it is most active."""


@dataclass(frozen=True, eq=False)
class ActivationSums:
    """Sums over tokens for neurons of one layer, on the CPU; x is the activation minus the shift.

    Attributes:
        powers: [4, width] of x to x^4, float64. positive: [width]. histogram: [width, bins].
        by_place, by_group: [groups, width] of x. group_squares: [width] of x^2 over the tokens in a group.
        best, rows, positions: [n, width] the strongest activations, and where they are, -1 where there is none.
    """

    powers: Tensor
    positive: Tensor
    histogram: Tensor
    by_place: Tensor
    by_group: Tensor
    group_squares: Tensor
    best: Tensor
    rows: Tensor
    positions: Tensor

    def plus(self, other: "ActivationSums") -> "ActivationSums":
        """The sums over both."""
        best = torch.cat([self.best, other.best])
        top = best.topk(min(N_CONTEXTS, len(best)), dim=0)
        return ActivationSums(
            self.powers + other.powers,
            self.positive + other.positive,
            self.histogram + other.histogram,
            self.by_place + other.by_place,
            self.by_group + other.by_group,
            self.group_squares + other.group_squares,
            top.values,
            torch.cat([self.rows, other.rows]).gather(0, top.indices),
            torch.cat([self.positions, other.positions]).gather(0, top.indices),
        )


def joined(chunks: Sequence[ActivationSums]) -> ActivationSums:
    """Neighbouring neurons side by side."""
    return ActivationSums(
        **{
            name: torch.cat([getattr(chunk, name) for chunk in chunks], dim=0 if name == "histogram" else -1)
            for name in ActivationSums.__dataclass_fields__
        }
    )


@dataclass(frozen=True, eq=False)
class LayerStatistics:
    """The statistics of one layer's neurons: [4, width], [width], [bins, width], or [contexts, width]."""

    moments: Array
    share_positive: Array
    histogram: Array
    position_explained: Array
    token_explained: Array
    rows: Array
    positions: Array
    best: Array


def of_layer(sums: ActivationSums, shift: Tensor, places: Tensor, n_in_group: Tensor) -> LayerStatistics:
    """The statistics of one layer's neurons.

    Args:
        shift: [width] what was taken off each activation. places, n_in_group: counted tokens of each group of positions, and of
            each group of tokens.
    """
    n_tokens = int(places.sum())
    first, second, third, fourth = sums.powers / n_tokens
    variance = second - first**2
    central = (
        variance.clamp_min(0),
        third - 3 * first * second + 2 * first**3,
        fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4,
    )
    missing = N_CONTEXTS - len(sums.best)
    at_end = [(0, missing), (0, 0)]
    return LayerStatistics(
        moments=standardized(shift.cpu().double() + first, *central).float().numpy(),
        share_positive=(sums.positive / n_tokens).float().numpy(),
        histogram=sums.histogram.T.numpy().astype(np.uint16),
        position_explained=explained(sums.by_place, sums.powers[1], places).float().numpy(),
        token_explained=explained(sums.by_group, sums.group_squares, n_in_group).float().numpy(),
        rows=np.pad(sums.rows.numpy(), at_end, constant_values=-1),
        positions=np.pad(sums.positions.numpy(), at_end, constant_values=-1),
        best=np.pad(sums.best.numpy(), at_end, constant_values=np.nan),
    )


def explained(group_sums: Tensor, squares: Tensor, n: Tensor) -> Tensor:
    """[width] the share of each neuron's variance that lies between groups of tokens, 0..1; NaN where it does not vary.

    Corrected for chance: groups of a neuron that no group explains differ too (epsilon squared, Kelley 1935).

    Args:
        group_sums: [groups, width] sums of the activation minus a shift. squares: [width] sums of its squares over all groups.
        n: [groups] tokens in each.
    """
    filled = n > 0
    n_groups, n_tokens = int(filled.sum()), int(n.sum())
    if n_groups < 2 or n_tokens <= n_groups:
        return torch.full_like(squares, torch.nan)
    counts, sums = n[filled].double()[:, None], group_sums[filled].double()
    mean = sums.sum(0) / n_tokens
    total = squares.double() - n_tokens * mean.square()
    varies = total > 1e-9 * squares
    within = squares.double() - (sums.square() / counts).sum(0)
    share = 1 - within / total.where(varies, torch.nan) * (n_tokens - 1) / (n_tokens - n_groups)
    return share.clamp(0, 1)


def stacked_layers(layers: Sequence[LayerStatistics]) -> ActivationStatistics:
    """The statistics of all layers in one array each."""
    moments = padded([layer.moments for layer in layers], 1)

    def stacked(name: str, missing: float = np.nan) -> Array:
        """[n_layers, width, ...] of arrays whose last axis is the neuron's."""
        by_layer = [np.moveaxis(getattr(layer, name), -1, 0) for layer in layers]
        return np.ascontiguousarray(padded(by_layer, 0, missing))

    return ActivationStatistics(
        moments=Moments(*moments.transpose(1, 0, 2)),
        share_positive=stacked("share_positive"),
        histogram=stacked("histogram", 0),
        position_explained=stacked("position_explained"),
        token_explained=stacked("token_explained"),
        context_rows=stacked("rows", -1),
        context_positions=stacked("positions", -1),
        context_activations=stacked("best"),
    )
