"""Two questions to excess correlations: are given neurons less universal than the others, and does text need the universal ones
more?"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu

from privlens import intervals
from privlens.lm.model import LanguageModel, Stop
from privlens.lm.tokens import Encoded
from privlens.neurons.texts import perplexity
from privlens.neurons.universal_records import UniversalAblation, UniversalContrast
from privlens.types import Array, Neuron

PERMUTATIONS = 999
"""Of the test within layers; with the true choice, p is a multiple of 1/1000."""


def contrast(excess: Array, chosen: Sequence[Neuron], seed: int) -> UniversalContrast | None:
    """Given neurons beside all others that are alive; None where there are none of either kind. excess [n_layers, d_mlp]."""
    alive = ~np.isnan(excess)
    is_chosen = np.zeros(excess.shape, bool)
    for layer, index in chosen:
        is_chosen[layer, index] = True
    of_chosen, of_others = excess[is_chosen & alive].tolist(), excess[~is_chosen & alive].tolist()
    if not of_chosen or not of_others:
        return None
    auc, interval = intervals.auc(of_chosen, of_others)
    return UniversalContrast(
        n_chosen=len(of_chosen),
        n_others=len(of_others),
        n_silent=int((is_chosen & ~alive).sum()),
        chosen_mean=float(np.mean(of_chosen)),
        others_mean=float(np.mean(of_others)),
        auc=auc,
        interval=interval,
        p_value=float(mannwhitneyu(of_chosen, of_others).pvalue),
        p_within_layers=_permuted_within_layers(excess, is_chosen, seed),
    )


def _permuted_within_layers(excess: Array, is_chosen: npt.NDArray[np.bool_], seed: int) -> float:
    """p, two-sided, of how far the mean of the chosen is from what as many of the same layers have on average."""
    layers = [
        (values[~np.isnan(values)], int(chosen[~np.isnan(values)].sum()))
        for values, chosen in zip(excess, is_chosen, strict=True)
    ]
    n_chosen = sum(n for _, n in layers)
    expected = sum(n * float(values.mean()) for values, n in layers if n) / n_chosen
    observed = abs(float(np.nanmean(excess[is_chosen])) - expected)
    rng = np.random.default_rng(seed)
    n_as_far = 1
    for _ in range(PERMUTATIONS):
        drawn = sum(float(rng.choice(values, n, replace=False).sum()) for values, n in layers if n) / n_chosen
        n_as_far += abs(drawn - expected) >= observed - 1e-12  # equal but for the order of a sum
    return n_as_far / (PERMUTATIONS + 1)


class Ablation:
    """Perplexity without some of the most universal neurons, and without as many others of the same layers.

    excess [n_layers, d_mlp]; k: neurons off in every draw, a quarter of those alive at most. judged: rows of ordinary text.
    """

    def __init__(self, lm: LanguageModel, excess: Array, judged: Sequence[Encoded], k: int, seed: int, stop: Stop) -> None:
        self.lm, self.excess, self.judged, self.seed, self.stop = lm, excess, judged, seed, stop
        self.before = perplexity(lm, judged, stop=stop) or math.nan
        n_alive = int(np.count_nonzero(~np.isnan(excess)))
        self.k = min(max(1, k), n_alive // 4)
        order = np.argsort(-excess, axis=None, kind="stable")
        self.most, self.rest = order[: 2 * self.k], order[2 * self.k : n_alive]
        self.pairs: list[tuple[float, float]] = []

    def run(self, draw: int) -> None:
        """One draw: k of the 2k most universal, and as many of the rest in each layer, or elsewhere where a layer has too few."""
        rng = np.random.default_rng([self.seed, draw])
        width = self.excess.shape[1]
        chosen = rng.choice(self.most, self.k, replace=False)
        others: list[int] = []
        for layer, n in zip(*np.unique(chosen // width, return_counts=True), strict=True):
            of_layer = self.rest[self.rest // width == layer]
            others += rng.choice(of_layer, min(int(n), len(of_layer)), replace=False).tolist()
        left = np.setdiff1d(self.rest, others)
        others += rng.choice(left, self.k - len(others), replace=False).tolist()
        self.pairs.append((self._ratio(chosen.tolist()), self._ratio(others)))

    def _ratio(self, flat: Sequence[int]) -> float:
        width = self.excess.shape[1]
        gates = self.lm.off([Neuron(index // width, index % width) for index in flat])
        return (perplexity(self.lm, self.judged, gates, self.stop) or math.nan) / self.before

    def result(self) -> UniversalAblation:
        """All draws."""
        differences = [math.log(universal / others) for universal, others in self.pairs]
        universal, others = zip(*self.pairs, strict=True)
        return UniversalAblation(self.k, universal, others, float(np.mean(differences)), intervals.mean(differences))
