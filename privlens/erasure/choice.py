"""Which weights an erasure may change: the best k of a metric, over the whole model or in every parameter alike.

The contrastive gradient metric of EMSO (Zhang et al. 2024, arXiv 2408.04983; the formula is ours, not read in the paper): g_E is
the gradient of the loss that is to fall, g_M that of the NLL on the same texts, and a weight's score is -g_E * g_M, large
where a step that raises the entropy raises the NLL too. Controls at equal k: |g_E| alone, sign agreement alone, chance.

Takes two backward passes and no more memory than one gradient of the model.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from privlens.erasure.weights import gradients
from privlens.errors import BadInput

Choice = Literal["contrastive", "magnitude", "sign", "random"]
Spread = Literal["global", "matrix"]
Backward = Callable[[], None]
"""Runs a forward and a backward pass."""


def contrastive(g_loss: Tensor, g_nll: Tensor) -> Tensor:
    """-g_E * g_M where that is positive, else 0; any shape."""
    return (-g_loss * g_nll).clamp_min(0)


def scores(
    parameters: Mapping[str, nn.Parameter], loss: Backward, nll: Backward, metric: Choice, generator: torch.Generator
) -> dict[str, Tensor]:
    """A score for every weight of these parameters, >= 0; 0 is never chosen. Within `lm.held()`.

    Args:
        loss, nll: backward passes of the loss that is to fall and of the forget texts' NLL.
    """

    def drawn(like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=generator).clamp_min(1e-6).to(like.device)

    if metric == "random":
        return {name: drawn(weight) for name, weight in parameters.items()}
    found: dict[str, Tensor] = {}

    def first(name: str, gradient: Tensor) -> None:
        found[name] = gradient.abs() if metric == "magnitude" else gradient.clone()

    def second(name: str, gradient: Tensor) -> None:
        agree = contrastive(found[name], gradient)
        found[name] = drawn(agree) * (agree > 0) if metric == "sign" else agree

    with gradients(parameters, first):
        loss()
    if metric != "magnitude":
        with gradients(parameters, second):
            nll()
    return found


def best(scored: Mapping[str, Tensor], k: int, spread: Spread) -> dict[str, Tensor]:
    """Flat places of the k highest scores, ascending, by parameter; parameters without any are left out.

    Args:
        k: over all parameters. spread: `global` ranks all weights together, `matrix` gives each parameter the same share.

    Raises:
        BadInput: for k below 1, or no positive score.
    """
    if k < 1:
        raise BadInput("The share of weights asks for less than one weight: ask for more.")
    total = sum(score.numel() for score in scored.values())
    if spread == "matrix":
        found = {name: _top(score, round(k * score.numel() / total)) for name, score in scored.items()}
    else:
        highest = torch.empty(0)
        for score in scored.values():
            own = score.flatten().topk(min(k, score.numel())).values.cpu()
            highest = torch.cat([highest, own]).topk(min(k, len(highest) + len(own))).values
        least = float(highest[-1])
        found = {name: ((score >= least) & (score > 0)).flatten().nonzero()[:, 0] for name, score in scored.items()}
    found = {name: places for name, places in found.items() if len(places)}
    if not found:
        raise BadInput("No weight takes part in what is to be forgotten: is the secret memorised at all?")
    return found


def _top(score: Tensor, k: int) -> Tensor:
    top = score.flatten().topk(min(k, score.numel()))
    return top.indices[top.values > 0].sort().values
