"""Other ways to choose the best k than one ranking of all neurons: layer by layer, and without the lowest layers.

Chang, Thomason & Jia (NAACL 2024) take equally many of each layer and leave the lowest one out; one ranking of the whole model
lets layers compete, and may take many of an early layer that every text needs.
"""

from dataclasses import replace

import numpy as np

from privlens.errors import BadInput
from privlens.types import NeuronScores


def reordered(scores: NeuronScores, *, per_layer: bool = False, skip_layers: int = 0) -> NeuronScores:
    """The same neurons in the order in which they are to be chosen, so that `top(k)` takes the best k of it.

    The scores become places in that order, the first the highest; the units of the method are gone.

    Args:
        per_layer: take the best of every layer before the second best of any; what is left over at k goes by score.
        skip_layers: neurons of so many lowest layers come after all others.

    Raises:
        BadInput: where all layers would be left out.
    """
    n_layers, width = scores.scores.shape
    if not 0 <= skip_layers < n_layers:
        raise BadInput(f"{skip_layers} layers cannot be left out of a model with {n_layers}: leave out 0 to {n_layers - 1}.")
    values = np.where(np.isnan(scores.scores), -np.inf, scores.scores)
    skipped = np.repeat(np.arange(n_layers) < skip_layers, width)
    place = np.argsort(np.argsort(-values, axis=1, kind="stable"), axis=1).ravel() if per_layer else np.zeros(values.size)
    order = np.lexsort((-values.ravel(), place, skipped, np.isnan(scores.scores).ravel()))
    places = np.empty(values.size, np.float32)
    places[order] = np.arange(values.size, 0, -1)
    return replace(scores, scores=np.where(np.isnan(scores.scores), np.float32("nan"), places.reshape(n_layers, width)))
