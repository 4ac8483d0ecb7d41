"""Statistics over several localizations: votes of many secrets, overlap of their best neurons, and the share of each site.

The votes are DEPN's aggregator (Wu et al., EMNLP 2023).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from privlens.errors import BadInput
from privlens.types import Array, NeuronScores, Site


@dataclass(frozen=True)
class VoteSettings:
    """DEPN's three numbers."""

    of_maximum: float = 0.1
    """A secret votes for neurons that score at least this share of its maximum; for none if no score is positive."""
    of_secrets: float = 0.5
    """A neuron is kept if at least this share of the secrets vote for it."""
    most: int = 200
    """Maximum number of neurons kept, those with the most votes first."""


def vote(scores: Sequence[NeuronScores], settings: VoteSettings = VoteSettings()) -> NeuronScores:
    """The neurons that many secrets share, as scores: votes, plus a fraction below 1 that orders equal votes by summed score.

    Neurons that are kept have a score of 1 or more, all others 0; `suggested_k` is how many are kept.

    Raises:
        BadInput: if there are no scores, or scores of different methods, models or sites.
    """
    stacked = _stack_scores(scores)
    if len({(result.method, result.provenance.fingerprint) for result in scores}) > 1:
        raise BadInput(
            "Scores of different methods or models cannot be combined by vote: localize all secrets with the same settings."
        )
    highest = stacked.max(axis=(1, 2), keepdims=True)
    votes = ((stacked >= settings.of_maximum * highest) & (stacked > 0)).sum(0)
    kept = np.flatnonzero((votes > 0) & (votes / len(scores) >= settings.of_secrets))
    kept_by_sum = kept[np.argsort(-stacked.sum(0).flat[kept], kind="stable")]
    first = scores[0]
    voted = np.where(np.isnan(first.scores), np.float32("nan"), np.float32(0))
    voted.flat[kept_by_sum] = votes.flat[kept_by_sum] + 1 - np.arange(1, len(kept_by_sum) + 1) / (len(kept_by_sum) + 1)
    all_settings = {**first.provenance.settings, "secrets": len(scores), **asdict(settings)}
    seconds = round(sum(result.provenance.seconds for result in scores), 3)
    provenance = replace(first.provenance, settings=all_settings, seconds=seconds)
    return NeuronScores(f"{first.method}, voted", first.site, voted, min(settings.most, len(kept)), provenance)


def overlap(scores: Sequence[NeuronScores], k: int) -> Array:
    """Jaccard index of the k best neurons of every pair, [n, n]: 1 for the same neurons, 0 for none in common.

    Raises:
        BadInput: if k is below 1, or there are no scores, or scores of different shapes or sites.
    """
    _stack_scores(scores)
    if k < 1:
        raise BadInput(f"The overlap of the best {k} neurons is undefined: k must be at least 1.")
    best = [set(result.top(k)) for result in scores]
    return np.array([[len(row & column) / len(row | column) for column in best] for row in best], np.float32)


def chance_overlap(n_neurons: int, k: int) -> float:
    """Expected Jaccard index of two random sets of k of n neurons: the size of their intersection is hypergeometric.

    Raises:
        BadInput: if k is below 1 or above n.
    """
    if not 1 <= k <= n_neurons:
        raise BadInput(f"Invalid size {k} of random sets of {n_neurons} neurons: k must be 1 to {n_neurons}.")

    def log_binomial(n: int, h: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(h + 1) - math.lgamma(n - h + 1)

    log_total = log_binomial(n_neurons, k)
    mean = 0.0
    for common in range(max(0, 2 * k - n_neurons), k + 1):
        log_count = log_binomial(k, common) + log_binomial(n_neurons - k, k - common)
        mean += math.exp(log_count - log_total) * common / (2 * k - common)
    return mean


SHUFFLES = 999
"""Permutations of the test. With the true labelling counted too, p is a multiple of 1/1000 and 0.001 at least."""


@dataclass(frozen=True, eq=False)
class Specificity:
    """Whether secrets of one category share more neurons than secrets of different ones ("PII specificity").

    Attributes:
        categories: in the order of `means`. means: [c, c] mean overlap over pairs of different secrets, NaN if there is none.
        within, between: mean over all pairs of the same category, and of different categories; None if there is no such pair.
        shuffled: p of a permutation test: the share of random permutations of the categories, the true one included, for which
            within - between is at least as large; None if there is no such difference.
    """

    categories: tuple[str, ...]
    means: Array
    within: float | None
    between: float | None
    shuffled: float | None


def specificity(overlaps: Array, categories: Sequence[str], seed: int = 0) -> Specificity:
    """Specificity from the overlaps [n, n] of n secrets and the category of each; the seed is that of the permutations.

    Raises:
        BadInput: if there is not exactly one category per secret.
    """
    if np.shape(overlaps) != (len(categories), len(categories)):
        raise BadInput(
            f"{np.shape(overlaps)} overlaps and {len(categories)} categories do not match: give one category per secret."
        )
    names = tuple(dict.fromkeys(categories))
    labels = np.array([names.index(category) for category in categories], dtype=np.int64)
    rows, columns = np.triu_indices(len(labels), 1)
    pairs = np.asarray(overlaps, np.float64)[rows, columns]
    means = np.full((len(names), len(names)), np.nan)
    for a in range(len(names)):
        for b in range(len(names)):
            in_cell = ((labels[rows] == a) & (labels[columns] == b)) | ((labels[rows] == b) & (labels[columns] == a))
            if in_cell.any():
                means[a, b] = pairs[in_cell].mean()
    same = labels[rows] == labels[columns]
    within, between = (float(pairs[selected].mean()) if selected.any() else None for selected in (same, ~same))
    if within is None or between is None:
        return Specificity(names, means.astype(np.float32), within, between, None)
    rng = np.random.default_rng(seed)
    n_as_large = 1
    for _ in range(SHUFFLES):
        permuted = rng.permutation(labels)
        alike = permuted[rows] == permuted[columns]
        # 1e-12: a permutation with the same groups sums in another order, and must count as equal.
        n_as_large += bool(pairs[alike].mean() - pairs[~alike].mean() >= within - between - 1e-12)
    return Specificity(names, means.astype(np.float32), within, between, n_as_large / (SHUFFLES + 1))


def share_by_site(scores: Mapping[Site, NeuronScores], k: int | None = None) -> dict[Site, float]:
    """Share of each site in the sum of all positive scores; with k, in the k best neurons of all sites ranked together.

    Only meaningful for scores that are comparable between the sites, such as gradients and zero-out (nats); two masks that were
    trained separately cannot be ranked together. All shares are 0 if no score is positive. Neurons without a positive score
    never count, and all that tie for the last place do.
    """
    positive = {site: np.nan_to_num(np.clip(result.scores, 0, None)).ravel() for site, result in scores.items()}
    if k is not None:
        ranked = np.sort(np.concatenate(list(positive.values())))[::-1]
        threshold = ranked[min(k, len(ranked)) - 1]
        positive = {site: (values >= threshold) & (values > 0) for site, values in positive.items()}
    sums = {site: float(values.sum()) for site, values in positive.items()}
    return {site: site_sum / (sum(sums.values()) or 1.0) for site, site_sum in sums.items()}


def _stack_scores(scores: Sequence[NeuronScores]) -> Array:
    """[n, n_layers, width]; 0, which is no vote, where there is no such neuron."""
    if not scores:
        raise BadInput("There are no scores to combine: localize at least one secret.")
    if len({(result.site, result.scores.shape) for result in scores}) > 1:
        raise BadInput(
            "Scores of different sites or model sizes cannot be combined: localize all secrets with the same settings."
        )
    return np.nan_to_num(np.stack([result.scores for result in scores]))
