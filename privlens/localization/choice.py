"""Alternatives to choosing the best k of one ranking of all neurons: layer by layer, and without the lowest layers.

Chang, Thomason & Jia (NAACL 2024) take the same number from each layer and leave the lowest one out. In one ranking of the whole
model the layers compete, and it may take many neurons of an early layer that every text needs.
"""

from dataclasses import dataclass, replace

import numpy as np

from privlens.errors import BadInput
from privlens.types import NeuronScores


@dataclass(frozen=True)
class Choice:
    """In which order neurons are chosen: one ranking of the whole model, or as `reordered` takes them."""

    per_layer: bool = False
    skip_layers: int = 0

    def of(self, scores: NeuronScores) -> NeuronScores:
        """The scores in that order. Raises BadInput if all layers would be left out."""
        if self == GLOBAL:
            return scores
        return reordered(scores, per_layer=self.per_layer, skip_layers=self.skip_layers)


GLOBAL = Choice()
"""One ranking of the whole model."""


def how_many(scores: NeuronScores, share: float | None = None, top: int | None = None) -> int:
    """How many neurons to report: as requested, else the suggested k, else one in a hundred (at least one)."""
    if top is not None:
        return top
    if share is None and scores.suggested_k is not None:
        return scores.suggested_k
    return max(1, round((0.01 if share is None else share) * scores.n_neurons))


def check_skipped(skip_layers: int, n_layers: int) -> None:
    """Raises BadInput for a number of layers that cannot be left out of a model with n_layers."""
    if not 0 <= skip_layers < n_layers:
        raise BadInput(f"{skip_layers} layers cannot be left out of a model with {n_layers}: leave out 0 to {n_layers - 1}.")


def reordered(scores: NeuronScores, *, per_layer: bool = False, skip_layers: int = 0) -> NeuronScores:
    """The same neurons reordered, so that `top(k)` chooses by layer.

    Scores are replaced by positions in that order, the first neuron having the highest; the unit of the method is lost.

    Args:
        per_layer: take the best of every layer before the second best of any; within one such round the order is by score.
        skip_layers: put the neurons of this many lowest layers after all others.

    Raises:
        BadInput: if all layers would be left out.
    """
    n_layers, width = scores.scores.shape
    check_skipped(skip_layers, n_layers)
    values = np.where(np.isnan(scores.scores), -np.inf, scores.scores)
    skipped = np.repeat(np.arange(n_layers) < skip_layers, width)
    rank_in_layer = np.argsort(np.argsort(-values, axis=1, kind="stable"), axis=1).ravel() if per_layer else np.zeros(values.size)
    order = np.lexsort((-values.ravel(), rank_in_layer, skipped, np.isnan(scores.scores).ravel()))
    positions = np.empty(values.size, np.float32)
    positions[order] = np.arange(values.size, 0, -1)
    return replace(scores, scores=np.where(np.isnan(scores.scores), np.float32("nan"), positions.reshape(n_layers, width)))
