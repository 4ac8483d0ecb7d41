"""Several localizations in sequence: many methods on one secret, or one method on many secrets."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from privlens.localization import Task, method_of
from privlens.types import NeuronScores

PARTS = 20
"""Steps of progress per localization, since methods differ in how many steps they have."""


@dataclass(frozen=True, eq=False)
class SeveralStep:
    """Progress of several localizations; `scores` are those finished so far, in the order of the jobs."""

    step: int
    n_steps: int
    stage: str
    scores: tuple[NeuronScores, ...]


def localize_each(jobs: Sequence[tuple[str, Task]]) -> Iterator[SeveralStep]:
    """Runs each (method, task) to its end; the last step has all scores.

    Raises:
        Cancelled: when a task's `stop` returns true.
    """
    done: list[NeuronScores] = []
    n_steps = PARTS * len(jobs)
    for index, (method, task) in enumerate(jobs):
        stage = f"{method} ({index + 1} of {len(jobs)})"
        yield SeveralStep(PARTS * index, n_steps, stage, tuple(done))
        for step in method_of(method)(replace(task, started=time.perf_counter())):
            if step.result is not None:
                done.append(step.result)
            part = round(PARTS * step.step / max(1, step.n_steps)) if step.result is None else PARTS
            yield SeveralStep(PARTS * index + part, n_steps, stage, tuple(done))
