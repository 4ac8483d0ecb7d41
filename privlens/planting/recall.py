"""Recall of planted neurons: how many of those that carry a planted secret a localization names among its best."""

from collections.abc import Collection

from privlens.types import Neuron, NeuronScores

TIMES = (1, 2, 5)
"""k as multiples of how many neurons were planted in: exactly as many, and some room for errors."""


def recall_at(scores: NeuronScores, truth: Collection[Neuron], k: int) -> float:
    """Share of the true neurons among the best k."""
    return len(set(truth) & set(scores.top(k))) / len(truth)


def recall(scores: NeuronScores, truth: Collection[Neuron]) -> tuple[float, ...]:
    """Share of the planted neurons among the best k, for each k of TIMES."""
    return tuple(recall_at(scores, truth, times * len(truth)) for times in TIMES)
