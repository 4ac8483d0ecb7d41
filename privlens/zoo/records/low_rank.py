"""Low-rank additions to linear layers: LoRA (Hu et al., 2022, arXiv 2106.09685), without dropout and without a library."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn


class LowRank:
    """A product of two thin matrices beside each linear layer: x W^T + x A^T B^T, where A is random at first and B is 0.

    Attributes:
        downs: A of each layer, [rank, inputs]. ups: B of each layer, [outputs, rank].
    """

    def __init__(self, layers: Sequence[nn.Linear], rank: int, seed: int) -> None:
        self.layers = layers
        generator = torch.Generator().manual_seed(seed)
        self.downs, self.ups = [], []
        for layer in layers:
            # Inputs of unit size are then of unit size in the thin middle as well.
            down = torch.randn(rank, layer.in_features, generator=generator, dtype=torch.float32) / math.sqrt(layer.in_features)
            self.downs.append(down.requires_grad_())
            self.ups.append(torch.zeros(layer.out_features, rank, dtype=torch.float32).requires_grad_())

    def parameters(self) -> list[Tensor]:
        """What is trained."""
        return [*self.downs, *self.ups]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, every layer's output has its addition; the weights are as they were."""
        with ExitStack() as stack:
            for layer, down, up in zip(self.layers, self.downs, self.ups, strict=True):
                hook = layer.register_forward_hook(_adding(down, up))
                stack.callback(hook.remove)
            yield

    @torch.no_grad()
    def merge(self) -> None:
        """Adds the products to the weights, for good."""
        for layer, down, up in zip(self.layers, self.downs, self.ups, strict=True):
            layer.weight += up @ down


def _adding(down: Tensor, up: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + inputs[0] @ down.T @ up.T

    return hook
