"""DEL: switch localized neurons off and see what is gone and what stays (after Chang, Thomason & Jia, NAACL 2024).

The other memorized secrets are split in two by the seed: the method may retain the half that is `seen`; `unseen` is what
specificity is judged on. Knows methods only by their names.
"""

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from privlens import intervals
from privlens.deactivation import EvalContext, recalls, reference_perplexity
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import Task, result_of
from privlens.memorization.check import exposure_of
from privlens.outcomes import MemorizationState
from privlens.retained.others import other_secrets, unseen_of
from privlens.types import Exposure, Neuron, NeuronScores, Secret, Site, forgotten


@dataclass(frozen=True)
class Deletion:
    """One target with some neurons off. `share` of all neurons; `nll_change` in nats/token; rates are shares in 0..1.

    `n_unseen` secrets judge what is kept: `unseen_kept` moves in steps of 1 / n_unseen.
    """

    method: str
    target: Secret
    budget: str
    share: float
    match: bool
    accuracy: float
    nll_change: float
    exposure: Exposure
    seen_kept: float
    unseen_kept: float
    n_unseen: int
    perplexity_ratio: float | None
    seconds: float

    @property
    def forgotten(self) -> bool | None:
        """Match gone and exposure low; None where that cannot be judged."""
        return forgotten(self.match, self.exposure)


@dataclass(frozen=True)
class Trial:
    """One target with everything that is measured around it."""

    target: Secret
    seen: tuple[Secret, ...]
    unseen: tuple[Secret, ...]
    before: MemorizationState
    perplexity: float | None
    reference: tuple[str, ...]
    seed: int
    site: Site


def trials(
    lm: LanguageModel, secrets: Sequence[Secret], reference: Sequence[str], n: int, seed: int, site: Site = "mlp"
) -> list[Trial]:
    """n memorized targets drawn by the seed, each with the other memorized secrets split in two.

    Raises:
        BadInput: where the model repeats fewer than three of the secrets.
    """
    around = EvalContext(reference=tuple(reference), seed=seed)
    states = recalls(lm, secrets, (), around)
    memorized = [(secret, state) for secret, state in zip(secrets, states, strict=True) if state.greedy_match]
    if len(memorized) < 3:
        raise BadInput(f"The model repeats {len(memorized)} of {len(secrets)} secrets; three are needed to judge what is kept.")
    perplexity = reference_perplexity(lm, (), around)
    rng, found = random.Random(seed), []
    for target, before in rng.sample(memorized, min(n, len(memorized))):
        others = list(other_secrets([secret for secret, _ in memorized], [target]))
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
    around = EvalContext(reference=trial.reference, site=trial.site, seed=trial.seed)
    [own] = recalls(lm, [trial.target], off, around)
    gates = lm.off(off, trial.site)
    exposure = exposure_of(lm, trial.target, gates=gates, site=trial.site, seed=trial.seed)
    ratio = reference_perplexity(lm, off, around)
    kept = [
        statistics.mean([state.greedy_match for state in recalls(lm, part, off, replace(around, reference=()))])
        for part in (trial.seen, trial.unseen)
    ]
    return Deletion(
        scores.method,
        trial.target,
        budget,
        k / scores.n_neurons,
        own.greedy_match,
        own.memorization_accuracy,
        own.nll - trial.before.nll,
        exposure,
        kept[0],
        kept[1],
        len(trial.unseen),
        None if ratio is None or trial.perplexity is None else ratio / trial.perplexity,
        scores.provenance.seconds,
    )


def run(
    lm: LanguageModel,
    secrets: Sequence[Secret],
    reference: Sequence[str],
    methods: Sequence[str],
    shares: Sequence[float],
    n: int,
    seed: int,
    site: Site = "mlp",
) -> Iterator[Deletion]:
    """Every method on every target: at its natural k where it has one, and at every share of all neurons."""
    for trial in trials(lm, secrets, reference, n, seed, site):
        natural = None
        for method in methods:
            scores = localized(lm, trial, method)
            natural = scores.suggested_k or natural
            if natural:
                yield deletion(lm, trial, scores, natural, "natural")
            for share in shares:
                yield deletion(lm, trial, scores, round(share * scores.n_neurons), f"{share:g}")


def summary(rows: Sequence[Deletion]) -> list[dict[str, object]]:
    """Means over the targets, a row for each method and budget; `share` as it was asked for, or the mean of the natural ones.

    `n_judged` of the n targets have enough values of their format to say whether they are forgotten. The intervals are 95 %, over
    targets: they share the model and its secrets.
    """
    found: list[dict[str, object]] = []
    for key in dict.fromkeys((row.method, row.budget) for row in rows):
        own = [row for row in rows if (row.method, row.budget) == key]
        ratios = [row.perplexity_ratio for row in own if row.perplexity_ratio is not None]
        bits = [row.exposure.bits for row in own if row.exposure.bits is not None]
        judged = [row.forgotten for row in own if row.forgotten is not None]
        found.append(
            {
                "method": key[0],
                "share": statistics.mean(row.share for row in own) if key[1] == "natural" else float(key[1]),
                "n": len(own),
                "target_match": statistics.mean(row.match for row in own),
                "target_match_interval": intervals.rate(sum(row.match for row in own), len(own)),
                "target_accuracy": statistics.mean(row.accuracy for row in own),
                "target_nll_change": statistics.mean(row.nll_change for row in own),
                "target_exposure_bits": statistics.mean(bits) if bits else None,
                "n_judged": len(judged),
                "forgotten": statistics.mean(judged) if judged else None,
                "forgotten_interval": intervals.rate(sum(judged), len(judged)) if judged else None,
                "seen_kept": statistics.mean(row.seen_kept for row in own),
                "unseen_kept": statistics.mean(row.unseen_kept for row in own),
                "unseen_kept_interval": intervals.share(
                    [row.unseen_kept for row in own], statistics.mean(row.n_unseen for row in own)
                ),
                "perplexity_ratio": statistics.mean(ratios) if ratios else None,
                "seconds": statistics.mean(row.seconds for row in own),
            }
        )
    return found
