"""What interventions did to the secrets they were meant for, to the others, and which neurons they have in common.

One intervention is made for one secret, so its numbers are paired with the same secret before it. The others of different
interventions overlap: no interval is given for how many of them were kept.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from privlens import intervals
from privlens.audit.paired import Paired, mcnemar
from privlens.audit.records import Finding, Intervention
from privlens.intervals import Interval
from privlens.types import Neuron

DRAWS = 9999
"""Permutations; with the one that was measured they give p values down to 1 in 10,000."""
MOST_SHARED = 10
"""Neurons that are named as shared by many secrets."""


@dataclass(frozen=True)
class Attacked:
    """How many interventions an attack undid, of those it was tried on."""

    name: str
    k: int
    n: int
    interval: Interval


@dataclass(frozen=True)
class Mitigation:
    """One kind of intervention, over all secrets that it was made for.

    Attributes:
        written: the target is written word for word, before and after. change: of log10 tries, median over the secrets that can
            be sampled before; infinite if most are never sampled any more. interval: of this median.
        verdicts: how often each was given after it; `undecided` where none could be.
        kept, known: other secrets that are still written, of those that were, summed over the interventions. least_kept: the
            worst of them, as (kept, known); None if none had others.
        worst_rise: the largest rise in log-probability among the others (the seesaw), in nats, and worst_row, the secret that
            the intervention was made for. perplexity: the median ratio. worst_perplexity: the largest.
        size, of: median number of neurons or weights, of how many.
    """

    kind: Literal["neurons", "random", "erasure"]
    method: str
    size: float
    of: int
    written: Paired
    after: Interval
    change: float | None
    change_interval: Interval | None
    verdicts: dict[str, int]
    kept: int
    known: int
    least_kept: tuple[int, int] | None
    worst_rise: float | None
    worst_row: int | None
    perplexity: float | None
    worst_perplexity: float | None
    attacks: tuple[Attacked, ...]


Made = tuple[Finding, Intervention]


def mitigations(secrets: Iterable[Finding]) -> tuple[Mitigation, ...]:
    """One record for each kind and method, in the order in which they first occur."""
    return tuple(_mitigation(made) for made in _by_method(secrets).values())


def _by_method(secrets: Iterable[Finding]) -> dict[tuple[str, str], list[Made]]:
    groups: defaultdict[tuple[str, str], list[Made]] = defaultdict(list)
    for finding in secrets:
        for intervention in finding.interventions:
            groups[intervention.kind, intervention.method].append((finding, intervention))
    return groups


def _mitigation(made: Sequence[Made]) -> Mitigation:
    interventions = [intervention for _, intervention in made]
    written = mcnemar([finding.measured.greedy_match for finding, _ in made], [made.after.greedy_match for made in interventions])
    changes = [change for finding, done in made if (change := _change(finding, done)) is not None]
    judged = [(done.kept, done.known) for done in interventions if done.known]
    rises = [(done.worst_rise, finding.row) for finding, done in made if done.worst_rise is not None]
    worst_rise, worst_row = max(rises) if rises else (None, None)
    ratios = [done.perplexity_ratio for done in interventions if done.perplexity_ratio is not None]
    return Mitigation(
        kind=interventions[0].kind,
        method=interventions[0].method,
        size=statistics.median(done.size for done in interventions),
        of=interventions[0].of,
        written=written,
        after=intervals.rate(written.after, written.n),
        change=statistics.median(changes) if changes else None,
        change_interval=intervals.median(changes),
        verdicts=dict(Counter(done.after.verdict or "undecided" for done in interventions)),
        kept=sum(kept for kept, _ in judged),
        known=sum(known for _, known in judged),
        least_kept=min(judged, key=lambda count: count[0] / count[1], default=None),
        worst_rise=worst_rise,
        worst_row=worst_row,
        perplexity=statistics.median(ratios) if ratios else None,
        worst_perplexity=max(ratios, default=None),
        attacks=_attacks(interventions),
    )


def _change(finding: Finding, done: Intervention) -> float | None:
    """Of log10 tries; infinite where the value is never sampled any more, None where it was not before."""
    before, after = finding.measured.log10_tries, done.after.log10_tries
    if before is None:
        return None
    return float("inf") if after is None else after - before


def _attacks(interventions: Iterable[Intervention]) -> tuple[Attacked, ...]:
    tried: defaultdict[str, list[bool]] = defaultdict(list)
    for intervention in interventions:
        for attack in intervention.attacks:
            tried[attack.name].append(attack.success)
    return tuple(Attacked(name, sum(hits), len(hits), intervals.rate(sum(hits), len(hits))) for name, hits in tried.items())


@dataclass(frozen=True)
class SharedNeuron:
    """A neuron, and for how many secrets it was switched off."""

    layer: int
    index: int
    n: int


@dataclass(frozen=True)
class Specificity:
    """How far the neurons of different secrets are the same, by one method.

    Attributes:
        n: secrets. within, between: mean Jaccard index of pairs of one category, and of two; None where there is no such pair.
        chance: that of two random sets of the median size. p_value: of the difference within - between if categories were
            assigned at random (Mantel 1967; two-sided, seeded permutations); None where either is missing.
        shared: neurons that most secrets share, those of one secret only left out.
    """

    method: str
    n: int
    within: float | None
    between: float | None
    chance: float
    p_value: float | None
    shared: tuple[SharedNeuron, ...]


def specificities(secrets: Iterable[Finding], seed: int) -> tuple[Specificity, ...]:
    """One record for each localization method that chose neurons for two secrets or more."""
    groups = _by_method(secrets)
    chosen = {method: made for (kind, method), made in groups.items() if kind == "neurons"}
    return tuple(_specificity(method, made, seed) for method, made in chosen.items() if len(made) > 1)


def _specificity(method: str, made: Sequence[Made], seed: int) -> Specificity:
    sets = [frozenset(intervention.neurons) for _, intervention in made]
    categories = np.array([finding.category for finding, _ in made])
    first, second = (np.array(ends) for ends in zip(*combinations(range(len(sets)), 2), strict=True))
    overlaps = np.array([_jaccard(sets[i], sets[j]) for i, j in zip(first, second, strict=True)])
    same = categories[first] == categories[second]
    size = statistics.median(len(neurons) for neurons in sets)
    expected = size**2 / made[0][1].of  # neurons that two random sets of this size have in common
    return Specificity(
        method=method,
        n=len(sets),
        within=float(overlaps[same].mean()) if same.any() else None,
        between=float(overlaps[~same].mean()) if not same.all() else None,
        chance=expected / (2 * size - expected) if size else 0.0,
        p_value=_permuted(overlaps, categories, first, second, seed) if same.any() and not same.all() else None,
        shared=_shared(sets),
    )


def _jaccard(a: frozenset[Neuron], b: frozenset[Neuron]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def _permuted(overlaps: np.ndarray, categories: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int) -> float:
    """The share of assignments of the categories, the measured one included, whose difference is at least as large."""
    rng = np.random.default_rng(seed)

    def difference(assigned: np.ndarray) -> float:
        same = assigned[first] == assigned[second]
        return float(overlaps[same].mean() - overlaps[~same].mean())

    measured = abs(difference(categories)) - 1e-12  # equal but for rounding counts as equal
    return (1 + sum(abs(difference(rng.permutation(categories))) >= measured for _ in range(DRAWS))) / (DRAWS + 1)


def _shared(sets: Sequence[frozenset[Neuron]]) -> tuple[SharedNeuron, ...]:
    counts = Counter(neuron for neurons in sets for neuron in neurons)
    ordered = sorted(((-n, neuron) for neuron, n in counts.items() if n > 1))[:MOST_SHARED]
    return tuple(SharedNeuron(neuron.layer, neuron.index, -n) for n, neuron in ordered)
