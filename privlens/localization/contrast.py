"""What retained texts need, by any score of rows: subtracted from the target's own, it leaves what the target needs alone.

Costs a score of every retained row (some 50 by default), so it is offered only where one pass scores many rows: gradients
and activations. Zero-out and integrated gradients would cost 50 times what the target alone does.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from privlens.localization.task import Task
from privlens.models.memory import in_parts
from privlens.models.text import Encoded

SAMPLES, SAMPLE_TOKENS = 32, 24
"""Samples of the model's own that are retained beside the listed texts, and their tokens at most."""
RowScores = Callable[[Sequence[Encoded]], Tensor]
"""Scores of several rows at once, [rows, n_layers, width]; large = the row needs the neuron."""


def needed(task: Task, rows: Sequence[Sequence[int]], scores_of: RowScores, at_once: int = 16) -> Tensor:
    """Mean positive score of the retained rows, all tokens but the first of each: what closing would cost. [n_layers, width]."""
    total = torch.zeros(task.lm.shape(task.site), device=task.lm.device, dtype=torch.float32)
    for at in range(0, len(rows), at_once):
        task.go_on()
        batch = [Encoded(tuple(row), 1) for row in rows[at : at + at_once]]
        total += torch.stack(in_parts(lambda part: list(scores_of(part).clamp_min(0)), batch)).sum(0)
    return total / max(1, len(rows))
