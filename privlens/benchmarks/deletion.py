"""DEL: switch localized neurons off and see what is gone and what stays (after Chang, Thomason & Jia, NAACL 2024).

The other memorised secrets are split in two by the seed: the method may retain the half that is `seen`; `unseen` is what
specificity is judged on. Knows methods only by their names.
"""

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from privlens.deactivation import Surroundings, recalls, reference_perplexity
from privlens.errors import BadInput
from privlens.localization import Task, result_of
from privlens.memorization.check import exposure_bits
from privlens.models.language_model import LanguageModel
from privlens.others import other_secrets, unseen_of
from privlens.outcomes import Recall
from privlens.records import Neuron, NeuronScores, Secret, Site

FORGOTTEN_BITS = 3.0
"""A secret is forgotten when its greedy match is gone and its exposure among 256 candidates is at most this."""


@dataclass(frozen=True)
class Deletion:
    """One target with some neurons off. `share` of all neurons; `nll_change` in nats/token; rates are shares in 0..1."""

    method: str
    target: Secret
    budget: str
    share: float
    match: bool
    accuracy: float
    nll_change: float
    exposure_bits: float
    seen_kept: float
    unseen_kept: float
    perplexity_ratio: float | None
    seconds: float

    @property
    def forgotten(self) -> bool:
        """Match gone and exposure low."""
        return not self.match and self.exposure_bits <= FORGOTTEN_BITS


@dataclass(frozen=True)
class Trial:
    """One target with everything that is measured around it."""

    target: Secret
    seen: tuple[Secret, ...]
    unseen: tuple[Secret, ...]
    before: Recall
    perplexity: float | None
    reference: tuple[str, ...]
    seed: int
    site: Site


def trials(
    lm: LanguageModel, secrets: Sequence[Secret], reference: Sequence[str], n: int, seed: int, site: Site = "mlp"
) -> list[Trial]:
    """n memorised targets drawn by the seed, each with the other memorised secrets split in two.

    Raises:
        BadInput: where the model repeats fewer than three of the secrets.
    """
    around = Surroundings(reference=tuple(reference), seed=seed)
    states = recalls(lm, secrets, (), around)
    memorised = [(secret, state) for secret, state in zip(secrets, states, strict=True) if state.greedy_match]
    if len(memorised) < 3:
        raise BadInput(f"The model repeats {len(memorised)} of {len(secrets)} secrets; three are needed to judge what is kept.")
    perplexity = reference_perplexity(lm, (), around)
    rng, found = random.Random(seed), []
    for target, before in rng.sample(memorised, min(n, len(memorised))):
        others = list(other_secrets([secret for secret, _ in memorised], [target]))
        rng.shuffle(others)
        half = len(others) // 2
        seen, unseen = tuple(others[:half]), unseen_of(others[half:], others[:half])
        found.append(Trial(target, seen, unseen, before, perplexity, tuple(reference), seed, site))
    return found


def localized(lm: LanguageModel, trial: Trial, method: str) -> NeuronScores:
    """The method's scores for a trial's target, with the seen half as retained text."""
    return result_of(method, Task(lm, trial.target, trial.seen, seed=trial.seed, site=trial.site))


def deletion(lm: LanguageModel, trial: Trial, scores: NeuronScores, k: int, budget: str) -> Deletion:
    """Switches the best k neurons off and measures target, seen, unseen and reference."""
    off: list[Neuron] = scores.top(k)
    around = Surroundings(reference=trial.reference, site=trial.site, seed=trial.seed)
    [own] = recalls(lm, [trial.target], off, around)
    gates = lm.off(off, trial.site)
    bits, _ = exposure_bits(lm, trial.target, gates=gates, site=trial.site, seed=trial.seed)
    ratio = reference_perplexity(lm, off, around)
    kept = [
        statistics.mean([state.greedy_match for state in recalls(lm, part, off, replace(around, reference=()))])
        for part in (trial.seen, trial.unseen)
    ]
    return Deletion(
        scores.method, trial.target, budget, k / scores.n_neurons, own.greedy_match, own.memorization_accuracy,
        own.nll - trial.before.nll, bits, kept[0], kept[1],
        None if ratio is None or trial.perplexity is None else ratio / trial.perplexity, scores.provenance.seconds,
    )  # fmt: skip


def run(
    lm: LanguageModel, secrets: Sequence[Secret], reference: Sequence[str], methods: Sequence[str], shares: Sequence[float],
    n: int, seed: int, site: Site = "mlp",
) -> Iterator[Deletion]:  # fmt: skip
    """Every method on every target: at its natural k where it has one, and at every share of all neurons."""
    for trial in trials(lm, secrets, reference, n, seed, site):
        natural = None
        for method in methods:
            scores = localized(lm, trial, method)
            natural = scores.natural_k or natural
            if natural:
                yield deletion(lm, trial, scores, natural, "natural")
            for share in shares:
                yield deletion(lm, trial, scores, round(share * scores.n_neurons), f"{share:g}")


def summary(rows: Sequence[Deletion]) -> list[dict[str, float | str | None]]:
    """Means over the targets, a row for each method and budget; `share` as it was asked for, or the mean of the natural ones."""
    found: list[dict[str, float | str | None]] = []
    for key in dict.fromkeys((row.method, row.budget) for row in rows):
        own = [row for row in rows if (row.method, row.budget) == key]
        ratios = [row.perplexity_ratio for row in own if row.perplexity_ratio is not None]
        found.append({
            "method": key[0],
            "share": statistics.mean(row.share for row in own) if key[1] == "natural" else float(key[1]),
            "n": len(own),
            "target_match": statistics.mean(row.match for row in own),
            "target_accuracy": statistics.mean(row.accuracy for row in own),
            "target_nll_change": statistics.mean(row.nll_change for row in own),
            "target_exposure_bits": statistics.mean(row.exposure_bits for row in own),
            "forgotten": statistics.mean(row.forgotten for row in own),
            "seen_kept": statistics.mean(row.seen_kept for row in own),
            "unseen_kept": statistics.mean(row.unseen_kept for row in own),
            "perplexity_ratio": statistics.mean(ratios) if ratios else None,
            "seconds": statistics.mean(row.seconds for row in own),
        })  # fmt: skip
    return found
