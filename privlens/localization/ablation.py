"""Zero-out: how much the value's log-probability falls when a single neuron is off, exactly, for every neuron.

f(1) - f(g_i = 0), nats: one forward pass per neuron, many neurons in a batch because gates have a row per example. The layers
below the neuron's own are the same for all and run once. The gate acts on the prompt too, so the prompt cannot be cached.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel
from privlens.lm.restart import PlainPass, plain_pass, run_rows_from_layer
from privlens.lm.scoring import LOGITS_AT_ONCE, TOKENS_AT_ONCE
from privlens.lm.tokens import Encoded
from privlens.localization.task import Task
from privlens.types import LocalizationStep, Site


def rows_at_once(lm: LanguageModel, n_tokens: int, n_gates: int) -> int:
    """How many rows keep the tokens, logits and gates of a batch within their limits; at least one."""
    vocabulary = lm.n_vocabulary
    return max(1, min(TOKENS_AT_ONCE // n_tokens, LOGITS_AT_ONCE // (n_tokens * vocabulary), LOGITS_AT_ONCE // n_gates))


def value_logprobs(logits: Tensor, encoded: Encoded) -> Tensor:
    """The value's summed log-probability in every row, from logits [rows, tokens of the value, V]; [rows], nats."""
    values = torch.tensor(encoded.value_ids, device=logits.device)
    return logits.log_softmax(-1).gather(2, values.expand(len(logits), -1)[..., None]).sum((1, 2))


def first_run_layer(lm: LanguageModel, past: PlainPass, encoded: Encoded, layer: int) -> int:
    """`layer` if a pass from there predicts the value as the plain pass does, else 0: from there nothing is left out."""
    n_values = len(encoded.value_ids)
    tolerance = torch.finfo(lm.dtype).eps ** 0.5
    try:
        with torch.no_grad():
            restarted = value_logprobs(run_rows_from_layer(lm, past, 1, layer, n_values), encoded)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return 0  # raised by architectures whose layers share more than the residual stream
    plain = value_logprobs(past.logits[None, -n_values:], encoded)
    return layer if torch.allclose(restarted, plain, rtol=tolerance, atol=tolerance) else 0


def logprobs_without(
    lm: LanguageModel, past: PlainPass, encoded: Encoded, layer: int, neurons: Sequence[int], site: Site, first: int
) -> list[float]:
    """The value's log-probability with each of these neurons of a layer off by itself, run from layer `first` on; nats."""
    off = torch.tensor(neurons, device=lm.device)[:, None]
    gates = torch.ones(len(neurons), lm.shape(site)[1], device=lm.device, dtype=torch.float32).scatter(1, off, 0.0)
    with torch.no_grad(), lm.gated(gates[:, None], site, layer):
        return value_logprobs(run_rows_from_layer(lm, past, len(neurons), first, len(encoded.value_ids)), encoded).tolist()


def zero_out(task: Task) -> Iterator[LocalizationStep]:
    """One step per batch of neurons of a layer. Raises Cancelled before the next batch when `task.stop` returns true."""
    lm, site, shape = task.lm, task.site, task.lm.shape(task.site)
    encoded = lm.encode(task.target)
    past = plain_pass(lm, encoded.ids[:-1])
    logprob_all_on = float(value_logprobs(past.logits[None, -len(encoded.value_ids) :], encoded))
    scores, open_gates = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    size = rows_at_once(lm, len(encoded.ids), shape[1])
    batches = [
        (layer, range(start, min(start + size, width)))
        for layer, width in enumerate(lm.widths(site))
        for start in range(0, width, size)
    ]
    first: dict[int, int] = {}
    for step, (layer, batch) in enumerate(batches, start=1):
        task.go_on()
        if layer not in first:
            first[layer] = first_run_layer(lm, past, encoded, layer)

        def without(neurons: Sequence[int], layer: int = layer) -> list[float]:
            return logprobs_without(lm, past, encoded, layer, neurons, site, first[layer])

        scores[layer, batch] = logprob_all_on - np.array(in_parts(without, batch))
        result = None
        if step == len(batches):
            result = task.scores("zero-out", scores, None, {})
        yield LocalizationStep(
            step=step,
            n_steps=len(batches),
            stage="switching one neuron off at a time",
            gates=open_gates,
            n_closed=0,
            target_nll=float("nan"),
            result=result,
        )
