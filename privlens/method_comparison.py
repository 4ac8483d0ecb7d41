"""Which method is right? Several methods on one secret: their scores, and what switching off the best k of each does.

Every method is held against `random`, which is always among them. All are judged on the same text: other secrets that no
method was given as retained text, and the beginning of the reference. What is compared of the scores alone (overlap of the
best k, recall of a plant) is computed from them for any k, without another localization; the effect is measured at a few k.

The target's own curve is one batch and comes first, for all methods. What costs is the rest: so it goes from the smallest k to
the largest, every method at each, and unless all is asked for it is measured on a sample, whose size stands in the result.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from privlens.deactivation import AllOn, EvalContext, all_on, point_of, states_of, whole_point
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
    """What effects are measured on, at most.

    Attributes:
        shares: of all neurons that are off. others: secrets that judge, None for all. paragraphs: of the reference.
        candidates: size of the space that exposures are ranked in.
    """

    shares: tuple[float, ...]
    others: int | None
    paragraphs: int
    candidates: int


BUDGETS: dict[BudgetName, EvalBudget] = {
    "sample": EvalBudget((0.0002, 0.001, 0.005, 0.02), 8, 4, 32),
    "all": EvalBudget((0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02), None, 10, 256),
}
COMMON_SHARE = 0.01
FLOOR = "random"


@dataclass(frozen=True, eq=False)
class Measured:
    """One method: its scores, and the effect of its best k at those k that were measured so far."""

    scores: NeuronScores
    curve: tuple[CurvePoint, ...] = ()

    def nearest(self, k: int) -> CurvePoint | None:
        """The point that was measured nearest to k, by ratio; None where there is none yet."""
        return min(self.curve, key=lambda point: max(point.k / k, k / point.k), default=None)


@dataclass(frozen=True, eq=False)
class MethodComparison:
    """What several methods say of one secret.

    Attributes:
        retained: what methods were given to hold on to. before: all neurons on; `known` are the others that judge.
        on: how many texts the effects are measured on. ks: where they are measured.
        methods: in the order they were asked for, `random` last. provenance: seed, settings, seconds of the whole.
    """

    target: Secret
    retained: frozenset[Secret]
    before: AllOn
    on: MeasuredOn
    ks: tuple[int, ...]
    methods: tuple[Measured, ...]
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class MethodsStep:
    """Progress. `scores` are those that are there; `result` comes once all methods have theirs, and then grows."""

    step: int
    n_steps: int
    stage: str
    scores: tuple[NeuronScores, ...]
    result: MethodComparison | None = None


def suggested_k(scores: Sequence[NeuronScores]) -> int | None:
    """As many as the first one closed that has an opinion."""
    return next((one.suggested_k for one in scores if one.suggested_k), None)


def common_k(scores: Sequence[NeuronScores]) -> int:
    """A k at which to look at several methods: the natural one where there is one, else one in a hundred."""
    return suggested_k(scores) or max(1, round(COMMON_SHARE * scores[0].n_neurons))


def measured_ks(n_neurons: int, extent: BudgetName = "sample", *also: int | None) -> tuple[int, ...]:
    """The k at which the effect is measured, ascending: shares of all neurons, at least 1, and those asked for besides."""
    return tuple(sorted({*(max(1, round(share * n_neurons)) for share in BUDGETS[extent].shares), *filter(None, also)}))


def judges(task: Task, around: EvalContext, effort: EvalBudget) -> tuple[AllOn, MeasuredOn]:
    """Those of the others that judge, drawn by the seed from all that are known, and the perplexity with all neurons on."""
    before = all_on(task.lm, around)
    n = min(len(before.known), effort.others or len(before.known))
    drawn = set(random.Random(task.seed).sample(before.known, n))
    space = 1 + sum(1 for _ in rivals(task.lm, task.target, task.seed, effort.candidates))
    on = MeasuredOn(n, len(before.known), len(around.reference), space)
    return replace(before, known=tuple(one for one in before.known if one in drawn)), on


def compare_methods(
    methods: Sequence[str], task: Task, around: EvalContext, extent: BudgetName = "sample", at_k: int | None = None
) -> Iterator[MethodsStep]:
    """Localizes with every method and `random`, then measures the effect of the best k of each; a step for each.

    Args:
        task: the target and what methods may hold on to; its model, seed, site and stop serve all.
        around: what judges: other secrets, of which those that methods were given are left out, and reference text. Its site,
            seed and stop are the task's.
        extent: whether effects are measured on a sample or on all of it. at_k: a k where they are measured besides; where it is
            None, as many as the first method closed that has an opinion.

    Raises:
        BadInput: where no method was asked for. Cancelled: when the task's `stop` said so.
    """
    asked = [*(method for method in dict.fromkeys(methods) if method != FLOOR), FLOOR]
    if asked == [FLOOR] and FLOOR not in methods:
        raise BadInput("No method was chosen: choose at least one.")
    started, effort = time.perf_counter(), BUDGETS[extent]
    unseen = unseen_of(around.others, (task.target, *task.others))
    around = replace(
        around, others=unseen, reference=around.reference[: effort.paragraphs], site=task.site, seed=task.seed, stop=task.stop
    )
    scores: tuple[NeuronScores, ...] = ()
    for step in localize_each([(method, task) for method in asked]):
        scores = step.scores
        yield MethodsStep(step.step, 2 * step.n_steps, step.stage, scores)
    ks = measured_ks(scores[0].n_neurons, extent, at_k or suggested_k(scores))
    before, on = judges(task, around, effort)
    half = PARTS * len(asked)
    settings = {
        "site": task.site,
        "methods": asked,
        "ks": ks,
        "measured": extent,
        "n_retained": len(task.others),
        "n_unseen": on.others,
        "n_unseen_known": on.known,
        "n_reference": on.paragraphs,
        "n_candidates": on.candidates,
    }
    for share, stage, found in effects(task, scores, ks, around, before, effort.candidates):
        how = provenance(task.lm, task.seed, settings, started)
        result = MethodComparison(task.target, frozenset(task.others), before, on, ks, found, how)
        yield MethodsStep(half + round(half * share), 2 * half, stage, scores, result)


def effects(
    task: Task, scores: Sequence[NeuronScores], ks: Sequence[int], around: EvalContext, before: AllOn, n_candidates: int
) -> Iterator[tuple[float, str, tuple[Measured, ...]]]:
    """The curves as they grow: how much is done (0..1), what was measured last, and every method as far as it is.

    First the target alone with every choice of neurons off, then all else, the smallest k first, so that whatever is there when
    somebody cancels holds all methods against each other.
    """
    found = [Measured(one) for one in scores]
    yield 0.0, "all neurons on", tuple(found)
    for at, one in enumerate(scores):
        offs = [one.top(k) for k in ks]
        found[at] = Measured(one, tuple(map(point_of, offs, states_of(task.lm, task.target, offs, around))))
        yield 0.0, f"{one.method}: the secret alone", tuple(found)
    for place, k in enumerate(ks):
        for at, one in enumerate(scores):
            points = list(found[at].curve)
            points[place] = whole_point(task.lm, task.target, one.top(k), points[place], around, before, n_candidates)
            found[at] = Measured(one, tuple(points))
            yield (place * len(scores) + at + 1) / (len(ks) * len(scores)), f"{one.method}: the best {k} off", tuple(found)
