"""Stepwise closing: a few neurons at a time (closing.py) until the value is deep enough, then exchange (exchange.py)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from privlens.localization.closing import Closing, n_closed_after
from privlens.localization.exchange import ROUNDS, ending
from privlens.localization.goal import goal
from privlens.localization.task import Task
from privlens.retained.distributions import reference_distributions
from privlens.types import LocalizationStep, NeuronScores


@dataclass(frozen=True)
class StepwiseSettings:
    """Settings of the closing; `depth` and `hold` as for the mask. The rates were chosen on `demo` and on a model of another
    recipe (two layers of natural names), four targets of seed 100 each."""

    depth: str = "1000000"
    hold: float = 0.03
    growth: float = 0.2
    """Neurons closed by a step, as a share of those that are closed; two at least."""
    most: float = 0.25
    """Neurons closed at most, as a share of all."""
    own_samples: int = 64
    sample_tokens: int = 24
    rows: int = 24
    """Retained rows that a step's KL is measured on."""
    rounds: int = ROUNDS
    """Of exchange, at most; 0 leaves the neurons as they closed."""


def begin(task: Task, settings: StepwiseSettings) -> Closing:
    """All gates open. Raises BadInput for a depth that does not exist."""
    lm = task.lm
    aim = goal(task, settings.depth)
    rows = task.retained_rows(settings.own_samples, settings.sample_tokens)
    exists = lm.exists(task.site).to(lm.device)
    return Closing(
        task=task,
        goal=aim,
        retained=rows,
        kept=reference_distributions(task.lm, rows),
        exists=exists,
        order=torch.empty(0, dtype=torch.long, device=lm.device),
        worth=torch.zeros(exists.shape, device=lm.device, dtype=torch.float32),
        generator=torch.Generator().manual_seed(task.seed),
        growth=settings.growth,
        most=max(1, round(settings.most * int(exists.sum()))),
        rows=settings.rows,
    )


def n_steps_to(most: int, growth: float) -> int:
    """How many steps close as many as may be closed."""
    n_closed, n_steps = 0, 0
    while n_closed < most:
        n_closed, n_steps = n_closed_after(n_closed, growth, most), n_steps + 1
    return n_steps


def stepwise(task: Task, settings: StepwiseSettings = StepwiseSettings()) -> Iterator[LocalizationStep]:
    """Closes neurons, one record per step; the last one has as few off as the depth needs.

    The provenance says whether the depth was reached (`deep`) and its price (`price`, nats/token).

    Raises:
        Cancelled: before the next step when `task.stop` returns true; the model is unchanged.
        BadInput: for a depth that does not exist.
    """
    ones = np.ones(task.lm.shape(task.site), np.float32)
    yield LocalizationStep(0, 1, "reading the retained text", ones, 0, float("nan"))
    closing = begin(task, settings)
    n_steps, step, terms = n_steps_to(closing.most, settings.growth), 1, dict[str, float]()
    for nll, terms in closing.deepen():
        yield closing.record(step, n_steps, "closing neurons, often done early", nll, terms)
        step += 1

    def result(outcome: dict[str, Any]) -> NeuronScores:
        provenance = {**asdict(settings), "retained": len(closing.kept.ids), **outcome}
        return task.scores("stepwise", closing.scores(), len(closing.order), provenance)

    yield from ending(closing, settings.rounds, step, terms, result)
