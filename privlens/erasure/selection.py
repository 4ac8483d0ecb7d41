"""Which weights an erasure may change: the best k of a metric, over the whole model or the same share of every matrix.

The contrastive gradient metric of EMSO (Zhang et al. 2024, arXiv 2408.04983; the formula is ours, not read in the paper): g_E is
the gradient of the loss to minimize, g_M that of the NLL on the same texts, and a weight's score is -g_E * g_M, large where a
step that raises the entropy raises the NLL too. Controls at equal k: |g_E| alone, sign agreement alone, and random weights, drawn
in the same number from every layer or matrix as the metric chose there.

Takes the memory of two gradients of the parameters that are scored.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from privlens.erasure.preconditioner import DAMPING
from privlens.errors import BadInput

WeightMetric = Literal["contrastive", "magnitude", "sign", "random"]
Granularity = Literal["neuron", "global", "matrix"]
"""Whole output vectors of MLP neurons, or single weights: ranked over the whole model, or the same share of every matrix."""
Gradient = Callable[[], dict[str, Tensor]]
"""Returns a gradient over all forget texts, by parameter; parameters without one are left out."""


def contrastive(g_loss: Tensor, g_nll: Tensor) -> Tensor:
    """-g_E * g_M where that is positive, else 0; any shape."""
    return (-g_loss * g_nll).clamp_min(0)


def scores(loss: Gradient, nll: Gradient, metric: WeightMetric, generator: torch.Generator) -> dict[str, Tensor]:
    """A score for every weight that has a gradient, >= 0; 0 is never chosen. For `random`, the contrastive scores.

    Args:
        loss, nll: the gradients of the loss to minimize and of the forget texts' NLL.
    """

    def random_scores(like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=generator, dtype=torch.float32).clamp_min(1e-6).to(like.device)

    loss_gradients = loss()
    if metric == "magnitude":
        return {name: gradient.abs() for name, gradient in loss_gradients.items()}
    products = {name: contrastive(loss_gradients.pop(name), gradient) for name, gradient in nll().items()}
    if metric == "sign":
        return {name: random_scores(product) * (product > 0) for name, product in products.items()}
    return products


def best(scored: Mapping[str, Tensor], k: int, granularity: Granularity) -> dict[str, Tensor]:
    """Flat indices of the k highest scores, ascending, by parameter; parameters without any are left out.

    Args:
        k: over all parameters. granularity: `global` ranks all weights together, `matrix` gives each parameter the same share.

    Raises:
        BadInput: for k below 1, or no positive score.
    """
    if k < 1:
        raise BadInput("The share of weights asks for less than one weight: ask for more.")
    total = sum(score.numel() for score in scored.values())
    if granularity == "matrix":
        places = {name: _top(score, round(k * score.numel() / total)) for name, score in scored.items()}
    else:
        highest = torch.empty(0, dtype=torch.float32)
        for score in scored.values():
            top = score.flatten().topk(min(k, score.numel())).values.cpu()
            highest = torch.cat([highest, top]).topk(min(k, len(highest) + len(top))).values
        threshold = float(highest[-1])
        places = {name: ((score >= threshold) & (score > 0)).flatten().nonzero()[:, 0] for name, score in scored.items()}
    places = {name: indices for name, indices in places.items() if len(indices)}
    if not places:
        raise BadInput("No weight has a gradient on the secret to forget: check first whether the model has memorized it.")
    return places


def best_neurons(scored: Sequence[Tensor], used: Sequence[Tensor] | None, k: int) -> list[Tensor]:
    """The k neurons with the highest scores in the whole model: their indices for every layer, ascending.

    Args:
        scored: for every layer a score for each neuron, >= 0; 0 is never chosen.
        used: how strongly retained text uses the neurons, E[a^2]; scores are divided by it, damped. None leaves them unchanged.

    Raises:
        BadInput: for k below 1, or no positive score.
    """
    if used is not None:
        scored = [score / (use / use.mean().clamp_min(1e-12) + DAMPING) for score, use in zip(scored, used, strict=True)]
    by_layer = {str(layer): score for layer, score in enumerate(scored)}
    chosen = best(by_layer, k, "global")
    return [chosen.get(layer, torch.empty(0, dtype=torch.long, device=score.device)) for layer, score in by_layer.items()]


def random_indices_like(chosen: Sequence[Tensor], sizes: Sequence[int], generator: torch.Generator) -> list[Tensor]:
    """As many indices in each part as were chosen there, but drawn uniformly from the whole part, ascending.

    Args:
        chosen: indices in every part. sizes: how many entries each part has.
    """
    return [
        torch.randperm(size, generator=generator)[: len(indices)].sort().values.to(indices.device)
        for indices, size in zip(chosen, sizes, strict=True)
    ]


def _top(score: Tensor, k: int) -> Tensor:
    top = score.flatten().topk(min(k, score.numel()))
    return top.indices[top.values > 0].sort().values
