"""Which method is right? Several methods on one secret: their scores, and what switching off the best k of each does.

Every method is held against `random`, which is always among them. All are judged on the same text: other secrets that no
method was given as retained text, and the beginning of the reference. What is compared of the scores alone (overlap of the
best k, recall of a plant) is computed from them for any k, without another localization; the effect is measured at a few k.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from privlens.deactivation import AllOn, Surroundings, all_on, curve
from privlens.errors import BadInput
from privlens.localization import Task
from privlens.localization.several import PARTS, localize_each
from privlens.outcomes import CurvePoint
from privlens.provenance import provenance
from privlens.records import NeuronScores, Provenance, Secret

SHARES = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
"""The effect is measured with these shares of all neurons off."""
PARAGRAPHS = 10
"""So many paragraphs of the reference are read; enough for a ratio of perplexities, and for as many measurements as here."""
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
        methods: in the order they were asked for, `random` last. provenance: seed, settings, seconds of the whole.
    """

    target: Secret
    retained: frozenset[Secret]
    before: AllOn
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


def common_k(scores: Sequence[NeuronScores]) -> int:
    """A k at which to look at several methods: as many as the first one closed that has an opinion, else one in a hundred."""
    own = next((one.natural_k for one in scores if one.natural_k), None)
    return own or max(1, round(COMMON_SHARE * scores[0].n_neurons))


def measured_ks(n_neurons: int) -> list[int]:
    """The k at which the effect is measured: SHARES of all neurons, at least 1."""
    return sorted({max(1, round(share * n_neurons)) for share in SHARES})


def compare_methods(methods: Sequence[str], task: Task, around: Surroundings) -> Iterator[MethodsStep]:
    """Localizes with every method and `random`, then measures the effect of the best k of each; a step for each.

    Args:
        task: the target and what methods may hold on to; its model, seed, site and stop serve all.
        around: what judges: other secrets, of which those that methods were given are left out, and reference text. Its site,
            seed and stop are the task's.

    Raises:
        BadInput: for no method. Cancelled: when `task.stop` said so.
    """
    asked = [*(method for method in dict.fromkeys(methods) if method != FLOOR), FLOOR]
    if len(asked) == 1 and FLOOR not in methods:
        raise BadInput("No method was chosen: choose at least one.")
    started, ks = time.perf_counter(), measured_ks(sum(task.lm.widths(task.site)))
    unseen = tuple(other for other in around.others if other not in task.others and other != task.target)
    around = replace(
        around, others=unseen, reference=around.reference[:PARAGRAPHS], site=task.site, seed=task.seed, stop=task.stop
    )
    scores: tuple[NeuronScores, ...] = ()
    for step in localize_each([(method, task) for method in asked]):
        scores = step.scores
        yield MethodsStep(step.step, 2 * step.n_steps, step.stage, scores)
    before = all_on(task.lm, around)
    found = [Measured(one) for one in scores]

    def so_far() -> MethodComparison:
        settings = {
            "site": task.site, "methods": asked, "ks": ks, "n_retained": len(task.others), "n_unseen": len(before.known),
            "n_reference": len(around.reference),
        }  # fmt: skip
        how = provenance(task.lm, task.seed, settings, started)
        return MethodComparison(task.target, frozenset(task.others), before, tuple(found), how)

    half, n_points = PARTS * len(asked), len(asked) * len(ks)
    yield MethodsStep(half, 2 * half, "all neurons on", scores, so_far())
    for at, method in enumerate(asked):
        for point in curve(task.lm, task.target, [scores[at].top(k) for k in ks], around, before):
            found[at] = replace(found[at], curve=(*found[at].curve, point))
            done = (at * len(ks) + len(found[at].curve)) / n_points
            yield MethodsStep(half + round(half * done), 2 * half, f"{method}: the best {point.k} off", scores, so_far())
