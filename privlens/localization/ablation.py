"""Zero-out: what the value's log-probability falls by when one neuron alone is off, exactly, for every neuron.

f(1) - f(g_i = 0), nats: a forward pass for every neuron, many of them in a batch because the gate has a row per example. The
gate acts on the prompt too, so nothing of the prompt can be computed once for all.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import LOGITS_AT_ONCE, TOKENS_AT_ONCE
from privlens.localization.gradients import value_under
from privlens.localization.task import Task
from privlens.types import LocalizationStep


def rows_at_once(lm: LanguageModel, n_tokens: int, n_gates: int) -> int:
    """Rows that keep tokens, logits and gates of one batch within bounds; at least one."""
    vocabulary = lm.n_vocabulary
    return max(1, min(TOKENS_AT_ONCE // n_tokens, LOGITS_AT_ONCE // (n_tokens * vocabulary), LOGITS_AT_ONCE // n_gates))


def zero_out(task: Task) -> Iterator[LocalizationStep]:
    """One step a batch of neurons. Raises Cancelled before the next batch when `task.stop` said so."""
    lm, shape = task.lm, task.lm.shape(task.site)
    encoded, n_gates = lm.encode(task.target), shape[0] * shape[1]
    with torch.no_grad():
        all_on = value_under(lm, encoded, torch.ones(1, *shape, device=lm.device, dtype=torch.float32), task.site)

    def fall(batch: Sequence[int]) -> list[float]:
        off = torch.tensor(batch, device=lm.device)[:, None]
        gates = torch.ones(len(batch), n_gates, device=lm.device, dtype=torch.float32).scatter(1, off, 0.0)
        with torch.no_grad():
            return (all_on - value_under(lm, encoded, gates.view(-1, *shape), task.site)).tolist()

    batches = torch.arange(n_gates, device=lm.device).split(rows_at_once(lm, len(encoded.ids), n_gates))
    falls: list[float] = []
    for step, batch in enumerate(batches, start=1):
        task.go_on()
        falls += in_parts(fall, batch.tolist())
        result = None
        if step == len(batches):
            result = task.scores("zero-out", np.reshape(falls, shape), None, {})
        stage = "switching one neuron off at a time"
        yield LocalizationStep(step, len(batches), stage, np.ones(shape, np.float32), 0, float("nan"), {}, result)
