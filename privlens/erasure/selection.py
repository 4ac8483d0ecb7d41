"""Which weights an erasure may change: the best k of a metric, over the whole model or in every parameter alike.

The contrastive gradient metric of EMSO (Zhang et al. 2024, arXiv 2408.04983; the formula is ours, not read in the paper): g_E is
the gradient of the loss that is to fall, g_M that of the NLL on the same texts, and a weight's score is -g_E * g_M, large
where a step that raises the entropy raises the NLL too. Controls at equal k: |g_E| alone, sign agreement alone, and chance, which
draws as many in every layer or matrix as the metric chose there, so that only which ones they are is left to chance.

Takes the memory of two gradients of the parameters that are asked about.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from privlens.erasure.preconditioner import DAMPING
from privlens.errors import BadInput

WeightMetric = Literal["contrastive", "magnitude", "sign", "random"]
Granularity = Literal["neuron", "global", "matrix"]
"""Whole output vectors of MLP neurons, or single weights: ranked over the whole model, or in every matrix alike."""
Gradient = Callable[[], dict[str, Tensor]]
"""The gradient of something over all forget texts, by parameter; parameters without one are left out."""


def contrastive(g_loss: Tensor, g_nll: Tensor) -> Tensor:
    """-g_E * g_M where that is positive, else 0; any shape."""
    return (-g_loss * g_nll).clamp_min(0)


def scores(loss: Gradient, nll: Gradient, metric: WeightMetric, generator: torch.Generator) -> dict[str, Tensor]:
    """A score for every weight that has a gradient, >= 0; 0 is never chosen. For `random` those whose numbers it is to copy.

    Args:
        loss, nll: the gradients of the loss that is to fall and of the forget texts' NLL.
    """

    def drawn(like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=generator, dtype=torch.float32).clamp_min(1e-6).to(like.device)

    found = loss()
    if metric == "magnitude":
        return {name: gradient.abs() for name, gradient in found.items()}
    agree = {name: contrastive(found.pop(name), gradient) for name, gradient in nll().items()}
    return {name: drawn(one) * (one > 0) for name, one in agree.items()} if metric == "sign" else agree


def best(scored: Mapping[str, Tensor], k: int, spread: Granularity) -> dict[str, Tensor]:
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
        highest = torch.empty(0, dtype=torch.float32)
        for score in scored.values():
            own = score.flatten().topk(min(k, score.numel())).values.cpu()
            highest = torch.cat([highest, own]).topk(min(k, len(highest) + len(own))).values
        least = float(highest[-1])
        found = {name: ((score >= least) & (score > 0)).flatten().nonzero()[:, 0] for name, score in scored.items()}
    found = {name: places for name, places in found.items() if len(places)}
    if not found:
        raise BadInput("No weight takes part in what is to be forgotten: is the secret memorized at all?")
    return found


def best_neurons(scored: Sequence[Tensor], used: Sequence[Tensor] | None, k: int) -> list[Tensor]:
    """The k neurons of the whole model with the highest scores: their indices for every layer, ascending.

    Args:
        scored: for every layer a score for each neuron, >= 0; 0 is never chosen.
        used: how strongly retained text uses the neurons, E[a^2]; a score counts by what a change costs there.

    Raises:
        BadInput: for k below 1, or no positive score.
    """
    if used is not None:
        scored = [score / (use / use.mean().clamp_min(1e-12) + DAMPING) for score, use in zip(scored, used, strict=True)]
    by_layer = {str(layer): score for layer, score in enumerate(scored)}
    found = best(by_layer, k, "global")
    return [found.get(layer, torch.empty(0, dtype=torch.long, device=score.device)) for layer, score in by_layer.items()]


def drawn_like(chosen: Sequence[Tensor], sizes: Sequence[int], generator: torch.Generator) -> list[Tensor]:
    """As many places in each part as were chosen there, but drawn evenly from all of it, ascending.

    Args:
        chosen: places in every part. sizes: how many places each part has.
    """
    return [
        torch.randperm(size, generator=generator)[: len(own)].sort().values.to(own.device)
        for own, size in zip(chosen, sizes, strict=True)
    ]


def _top(score: Tensor, k: int) -> Tensor:
    top = score.flatten().topk(min(k, score.numel()))
    return top.indices[top.values > 0].sort().values
