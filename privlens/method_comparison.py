"""Comparison of localization methods on one secret: their scores, and the effect of switching off the best k of each.

Every method is compared with `random`, which is always included. All are evaluated on the same text: other secrets that no method
was given as retained text, and the beginning of the reference. What depends on the scores alone (overlap of the best k, recall of
a plant) can be computed for any k without another localization; the effect is measured at a few k.

The target's own curve is one batch and comes first, for all methods. The rest is expensive, so it is measured from the smallest k
to the largest, every method at each, and by default on a sample, whose size is part of the result.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from privlens.deactivation import EvalBaseline, EvalContext, complete_point, eval_baseline, states_of, target_point
from privlens.errors import BadInput
from privlens.localization import Task
from privlens.localization.several import PARTS, localize_each
from privlens.memorization.check import rivals
from privlens.outcomes import CurvePoint, MeasuredOn
from privlens.provenance import provenance
from privlens.retained.others import unseen_of
from privlens.types import NeuronScores, Provenance, Secret

BudgetName = Literal["sample", "all"]


@dataclass(frozen=True)
class EvalBudget:
    """Limits of what effects are measured on.

    Attributes:
        shares: of all neurons to switch off. others: number of other secrets to evaluate on, None for all.
        paragraphs: of the reference. candidates: size of the candidate space of exposures.
    """

    shares: tuple[float, ...]
    others: int | None
    paragraphs: int
    candidates: int


BUDGETS: dict[BudgetName, EvalBudget] = {
    "sample": EvalBudget(shares=(0.0002, 0.001, 0.005, 0.02), others=8, paragraphs=4, candidates=32),
    "all": EvalBudget(shares=(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02), others=None, paragraphs=10, candidates=256),
}
"""A sample answers sooner and is less exact: 8 others can only tell shares of 1/8, 32 candidates give at most 5 bits."""
COMMON_SHARE = 0.01
"""Share of the neurons to look at in all methods if none suggests a k."""
FLOOR = "random"
"""The method that every comparison includes as its control."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One method: its scores, and the effect of its best k for the k that were measured so far."""

    scores: NeuronScores
    curve: tuple[CurvePoint, ...] = ()

    def nearest(self, k: int) -> CurvePoint | None:
        """The measured point nearest to k, by ratio; None if there is none yet."""
        return min(self.curve, key=lambda point: max(point.k / k, k / point.k), default=None)


@dataclass(frozen=True, eq=False)
class MethodComparison:
    """The results of several methods for one secret.

    Attributes:
        retained: the secrets that methods were given to retain. before: all neurons on; `known` are the others to evaluate on.
        on: how many texts the effects are measured on. ks: for which k they are measured.
        methods: in the order they were requested, `random` last. provenance: seed, settings, seconds of the whole.
    """

    target: Secret
    retained: frozenset[Secret]
    before: EvalBaseline
    on: MeasuredOn
    ks: tuple[int, ...]
    methods: tuple[Measured, ...]
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class MethodsStep:
    """Progress. `scores` are those finished so far; `result` is there once all methods have scores, and then grows."""

    step: int
    n_steps: int
    stage: str
    scores: tuple[NeuronScores, ...]
    result: MethodComparison | None = None


def suggested_k(scores: Sequence[NeuronScores]) -> int | None:
    """The k of the first method that suggests one."""
    return next((result.suggested_k for result in scores if result.suggested_k), None)


def common_k(scores: Sequence[NeuronScores]) -> int:
    """A k for looking at several methods together: a suggested one if there is any, else one neuron in a hundred."""
    return suggested_k(scores) or max(1, round(COMMON_SHARE * scores[0].n_neurons))


def measured_ks(n_neurons: int, extent: BudgetName = "sample", *also: int | None) -> tuple[int, ...]:
    """The k at which the effect is measured, ascending: shares of all neurons, at least 1 each, and `also`."""
    return tuple(sorted({*(max(1, round(share * n_neurons)) for share in BUDGETS[extent].shares), *filter(None, also)}))


def evaluation_sample(task: Task, context: EvalContext, budget: EvalBudget) -> tuple[EvalBaseline, MeasuredOn]:
    """The others to evaluate on, drawn from all known ones by the task's seed, and the perplexity with all neurons on."""
    before = eval_baseline(task.lm, context)
    n_others = min(len(before.known), budget.others or len(before.known))
    drawn = set(random.Random(task.seed).sample(before.known, n_others))
    n_candidates = 1 + sum(1 for _ in rivals(task.lm, task.target, task.seed, budget.candidates))
    on = MeasuredOn(n_others, len(before.known), len(context.reference), n_candidates)
    return replace(before, known=tuple(secret for secret in before.known if secret in drawn)), on


def compare_methods(
    methods: Sequence[str], task: Task, context: EvalContext, extent: BudgetName = "sample", at_k: int | None = None
) -> Iterator[MethodsStep]:
    """Localizes with every method and `random`, then measures the effect of the best k of each; yields progress of both.

    Args:
        task: the target and the retained text; all methods use its model, seed, site and stop.
        context: what to evaluate on: other secrets, of which those that methods were given are left out, and reference text. Its
            site, seed and stop are replaced by the task's.
        extent: whether effects are measured on a sample or on everything. at_k: another k to measure at; if it is None, the k of
            the first method that suggests one.

    Raises:
        BadInput: if no method was chosen. Cancelled: when the task's `stop` returns true.
    """
    requested = [*(method for method in dict.fromkeys(methods) if method != FLOOR), FLOOR]
    if requested == [FLOOR] and FLOOR not in methods:
        raise BadInput("No method was chosen: choose at least one.")
    started = time.perf_counter()
    budget = BUDGETS[extent]
    context = replace(
        context,
        others=unseen_of(context.others, (task.target, *task.others)),
        reference=context.reference[: budget.paragraphs],
        site=task.site,
        seed=task.seed,
        stop=task.stop,
    )
    scores: tuple[NeuronScores, ...] = ()
    for step in localize_each([(method, task) for method in requested]):
        scores = step.scores
        yield MethodsStep(step.step, 2 * step.n_steps, step.stage, scores)
    ks = measured_ks(scores[0].n_neurons, extent, at_k or suggested_k(scores))
    before, on = evaluation_sample(task, context, budget)
    half = PARTS * len(requested)
    settings = {
        "site": task.site,
        "methods": requested,
        "ks": ks,
        "measured": extent,
        "n_retained": len(task.others),
        "n_unseen": on.others,
        "n_unseen_known": on.known,
        "n_reference": on.paragraphs,
        "n_candidates": on.candidates,
    }
    for share, stage, measured in effects(task, scores, ks, context, before, budget.candidates):
        result = MethodComparison(
            target=task.target,
            retained=frozenset(task.others),
            before=before,
            on=on,
            ks=ks,
            methods=measured,
            provenance=provenance(task.lm, task.seed, settings, started),
        )
        yield MethodsStep(half + round(half * share), 2 * half, stage, scores, result)


def effects(
    task: Task, scores: Sequence[NeuronScores], ks: Sequence[int], context: EvalContext, before: EvalBaseline, n_candidates: int
) -> Iterator[tuple[float, str, tuple[Measured, ...]]]:
    """The curves as they grow: the share done (0..1), what was measured last, and every method as measured so far.

    First the target alone for every set of neurons, then the rest, the smallest k first, so that after a cancellation all methods
    have been measured at the same k.
    """
    measured = [Measured(method_scores) for method_scores in scores]
    yield 0.0, "all neurons on", tuple(measured)
    for method_index, method_scores in enumerate(scores):
        neuron_sets = [method_scores.top(k) for k in ks]
        target_states = states_of(task.lm, task.target, neuron_sets, context)
        measured[method_index] = Measured(method_scores, tuple(map(target_point, neuron_sets, target_states)))
        yield 0.0, f"{method_scores.method}: the secret alone", tuple(measured)
    for k_index, k in enumerate(ks):
        for method_index, method_scores in enumerate(scores):
            points = list(measured[method_index].curve)
            points[k_index] = complete_point(
                task.lm, task.target, method_scores.top(k), points[k_index], context, before, n_candidates
            )
            measured[method_index] = Measured(method_scores, tuple(points))
            share = (k_index * len(scores) + method_index + 1) / (len(ks) * len(scores))
            yield share, f"{method_scores.method}: the best {k} off", tuple(measured)
