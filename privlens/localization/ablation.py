"""Zero-out: how much the value's log-probability falls when a single neuron is off, exactly, for every neuron.

f(1) - f(g_i = 0), nats: one forward pass per neuron, many neurons in a batch because gates have a row per example. The gate acts
on the prompt too, so the prompt cannot be cached.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import LOGITS_AT_ONCE, TOKENS_AT_ONCE
from privlens.localization.gradients import value_logprob_under
from privlens.localization.task import Task
from privlens.types import LocalizationStep


def rows_at_once(lm: LanguageModel, n_tokens: int, n_gates: int) -> int:
    """How many rows keep the tokens, logits and gates of a batch within their limits; at least one."""
    vocabulary = lm.n_vocabulary
    return max(1, min(TOKENS_AT_ONCE // n_tokens, LOGITS_AT_ONCE // (n_tokens * vocabulary), LOGITS_AT_ONCE // n_gates))


def zero_out(task: Task) -> Iterator[LocalizationStep]:
    """One step per batch of neurons. Raises Cancelled before the next batch when `task.stop` returns true."""
    lm, shape = task.lm, task.lm.shape(task.site)
    encoded = lm.encode(task.target)
    n_gates = shape[0] * shape[1]
    with torch.no_grad():
        logprob_all_on = value_logprob_under(lm, encoded, torch.ones(1, *shape, device=lm.device, dtype=torch.float32), task.site)

    def logprob_drop(batch: Sequence[int]) -> list[float]:
        off = torch.tensor(batch, device=lm.device)[:, None]
        gates = torch.ones(len(batch), n_gates, device=lm.device, dtype=torch.float32).scatter(1, off, 0.0)
        with torch.no_grad():
            return (logprob_all_on - value_logprob_under(lm, encoded, gates.view(-1, *shape), task.site)).tolist()

    batches = torch.arange(n_gates, device=lm.device).split(rows_at_once(lm, len(encoded.ids), n_gates))
    drops: list[float] = []
    for step, batch in enumerate(batches, start=1):
        task.go_on()
        drops += in_parts(logprob_drop, batch.tolist())
        result = None
        if step == len(batches):
            result = task.scores("zero-out", np.reshape(drops, shape), None, {})
        yield LocalizationStep(
            step=step,
            n_steps=len(batches),
            stage="switching one neuron off at a time",
            gates=np.ones(shape, np.float32),
            n_closed=0,
            target_nll=float("nan"),
            result=result,
        )
