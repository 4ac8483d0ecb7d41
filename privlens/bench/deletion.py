"""DEL: switch localized neurons off and measure what is lost and what is kept (after Chang, Thomason & Jia, NAACL 2024).

The other memorized secrets are split in two by the seed: the method may retain the half called `seen`; specificity is judged on
the other half, `unseen`.
"""

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from privlens import intervals
from privlens.deactivation import EvalContext, memorization_states, reference_perplexity
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import Task, result_of
from privlens.localization.choice import GLOBAL, Choice
from privlens.localization.hard_concrete import MaskSettings
from privlens.memorization.extraction import log10_tries
from privlens.memorization.states import exposed
from privlens.outcomes import MemorizationState
from privlens.retained.others import other_secrets, unseen_of
from privlens.types import Neuron, NeuronScores, Secret, Site


@dataclass(frozen=True)
class Deletion:
    """One target with some neurons off. `share` is of all neurons; `nll_change` is in nats/token; rates are shares in 0..1.
    `after` is the target's state with exposures and lift.

    `n_unseen` secrets judge what is kept: `unseen_kept` is a multiple of 1 / n_unseen.
    """

    method: str
    target: Secret
    budget: str
    share: float
    match: bool
    accuracy: float
    nll_change: float
    after: MemorizationState
    seen_kept: float
    unseen_kept: float
    n_unseen: int
    perplexity_ratio: float | None
    seconds: float

    @property
    def forgotten(self) -> bool | None:
        """Whether the value is as likely as ones that nobody trained on; None if that cannot be judged."""
        return self.after.forgotten


@dataclass(frozen=True)
class Trial:
    """One target, and everything that a deletion is measured on."""

    target: Secret
    seen: tuple[Secret, ...]
    unseen: tuple[Secret, ...]
    before: MemorizationState
    perplexity: float | None
    reference: tuple[str, ...]
    seed: int
    site: Site
    listed: tuple[Secret, ...] = ()


def trials(
    lm: LanguageModel, secrets: Sequence[Secret], reference: Sequence[str], n: int, seed: int, site: Site = "mlp"
) -> list[Trial]:
    """n memorized targets drawn by the seed, each with the other memorized secrets split in two.

    Raises:
        BadInput: if the model repeats fewer than three of the secrets.
    """
    context = EvalContext(reference=tuple(reference), seed=seed)
    states = memorization_states(lm, secrets, (), context)
    memorized = [(secret, state) for secret, state in zip(secrets, states, strict=True) if state.greedy_match]
    if len(memorized) < 3:
        raise BadInput(f"The model repeats {len(memorized)} of {len(secrets)} secrets; three are needed to judge what is kept.")
    perplexity = reference_perplexity(lm, (), context)
    rng = random.Random(seed)
    drawn = []
    for target, before in rng.sample(memorized, min(n, len(memorized))):
        others = list(other_secrets([secret for secret, _ in memorized], [target]))
        rng.shuffle(others)
        half = len(others) // 2
        trial = Trial(
            target=target,
            seen=tuple(others[:half]),
            unseen=unseen_of(others[half:], others[:half]),
            before=before,
            perplexity=perplexity,
            reference=tuple(reference),
            seed=seed,
            site=site,
            listed=tuple(secrets),
        )
        drawn.append(trial)
    return drawn


def localized(lm: LanguageModel, trial: Trial, method: str, mask: MaskSettings | None = None) -> NeuronScores:
    """The method's scores for a trial's target, with the seen half as retained text; `mask` as for `localization.steps_of`."""
    return result_of(method, Task(lm, trial.target, trial.seen, seed=trial.seed, site=trial.site), mask=mask)


def deletion(lm: LanguageModel, trial: Trial, scores: NeuronScores, k: int, budget: str) -> Deletion:
    """Switches the best k neurons off and measures target, seen, unseen and reference."""
    off: list[Neuron] = scores.top(k)
    context = EvalContext(reference=trial.reference, site=trial.site, seed=trial.seed)
    [after] = memorization_states(lm, [trial.target], off, context)
    gates = lm.off(off, trial.site)
    [after] = exposed(lm, [trial.target], [after], gates, site=trial.site, others=trial.listed, seed=trial.seed)
    perplexity = reference_perplexity(lm, off, context)
    seen_kept, unseen_kept = (
        statistics.mean([state.greedy_match for state in memorization_states(lm, secrets, off, replace(context, reference=()))])
        for secrets in (trial.seen, trial.unseen)
    )
    return Deletion(
        method=scores.method,
        target=trial.target,
        budget=budget,
        share=k / scores.n_neurons,
        match=after.greedy_match,
        accuracy=after.memorization_accuracy,
        nll_change=after.nll - trial.before.nll,
        after=after,
        seen_kept=seen_kept,
        unseen_kept=unseen_kept,
        n_unseen=len(trial.unseen),
        perplexity_ratio=None if perplexity is None or trial.perplexity is None else perplexity / trial.perplexity,
        seconds=scores.provenance.seconds,
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
    *,
    mask: MaskSettings | None = None,
    choice: Choice = GLOBAL,
) -> Iterator[Deletion]:
    """Every method on every target, at every share of all neurons and at the k that it suggests ("natural").

    A method that suggests no k is given that of the latest method before it that did.

    Args:
        mask: settings of the mask, as for `localization.steps_of`. choice: in which order every method's neurons are chosen.
    """
    for trial in trials(lm, secrets, reference, n, seed, site):
        suggested_k = None
        for method in methods:
            scores = choice.of(localized(lm, trial, method, mask))
            suggested_k = scores.suggested_k or suggested_k
            if suggested_k:
                yield deletion(lm, trial, scores, suggested_k, "natural")
            for share in shares:
                yield deletion(lm, trial, scores, round(share * scores.n_neurons), f"{share:g}")


def summary(rows: Sequence[Deletion]) -> list[dict[str, object]]:
    """Means over the targets, a row for each method and budget; `share` as requested, or the mean of the natural ones.

    `n_judged` of the n targets have enough values of their format to say whether they are forgotten. The intervals are 95 %, over
    targets, which share the model and its secrets.
    """
    summaries: list[dict[str, object]] = []
    for method, budget in dict.fromkeys((row.method, row.budget) for row in rows):
        group = [row for row in rows if (row.method, row.budget) == (method, budget)]
        ratios = [row.perplexity_ratio for row in group if row.perplexity_ratio is not None]
        bits = [row.after.exposure.bits for row in group if row.after.exposure and row.after.exposure.bits is not None]
        format_bits = [row.after.format_exposure.bits for row in group if row.after.format_exposure]
        judged = [row.forgotten for row in group if row.forgotten is not None]
        n_unseen = statistics.mean(row.n_unseen for row in group)
        summaries.append(
            {
                "method": method,
                "share": statistics.mean(row.share for row in group) if budget == "natural" else float(budget),
                "n": len(group),
                "target_match": statistics.mean(row.match for row in group),
                "target_match_interval": intervals.rate(sum(row.match for row in group), len(group)),
                "target_accuracy": statistics.mean(row.accuracy for row in group),
                "target_nll_change": statistics.mean(row.nll_change for row in group),
                "target_exposure_bits": statistics.mean(bits) if bits else None,
                "target_log10_tries_median": statistics.median(log10_tries(row.after.logprob) for row in group),
                "target_format_bits": statistics.mean(format_bits) if format_bits else None,
                "n_judged": len(judged),
                "forgotten": statistics.mean(judged) if judged else None,
                "forgotten_interval": intervals.rate(sum(judged), len(judged)) if judged else None,
                "seen_kept": statistics.mean(row.seen_kept for row in group),
                "unseen_kept": statistics.mean(row.unseen_kept for row in group),
                "unseen_kept_interval": intervals.share([row.unseen_kept for row in group], n_unseen),
                "perplexity_ratio": statistics.mean(ratios) if ratios else None,
                "seconds": statistics.mean(row.seconds for row in group),
            }
        )
    return summaries
