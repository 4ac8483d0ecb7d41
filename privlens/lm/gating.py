"""Gates: neurons are multiplied by a factor, the only thing that is ever done to them.

A forward pre-hook on every output projection multiplies its input. On leaving, the hooks are removed and nothing else has
changed, so the model is restored bit for bit.
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from privlens.errors import BadInput
from privlens.types import Neuron


def multiplied(hidden: Tensor, gate: Tensor) -> Tensor:
    """The input of a projection, multiplied by its gates.

    Args:
        hidden: [batch, tokens, width], or [batch * tokens, width] for layers that flatten.
        gate: [rows, width], the same at every token, or [rows, tokens, width]; one row applies to the whole batch, otherwise
            there is one row per row of the batch.
    """
    gate = gate.to(hidden.device, hidden.dtype)
    by_token = gate if gate.ndim == 3 else gate[:, None]
    rows, tokens, width = by_token.shape
    if hidden.ndim == 2:
        if hidden.shape[0] % (rows * tokens):
            raise BadInput(f"{rows} rows of gates do not fit a batch of {hidden.shape[0]} tokens.")
        shaped = hidden.view(-1, tokens, width) if tokens > 1 else hidden.view(rows, -1, width)
        return (shaped * by_token).view_as(hidden)
    check_rows(gate, hidden.shape[0])
    if tokens not in (1, hidden.shape[1]):
        raise BadInput(
            f"Gates for {tokens} tokens were given for a text of {hidden.shape[1]}; give one set of gates for all tokens, or one "
            "for each."
        )
    return hidden * by_token


def check_rows(gates: Tensor | None, n_rows: int) -> None:
    """Raises BadInput if gates [rows, ...] have neither one row nor as many rows as the batch."""
    if gates is not None and gates.shape[0] not in (1, n_rows):
        raise BadInput(f"{gates.shape[0]} rows of gates were given for a batch of {n_rows}; give one row, or {n_rows}.")


@contextmanager
def hooked(projections: Sequence[nn.Module], hook: Callable[[int], Any]) -> Iterator[None]:
    """Inside, hook(layer) is the forward pre-hook of that layer's projection; on leaving all are removed, even after an error."""
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
        projections: the output projections, one per layer.
        gates: [rows, n_layers, width], any float; 1 leaves a neuron unchanged, 0 switches it off. Gates
            [rows, n_layers, tokens, width] differ from token to token, to act at single positions. A layer with fewer than
            `width` neurons uses only that many gates, the first ones.

    Raises:
        BadInput: if the gates do not fit the projections or, inside, the batch.
    """
    if gates.ndim not in (3, 4) or gates.shape[1] != len(projections):
        raise BadInput(f"Gates must be [rows, {len(projections)}, width], but are {list(gates.shape)}.")

    def hook(layer: int) -> Any:
        def multiply(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (multiplied(inputs[0], gates[:, layer, ..., : inputs[0].shape[-1]]), *inputs[1:])

        return multiply

    with hooked(projections, hook):
        yield


def off(widths: Sequence[int], neurons: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Gates [1, n_layers, max(widths)] of ones, with zeros at the neurons (layer, index); `widths` are those of the layers.

    Raises:
        BadInput: naming the first neuron that the model does not have.
    """
    gates = torch.ones(1, len(widths), max(widths), device=device, dtype=torch.float32)
    for layer, index in neurons:
        if not (0 <= layer < len(widths) and 0 <= index < widths[layer]):
            same_width = len(set(widths)) == 1
            layers = f"{len(widths)} layers of {widths[0]}" if same_width else f"layers of {', '.join(map(str, widths))}"
            raise BadInput(f"There is no neuron {index} in layer {layer}: this model has {layers}.")
        gates[0, layer, index] = 0.0
    return gates


def random_like(widths: Sequence[int], k: int, seed: int, besides: frozenset[Neuron] = frozenset()) -> tuple[Neuron, ...]:
    """The control: k different neurons drawn uniformly from all layers, of these widths, and none of `besides`.

    Raises:
        BadInput: if there are fewer.
    """
    n_others = sum(widths) - len(besides)
    if not 0 <= k <= n_others:
        raise BadInput(f"{k} neurons were asked for, but this model has {n_others}{' others' if besides else ''}.")
    ends = list(accumulate(widths))
    flat_indices = random.Random(seed).sample(range(sum(widths)), k + len(besides))
    layers = [bisect_right(ends, index) for index in flat_indices]
    drawn = (Neuron(layer, index - ends[layer] + widths[layer]) for layer, index in zip(layers, flat_indices, strict=True))
    return tuple(neuron for neuron in drawn if neuron not in besides)[:k]
