"""HardConcrete gates (Louizos et al. 2018, Learning Sparse Networks through L0), and what masks of several kinds share."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from privlens.lm.memory import AdaptiveBatchSize

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
"""Temperature and stretch of the HardConcrete distribution, as in Louizos et al."""
TIE = 1e-3
"""How far a tie-breaker may move a score, before scores are rescaled to 0..1. With a larger one it would also
reorder gates that differ a little."""
Details = TypeVar("Details")


def sample_gates(log_alpha: Tensor, noise: Tensor) -> Tensor:
    """HardConcrete gates in 0..1 for uniform noise in (0, 1); any shape."""
    stretched = torch.sigmoid((noise.log() - (-noise).log1p() + log_alpha) / BETA)
    return (stretched * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def deterministic_gates(log_alpha: Tensor) -> Tensor:
    """The gates without noise, as they are used after training; any shape."""
    return (torch.sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def open_probability(log_alpha: Tensor) -> Tensor:
    """P(gate > 0); any shape."""
    return torch.sigmoid(log_alpha - BETA * float(np.log(-GAMMA / ZETA)))


def backward(gates: Tensor, at_once: AdaptiveBatchSize, loss: Callable[[Tensor, slice], tuple[Tensor, Details]]) -> list[Details]:
    """The backward pass of a loss that is a sum over the rows of gates, in as few parts as memory allows.

    Args:
        gates: [rows, ...], differentiable; gradients are passed on to what they depend on once, however many parts there are.
        loss: some rows of the gates, and their slice -> their part of the loss, and details of them to be returned. If memory
            runs out, it is called again for all rows.
    """
    leaf = gates.detach().requires_grad_()

    def run_parts(rows: int) -> list[Details]:
        leaf.grad = None
        details = []
        for start in range(0, len(leaf), rows):
            part_loss, part_details = loss(leaf[start : start + rows], slice(start, min(start + rows, len(leaf))))
            part_loss.backward()
            details.append(part_details)
        return details

    all_details = at_once.run(run_parts, len(leaf))
    gates.backward(leaf.grad)
    return all_details


def with_ties_broken(scores: Tensor, preferred: Tensor) -> Tensor:
    """Scores in 0..1, rescaled so that among equal ones the more preferred is the higher; still in 0..1, any shape.

    Args:
        preferred: of any sign and scale; all 0 if there is no preference.
    """
    largest = preferred.abs().max()
    tie_breaker = TIE * preferred / largest if largest > 0 else torch.zeros_like(scores)
    return ((scores + tie_breaker + TIE) / (1 + 2 * TIE)).clamp(0, 1)  # the clamp is against rounding alone
