"""What several localizations say together: votes over many secrets, the overlap of their best neurons, the share of each site.

The votes are DEPN's aggregator (Wu et al., EMNLP 2023). Knows scores only, and neither models nor methods.
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
    """A secret votes for its neurons whose score is at least this share of its highest; without a positive score for none."""
    of_secrets: float = 0.5
    """A neuron stays when at least this share of the secrets vote for it."""
    most: int = 200
    """So many are kept at most, those with most votes first."""


def vote(scores: Sequence[NeuronScores], settings: VoteSettings = VoteSettings()) -> NeuronScores:
    """The neurons that many secrets share, as scores: votes, plus a part below 1 that orders equal votes by summed score.

    Neurons that stay have a score of 1 or more, all others 0; `suggested_k` is how many are kept.

    Raises:
        BadInput: for no scores, or scores of different methods, models or sites.
    """
    stacked = _stacked(scores)
    if len({(one.method, one.provenance.fingerprint) for one in scores}) > 1:
        raise BadInput("Scores of different methods or models cannot vote together: localize all secrets alike.")
    highest = stacked.max(axis=(1, 2), keepdims=True)
    votes = ((stacked >= settings.of_maximum * highest) & (stacked > 0)).sum(0)
    stays = np.flatnonzero((votes > 0) & (votes / len(scores) >= settings.of_secrets))
    by_sum = stays[np.argsort(-stacked.sum(0).flat[stays], kind="stable")]
    found = np.where(np.isnan(scores[0].scores), np.float32("nan"), np.float32(0))
    found.flat[by_sum] = votes.flat[by_sum] + 1 - np.arange(1, len(by_sum) + 1) / (len(by_sum) + 1)
    first = scores[0]
    how = {**first.provenance.settings, "secrets": len(scores), **asdict(settings)}
    seconds = round(sum(one.provenance.seconds for one in scores), 3)
    provenance = replace(first.provenance, settings=how, seconds=seconds)
    return NeuronScores(f"{first.method}, voted", first.site, found, min(settings.most, len(stays)), provenance)


def overlap(scores: Sequence[NeuronScores], k: int) -> Array:
    """Jaccard index of the k best neurons of every two, [n, n]: 1 for the same neurons, 0 for none in common.

    Raises:
        BadInput: for k below 1, no scores, or scores of different shapes or sites.
    """
    _stacked(scores)
    if k < 1:
        raise BadInput(f"An overlap of the best {k} neurons says nothing: ask for at least 1.")
    tops = [set(one.top(k)) for one in scores]
    return np.array([[len(one & other) / len(one | other) for other in tops] for one in tops], np.float32)


def chance_overlap(n_neurons: int, k: int) -> float:
    """The Jaccard index that two random sets of k of n neurons have on average: their common neurons are hypergeometric.

    Raises:
        BadInput: for k below 1, or above n.
    """
    if not 1 <= k <= n_neurons:
        raise BadInput(f"Random sets of {k} of {n_neurons} neurons cannot be: ask for 1 to {n_neurons}.")

    def log_ways(n: int, h: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(h + 1) - math.lgamma(n - h + 1)

    total, mean = log_ways(n_neurons, k), 0.0
    for common in range(max(0, 2 * k - n_neurons), k + 1):
        ways = log_ways(k, common) + log_ways(n_neurons - k, k - common)
        mean += math.exp(ways - total) * common / (2 * k - common)
    return mean


SHUFFLES = 999


@dataclass(frozen=True, eq=False)
class Specificity:
    """Whether secrets of one category share more neurons than secrets of different ones ("PII specificity").

    Attributes:
        categories: in the order of `means`. means: [c, c] mean overlap over pairs of different secrets, NaN where there is none.
        within, between: mean over all pairs of one category, and of two different ones; None where there is no such pair.
        shuffled: the share of random shufflings of the categories whose within - between is at least as large, the true one
            counted too (a permutation test); None where the difference does not exist.
    """

    categories: tuple[str, ...]
    means: Array
    within: float | None
    between: float | None
    shuffled: float | None


def specificity(overlaps: Array, categories: Sequence[str], seed: int = 0) -> Specificity:
    """From overlaps [n, n] of n secrets and the category of each; the seed decides the shufflings.

    Raises:
        BadInput: where there is not one category for each secret.
    """
    if np.shape(overlaps) != (len(categories), len(categories)):
        raise BadInput(f"{np.shape(overlaps)} overlaps and {len(categories)} categories do not belong together.")
    names = tuple(dict.fromkeys(categories))
    of = np.array([names.index(one) for one in categories], dtype=np.int64)
    rows, columns = np.triu_indices(len(of), 1)
    pairs = np.asarray(overlaps, np.float64)[rows, columns]
    means = np.full((len(names), len(names)), np.nan)
    for a in range(len(names)):
        for b in range(len(names)):
            own = ((of[rows] == a) & (of[columns] == b)) | ((of[rows] == b) & (of[columns] == a))
            if own.any():
                means[a, b] = pairs[own].mean()
    same = of[rows] == of[columns]
    within, between = (float(pairs[part].mean()) if part.any() else None for part in (same, ~same))
    if within is None or between is None:
        return Specificity(names, means.astype(np.float32), within, between, None)
    rng, as_large = np.random.default_rng(seed), 1
    for _ in range(SHUFFLES):
        mixed = rng.permutation(of)
        alike = mixed[rows] == mixed[columns]
        as_large += bool(pairs[alike].mean() - pairs[~alike].mean() >= within - between - 1e-12)
    return Specificity(names, means.astype(np.float32), within, between, as_large / (SHUFFLES + 1))


def share_by_site(scores: Mapping[Site, NeuronScores], k: int | None = None) -> dict[Site, float]:
    """The share of each site in the sum of all positive scores; with k, among the k best of all sites ranked together.

    Honest only for scores that mean the same at both sites, such as gradients and zero-out (nats); two masks that were
    trained apart cannot be ranked together. All 0 where no score is positive; neurons without a positive score never count,
    and all that tie for the last place do.
    """
    positive = {site: np.nan_to_num(np.clip(one.scores, 0, None)).ravel() for site, one in scores.items()}
    if k is not None:
        together = np.sort(np.concatenate(list(positive.values())))[::-1]
        least = together[min(k, len(together)) - 1]
        positive = {site: (one >= least) & (one > 0) for site, one in positive.items()}
    sums = {site: float(one.sum()) for site, one in positive.items()}
    return {site: own / (sum(sums.values()) or 1.0) for site, own in sums.items()}


def _stacked(scores: Sequence[NeuronScores]) -> Array:
    """[n, n_layers, width]; neurons that do not exist have 0, which is no vote."""
    if not scores:
        raise BadInput("There are no scores to look at together: localize at least one secret.")
    if len({(one.site, one.scores.shape) for one in scores}) > 1:
        raise BadInput("Scores of different sites or model sizes cannot be put together: localize all secrets alike.")
    return np.nan_to_num(np.stack([one.scores for one in scores]))
