"""What methods share that close as few gates as a depth needs: whether it is reached, how few do it, and what that costs."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from privlens.lm.memory import in_parts
from privlens.localization.goal import Goal
from privlens.localization.task import Task
from privlens.retained.distributions import ReferenceDistributions

TRIED = 12
"""Numbers of neurons tried in one pass when the fewest that reach a depth are looked for."""
MEASURED_ROWS = 32
"""Retained rows that a price is measured on, at most; one measurement costs about as much as a step of a mask."""


@torch.no_grad()
def reached(task: Task, goals: Sequence[Goal], gates: Tensor) -> Tensor:
    """Whether goals for one value are met under each row of gates [rows, n_layers, width]; [rows, goals] bool."""
    lm, ids = task.lm, list(goals[0].encoded.ids)

    def met(rows: Sequence[int]) -> list[Tensor]:
        with lm.gated(gates[list(rows)], task.site):
            logits = lm.logits(*lm.padded([ids] * len(rows)))
        under = [[goal.under(task, gates[row, None]) for goal in goals] for row in rows]
        return [torch.stack([goal.met(of_row) for goal in here]) for here, of_row in zip(under, logits, strict=True)]

    return torch.stack(in_parts(met, range(len(gates))))


@torch.no_grad()
def price(task: Task, kept: ReferenceDistributions, gates: Tensor) -> float:
    """KL on retained text under these gates [1, n_layers, width], nats/token."""
    lm, every = task.lm, max(1, len(kept.ids) // MEASURED_ROWS)

    def divergence(rows: Sequence[int]) -> list[Tensor]:
        batch = kept.batch(torch.tensor(rows, device=lm.device))
        with lm.gated(gates, task.site):
            return list(batch.divergence(lm.logits(batch.ids, batch.mask)))

    return float(torch.stack(in_parts(divergence, range(0, len(kept.ids), every))).mean())


def first(order: Tensor, ns: Sequence[int], n_gates: int) -> Tensor:
    """The first of an order of some of n_gates indices, for each of some numbers: [len(ns), n_gates] bool."""
    chosen = torch.zeros(len(ns), n_gates, dtype=torch.bool, device=order.device)
    chosen[:, order] = torch.arange(len(order), device=order.device) < torch.tensor(ns, device=order.device)[:, None]
    return chosen


def fewest(is_reached: Callable[[list[int]], Tensor], most: int) -> int | None:
    """The smallest number up to `most` for which it holds, found by narrowing a grid; None if it holds for none of the grid.

    Args:
        is_reached: some numbers -> a bool for each. It is taken to hold for all numbers above one for which it does.
    """
    grid = np.unique(np.geomspace(1, most, TRIED).round().astype(int)).tolist() if most else []
    low, high = 0, most + 1
    while grid:
        reaching = [n for n, holds in zip(grid, is_reached(grid).tolist(), strict=True) if holds]
        high = min(reaching, default=high)
        low = max((n for n in grid if n < high), default=low)
        grid = np.unique(np.linspace(low + 1, high - 1, min(TRIED, high - low - 1)).round().astype(int)).tolist()
    return high if high <= most else None
