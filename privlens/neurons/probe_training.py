"""Linear probes and small MLPs in plain torch: one for each layer, all trained at once, each kept where it did best.

Every layer has parameters of its own, so training them together is the same as one after the other: the loss is the sum over
layers, and Adam treats every number alone. A part of the training items decides when a layer's probe was best.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from privlens.neurons.probe_records import ProbeKind


@dataclass(frozen=True)
class TrainingSettings:
    """How probes are trained."""

    kind: ProbeKind = "linear"
    hidden: int = 32
    """Units of an MLP probe."""
    steps: int = 300
    """The most steps, of all training items at once."""
    learning_rate: float = 0.01
    weight_decay: float = 0.1
    """Of AdamW. With fewer items than directions a linear probe fits anything; without decay it would."""
    validated: float = 0.2
    """The share of the training items that only decide when to stop."""
    every: int = 10
    """Steps between two looks at these."""
    patience: int = 8
    """Looks without an improvement in any layer that end the training."""


@dataclass(frozen=True, eq=False)
class TrainedProbes:
    """One probe for each layer.

    `weights` are [layers, in, out] and biases [layers, 1, out] in turn, `mean` and `scale` [layers, 1, d].
    """

    mean: Tensor
    scale: Tensor
    weights: tuple[Tensor, ...]

    def logits(self, states: Tensor) -> Tensor:
        """states [layers, n, d] -> [layers, n, classes]."""
        return _forward((states - self.mean) / self.scale, self.weights)

    def predicted(self, states: Tensor) -> Tensor:
        """The class of each state: [layers, n]."""
        return self.logits(states).argmax(-1)


def _forward(inputs: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    hidden = inputs
    for index in range(0, len(weights), 2):
        hidden = torch.baddbmm(weights[index + 1], hidden, weights[index])
        if index + 2 < len(weights):
            hidden = hidden.relu()
    return hidden


def _drawn(layers: int, sizes: list[int], generator: torch.Generator, device: torch.device) -> tuple[Tensor, ...]:
    """Weights of variance 1 / inputs, and biases of 0."""
    weights: list[Tensor] = []
    for n_in, n_out in pairwise(sizes):
        weights.append(torch.randn(layers, n_in, n_out, generator=generator, dtype=torch.float32).to(device) / n_in**0.5)
        weights.append(torch.zeros(layers, 1, n_out, device=device, dtype=torch.float32))
    return tuple(weight.requires_grad_() for weight in weights)


def train(states: Tensor, labels: Tensor, n_classes: int, settings: TrainingSettings, seed: int) -> TrainedProbes:
    """Trains a probe for each layer.

    Args:
        states: [layers, n, d] float32. labels: [n] int64, from 0. seed: of the initial weights and the items that are validated
            on.
    """
    generator = torch.Generator().manual_seed(seed)
    layers, n, width = states.shape
    order = torch.randperm(n, generator=generator).to(states.device)
    n_validated = min(n - 1, round(settings.validated * n))
    validated, fitted = order[:n_validated], order[n_validated:]
    mean, scale = states.mean(1, keepdim=True), states.std(1, keepdim=True, correction=0).clamp_min(1e-6)
    inputs = (states - mean) / scale
    sizes = [width, n_classes] if settings.kind == "linear" else [width, settings.hidden, n_classes]
    weights = _drawn(layers, sizes, generator, states.device)
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    best = [weight.detach().clone() for weight in weights]
    lowest = torch.full((layers,), torch.inf, device=states.device, dtype=torch.float32)
    n_without = 0
    for step in range(settings.steps + 1):
        if step % settings.every == 0:
            looked_at = validated if n_validated else fitted
            with torch.no_grad():
                losses = _losses(_forward(inputs[:, looked_at], weights), labels[looked_at])
            improved = losses < lowest
            lowest = torch.where(improved, losses, lowest)
            for kept, weight in zip(best, weights, strict=True):
                kept[improved] = weight.detach()[improved]
            n_without = 0 if bool(improved.any()) else n_without + 1
            if n_without >= settings.patience:
                break
        optimizer.zero_grad()
        _losses(_forward(inputs[:, fitted], weights), labels[fitted]).sum().backward()
        optimizer.step()
    return TrainedProbes(mean, scale, tuple(best))


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of every layer, [layers], nats."""
    by_item = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels.expand(logits.shape[:2]), reduction="none")
    return by_item.mean(1)
