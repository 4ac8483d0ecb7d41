"""The one thing that is done to neurons: multiply them by a gate.

A forward pre-hook on every output projection multiplies its input; on leaving the hooks are gone and nothing else was
touched, so the model is restored bit for bit. Knows nothing of secrets or methods.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from privlens.errors import BadInput


def multiplied(hidden: Tensor, gate: Tensor) -> Tensor:
    """Input of a projection times its gates.

    Args:
        hidden: [batch, tokens, width], or [batch * tokens, width] for layers that flatten.
        gate: [rows, width]; one row serves the whole batch, else a row per row of the batch.
    """
    gate = gate.to(hidden.device, hidden.dtype)
    if gate.shape[0] == 1:
        return hidden * gate
    if hidden.ndim == 2:
        if hidden.shape[0] % gate.shape[0]:
            raise BadInput(f"{gate.shape[0]} rows of gates do not fit a batch of {hidden.shape[0]} tokens.")
        return (hidden.view(gate.shape[0], -1, hidden.shape[1]) * gate[:, None]).view_as(hidden)
    if hidden.shape[0] != gate.shape[0]:
        raise BadInput(f"{gate.shape[0]} rows of gates were given for a batch of {hidden.shape[0]}; give one row, or as many.")
    return hidden * gate[:, None]


@contextmanager
def hooked(projections: Sequence[nn.Module], hook: Callable[[int], Any]) -> Iterator[None]:
    """Inside, hook(layer) is the forward pre-hook of that layer's projection; on leaving all are gone, whatever was raised."""
    handles = []
    try:
        for layer, projection in enumerate(projections):
            handles.append(projection.register_forward_pre_hook(hook(layer)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def gated(projections: Sequence[nn.Module], gates: Tensor) -> Iterator[None]:
    """Inside, layer l's neurons are multiplied by gates[:, l]; differentiable with respect to the gates.

    Args:
        projections: the output projections, one a layer.
        gates: [rows, n_layers, width], any float; 1 leaves a neuron as it is, 0 switches it off.

    Raises:
        BadInput: where the gates do not fit the projections or, inside, the batch.
    """
    if gates.ndim != 3 or gates.shape[1] != len(projections):
        raise BadInput(f"Gates must be [rows, {len(projections)}, width], but are {list(gates.shape)}.")

    def hook(layer: int) -> Any:
        def multiply(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (multiplied(inputs[0], gates[:, layer]), *inputs[1:])

        return multiply

    with hooked(projections, hook):
        yield


def off(shape: tuple[int, int], neurons: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Gates [1, n_layers, width] of ones, with zeros at the neurons (layer, index).

    Raises:
        BadInput: naming the first neuron that the model does not have.
    """
    gates = torch.ones(1, *shape, device=device)
    for layer, index in neurons:
        if not (0 <= layer < shape[0] and 0 <= index < shape[1]):
            raise BadInput(f"There is no neuron {index} in layer {layer}: this model has {shape[0]} layers of {shape[1]}.")
        gates[0, layer, index] = 0.0
    return gates
