"""Sets of neurons by importance: the best, differences, intersections by index, and what two independent sets would share."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from privlens.neurons.coupled_records import Overlap, Venn
from privlens.types import Array

Flat = npt.NDArray[np.intp]
"""Neurons as flat indices, layer * d_mlp + index."""


def best_of(importance: Array, k: int) -> Flat:
    """The k most important neurons of [n_layers, d_mlp], best first; NaN comes last and is never among them."""
    order = np.argsort(-importance, axis=None, kind="stable")
    return order[: min(k, int(np.count_nonzero(~np.isnan(importance))))]


def without(best: Flat, general: Flat) -> Flat:
    """The first set without what is in the second, in its order."""
    return best[~np.isin(best, general)]


def intersection(first: Flat, second: Flat) -> Flat:
    """What is in both sets, in the order of the first."""
    return first[np.isin(first, second)]


def venn(first: Flat, second: Flat, general: Flat) -> Venn:
    """The sizes of the seven parts of three sets."""
    a, b, c = (set(part.tolist()) for part in (first, second, general))
    return Venn(
        first=len(a - b - c),
        second=len(b - a - c),
        general=len(c - a - b),
        first_second=len(a & b - c),
        first_general=len(a & c - b),
        second_general=len(b & c - a),
        all_three=len(a & b & c),
    )


def overlap(n_neurons: int, n_first: int, n_second: int, observed: int, regrouped: Sequence[int] = ()) -> Overlap:
    """How many of `n_neurons` two sets share, beside what two independent ones would."""
    return Overlap(
        observed=observed,
        expected=n_first * n_second / n_neurons,
        p_value=float(hypergeom.sf(observed - 1, n_neurons, n_first, n_second)),
        regrouped=tuple(regrouped),
        p_apart=(1 + sum(size <= observed for size in regrouped)) / (1 + len(regrouped)) if regrouped else None,
    )
