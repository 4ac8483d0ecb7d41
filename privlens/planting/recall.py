"""Recall of planted neurons: the share of the neurons carrying a planted secret that a localization ranks among its best."""

from collections.abc import Collection

from privlens.types import Neuron, NeuronScores

K_MULTIPLES = (1, 2, 5)
"""k as multiples of the number of planted neurons: exactly as many, and two that leave room for errors."""


def recall_at(scores: NeuronScores, truth: Collection[Neuron], k: int) -> float:
    """Share of the true neurons that are among the best k."""
    return len(set(truth) & set(scores.top(k))) / len(truth)


def recall(scores: NeuronScores, truth: Collection[Neuron]) -> tuple[float, ...]:
    """Share of the planted neurons that are among the best k, for each k of K_MULTIPLES."""
    return tuple(recall_at(scores, truth, multiple * len(truth)) for multiple in K_MULTIPLES)
