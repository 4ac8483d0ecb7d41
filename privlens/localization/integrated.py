"""Integrated gradients over the gates, the attribution of DEPN (Wu et al., EMNLP 2023, arXiv 2310.20138).

For one layer and one token y_t of the value, the layer's neurons are scaled together by alpha at ONE position, the one that
predicts y_t; all other positions and layers are unchanged. The attribution of a neuron is the sum over the value's tokens of the
mean over alpha in 0..1 of dP(y_t | prompt, y_<t) / dgate: the probability and not its logarithm, layer by layer. Summed over a
layer it converges to sum_t P(y_t; 1) - P(y_t; 0) as the number m of points grows. The points are the midpoints of m equal parts,
where the error falls with 1/m^2; DEPN takes their ends, 1/m, 2/m ... 1, where it falls with 1/m.

Nothing before the gated position depends on the gate, so one plain pass over the text serves all tokens, steps and layers, and
a pass with gates runs one copy of a token for every pair of token and step, from the gated layer on (lm/restart.py). For an
architecture that cannot restart there, captum computes the same with gates on whole passes; it is also the oracle of the tests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel
from privlens.lm.restart import PlainPass, plain_pass, run_from_layer
from privlens.lm.scoring import LOGITS_AT_ONCE
from privlens.lm.tokens import Encoded
from privlens.localization.task import Task
from privlens.types import LocalizationStep, Site

Rule = Literal["middle", "end"]
"""Where in its part of 0..1 a point of the integral is."""
CAPTUM: dict[Rule, str] = {"middle": "riemann_middle", "end": "riemann_right"}
COPIES_AT_ONCE = 512
"""Pairs of token and step in one pass: fewer take less memory and more passes."""


@dataclass(frozen=True)
class IntegralSettings:
    """`steps` is m, the points of the integral per layer and token; `rule` is where they are, "end" in DEPN."""

    steps: int = 20
    rule: Rule = "middle"


def points(steps: int, rule: Rule = "middle") -> list[float]:
    """The midpoints of m equal parts of 0..1, or their upper ends 1/m, 2/m ... 1."""
    return [(step + (0.5 if rule == "middle" else 1)) / steps for step in range(steps)]


def restarts(lm: LanguageModel, past: PlainPass, encoded: Encoded, layer: int) -> bool:
    """Whether the architecture can restart at a layer: the pass runs, and predicts the value's tokens as the plain pass does."""
    first = encoded.n_prompt - 1
    values = torch.tensor(encoded.value_ids, device=lm.device)
    positions = torch.arange(first, len(encoded.ids) - 1, device=lm.device)
    tolerance = torch.finfo(lm.dtype).eps ** 0.5

    def restarted_logprobs(copies: Sequence[int]) -> list[Tensor]:
        return list(run_from_layer(lm, past, positions[copies], layer).log_softmax(-1).gather(1, values[copies, None])[:, 0])

    try:
        with torch.no_grad():
            restarted = torch.stack(in_parts(restarted_logprobs, list(range(len(positions)))))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False  # raised by architectures that take no positions or no mask of this kind; captum needs neither
    plain = past.logits[first:].log_softmax(-1).gather(1, values[:, None])[:, 0]
    return torch.allclose(restarted, plain, rtol=tolerance, atol=tolerance)


def integral(
    lm: LanguageModel, past: PlainPass, encoded: Encoded, layer: int, alphas: Sequence[float], site: Site = "mlp"
) -> Tensor | None:
    """One layer's attributions by restarting at that layer. [width], probability.

    Args:
        past: the plain pass over all ids but the last. alphas: the points of the integral.

    Returns:
        None if the architecture cannot restart.
    """
    if not restarts(lm, past, encoded, layer):
        return None
    width = lm.shape(site)[1]
    steps = len(alphas)
    values = torch.tensor(encoded.value_ids, device=lm.device)
    positions = torch.arange(encoded.n_prompt - 1, len(encoded.ids) - 1, device=lm.device).repeat_interleave(steps)
    alpha = torch.tensor(alphas, dtype=torch.float32, device=lm.device).repeat(len(values))
    tokens = values.repeat_interleave(steps)
    at_once = max(1, min(COPIES_AT_ONCE, LOGITS_AT_ONCE // past.logits.shape[-1]))
    total = torch.zeros(width, device=lm.device, dtype=torch.float32)

    def add_gradients(copies: Sequence[int]) -> list[Tensor]:
        gates = alpha[copies, None].repeat(1, width).requires_grad_()
        with lm.held():
            with lm.gated(gates[None, None], site, layer):
                logits = run_from_layer(lm, past, positions[copies], layer)
            probabilities = logits.softmax(-1).gather(1, tokens[copies, None])[:, 0]
            total.add_(torch.autograd.grad(probabilities.sum(), gates)[0].sum(0))
        return list(probabilities.detach())

    for start in range(0, len(positions), at_once):
        in_parts(add_gradients, list(range(start, min(start + at_once, len(positions)))))
    return total / steps


def captum_integral(
    lm: LanguageModel, encoded: Encoded, layer: int, steps: int, site: Site = "mlp", rule: Rule = "middle"
) -> Tensor:
    """The same by captum, with gates on whole passes, for a value of ONE token. [width], probability.

    A value of several tokens is gated at all the positions that predict them together, and their probabilities are summed,
    which is not the sum over the tokens one by one.
    """
    ids = torch.tensor([encoded.ids[:-1]], device=lm.device)
    first = encoded.n_prompt - 1
    values = torch.tensor(encoded.value_ids, device=lm.device)

    def probability(gates: Tensor) -> Tensor:
        rows, n = len(gates), ids.shape[1]
        by_token = torch.cat([gates.new_ones(rows, first, gates.shape[1]), gates[:, None].expand(-1, n - first, -1)], 1)
        with lm.gated(by_token[:, None], site, layer):
            logits = lm.logits(ids.expand(rows, -1), torch.ones_like(ids).expand(rows, -1))
        return logits[:, first:].softmax(-1).gather(2, values.expand(rows, -1)[..., None]).sum((1, 2))

    at_once = max(1, LOGITS_AT_ONCE // (ids.shape[1] * lm.n_vocabulary))
    ones = torch.ones(1, lm.shape(site)[1], device=lm.device, dtype=torch.float32)
    integrated = IntegratedGradients(probability)
    with lm.held():
        attributions = integrated.attribute(ones, n_steps=steps, method=CAPTUM[rule], internal_batch_size=at_once)
    return attributions[0].detach()  # type: ignore[no-any-return]


def single_token_texts(encoded: Encoded) -> list[Encoded]:
    """Every token of the value by itself, with everything before it as its prompt."""
    return [Encoded(encoded.ids[: position + 1], position) for position in range(encoded.n_prompt, len(encoded.ids))]


def integrated_gradients(task: Task, settings: IntegralSettings = IntegralSettings()) -> Iterator[LocalizationStep]:
    """One record per layer. Scores are probabilities.

    Raises:
        Cancelled: before the next layer when `task.stop` returns true; the model is unchanged.
    """
    lm, site = task.lm, task.site
    encoded = lm.encode(task.target)
    shape = lm.shape(site)
    scores, open_gates = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    past = plain_pass(lm, encoded.ids[:-1])
    alphas = points(settings.steps, settings.rule)
    restarted = True
    for layer in range(shape[0]):
        layer_scores = integral(lm, past, encoded, layer, alphas, site) if restarted else None
        if layer_scores is None:
            restarted = False
            layer_scores = torch.zeros(shape[1], device=lm.device, dtype=torch.float32)
            for token in single_token_texts(encoded):
                task.go_on()
                layer_scores += captum_integral(lm, token, layer, settings.steps, site, settings.rule)
        task.go_on()
        scores[layer] = layer_scores.cpu().numpy()
        result = None
        if layer == shape[0] - 1:
            result = task.scores("integrated-gradients", scores, None, {**asdict(settings), "restarted": restarted})
        yield LocalizationStep(
            step=layer + 1,
            n_steps=shape[0],
            stage=f"layer {layer}",
            gates=open_gates,
            n_closed=0,
            target_nll=float("nan"),
            result=result,
        )
