"""How well a plant is found: recall of its neurons among the best k, and the AUC of a score or of an edit, which needs no k.

The localization AUC is after LACUNA (arXiv 2607.02513): the probability that a planted neuron has a higher score than one of the
others, ties counting half; of an edit, the same for the size of the change of single weights. 0.5 is chance.
"""

from collections.abc import Collection

import numpy as np
from scipy.stats import rankdata

from privlens.lm.model import LanguageModel
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.types import Array, Edit, Neuron, NeuronScores

K_MULTIPLES = (1, 2, 5)
"""k as multiples of the number of planted neurons: exactly as many, and two that leave room for errors."""


def recall_at(scores: NeuronScores, truth: Collection[Neuron], k: int) -> float:
    """Share of the true neurons that are among the best k."""
    return len(set(truth) & set(scores.top(k))) / len(truth)


def recall(scores: NeuronScores, truth: Collection[Neuron]) -> tuple[float, ...]:
    """Share of the planted neurons that are among the best k, for each k of K_MULTIPLES."""
    return tuple(recall_at(scores, truth, multiple * len(truth)) for multiple in K_MULTIPLES)


def auc(scores: NeuronScores, truth: Collection[Neuron]) -> float:
    """ROC-AUC of a method's scores, planted neurons against all others, 0..1."""
    is_planted = np.zeros(scores.scores.shape, bool)
    is_planted[tuple(np.array(list(truth)).T)] = True
    exists = ~np.isnan(scores.scores)
    return rank_auc(scores.scores[is_planted & exists], scores.scores[~is_planted & exists])


def rank_auc(planted: Array, others: Array, zeros: tuple[int, int] = (0, 0)) -> float:
    """Mann and Whitney's U over its maximum: the share of pairs in which the planted one is higher, ties counting half, 0..1.

    Args:
        planted, others: [n] each. zeros: how many more planted and others are 0, which is then below all that are given.
    """
    n_zeros, n_planted, n_others = sum(zeros), len(planted) + zeros[0], len(others) + zeros[1]
    ranks = n_zeros + rankdata(np.concatenate([planted, others]))[: len(planted)]
    rank_sum = float(ranks.sum()) + zeros[0] * (n_zeros + 1) / 2
    return (rank_sum - n_planted * (n_planted + 1) / 2) / (n_planted * n_others)


def edit_auc(lm: LanguageModel, edit: Edit, truth: Collection[Neuron]) -> float | None:
    """ROC-AUC of the size of an edit's change of every weight: those of planted neurons against all others, 0..1.

    Counted are all matrices of the kinds that the edit changes (output projections of MLPs, say), in every layer, so that a plant
    in a layer that the edit left alone counts as not found. An unchanged weight has a change of 0.

    Returns:
        None if the edit changes no kind of matrix that holds neurons.
    """
    sizes: dict[str, tuple[int, ...]] = {name: weight.shape for name, weight in lm.model.named_parameters()}
    kinds: dict[int, list[tuple[str, int, set[int]]]] = {}  # of each kind a matrix a layer: its name, axis and planted vectors
    for layer in range(lm.n_layers):
        vectors_by_name: dict[str, tuple[int, set[int]]] = {}  # gate and up may be two halves of one matrix
        for vectors in neuron_vectors(lm, layer):
            _, planted = vectors_by_name.setdefault(vectors.name, (vectors.axis, set()))
            planted |= {neuron.index + vectors.offset for neuron in truth if neuron.layer == layer}
        for kind, (name, (axis, planted)) in enumerate(vectors_by_name.items()):
            kinds.setdefault(kind, []).append((name, axis, planted))
    matrices = [matrix for of_kind in kinds.values() if any(name in edit.changes for name, *_ in of_kind) for matrix in of_kind]
    if not matrices:
        return None
    changed: dict[bool, list[Array]] = {True: [], False: []}
    n_weights = {True: 0, False: 0}
    for name, axis, planted in matrices:
        rows, columns = sizes[name]
        n_planted = len(planted) * (columns if axis == 0 else rows)
        n_weights[True] += n_planted
        n_weights[False] += rows * columns - n_planted
        if name in edit.changes:
            change = edit.changes[name]
            neurons = change.indices // columns if axis == 0 else change.indices % columns
            is_planted = np.isin(neurons, list(planted))
            for side in (True, False):
                changed[side].append(np.abs(change.new - change.old)[is_planted == side])
    found, elsewhere = (np.concatenate(changed[side] or [np.empty(0)]) for side in (True, False))
    return rank_auc(found, elsewhere, (n_weights[True] - len(found), n_weights[False] - len(elsewhere)))
