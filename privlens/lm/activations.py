"""Activations of neurons and inputs of MLPs in a forward pass, and second moments of both. No hook outlives a call."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from privlens.errors import Cancelled
from privlens.lm.gating import hooked
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.types import Site


def read(lm: LanguageModel, rows: Sequence[Sequence[int]], reduce: Callable[[Tensor], Tensor], site: Site = "mlp") -> Tensor:
    """reduce(activations) of every layer from one forward pass, [rows, n_layers, ...], without gradients.

    Args:
        rows: token ids, padded on the right. reduce: [rows, tokens, width] -> [rows, ..., width], so that only the result is
            kept; neurons that a layer narrower than the widest does not have are 0.
    """
    ids, mask = lm.padded(rows)
    parts = lm.layout.parts(site)
    reduced: list[list[Tensor]] = [[] for _ in parts]

    def hook(part: int) -> Any:
        def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            reduced[part].append(reduce(inputs[0].view(*ids.shape, -1)))  # some layers flatten batch and tokens

        return lambda _: record

    with lm.held(), torch.no_grad(), ExitStack() as stack:
        for part, projections in enumerate(parts):
            stack.enter_context(hooked(projections, hook(part)))
        lm.logits(ids, mask)
    return torch.cat([_stack_layers(lm, layers) for layers in reduced], dim=-1)


def _stack_layers(lm: LanguageModel, layers: Sequence[Tensor]) -> Tensor:
    """Layers of [rows, ..., width] as [rows, n_layers, ..., widest], padded with 0 where a layer is narrower."""
    widest = max(layer.shape[-1] for layer in layers)
    return torch.stack([nn.functional.pad(layer.to(lm.device), (0, widest - layer.shape[-1])) for layer in layers], dim=1)


def visit(lm: LanguageModel, rows: Sequence[Sequence[int]], seen: Callable[[int, Tensor], None]) -> None:
    """Calls seen(layer, activations [rows, tokens, width]) for the MLP neurons of every layer in one forward pass.

    Without gradients. Rows are token ids, padded on the right; activations at padding mean nothing.
    """
    ids, mask = lm.padded(rows)

    def hook(layer: int) -> Any:
        def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen(layer, inputs[0].view(*ids.shape, -1))  # some layers flatten batch and tokens

        return record

    with lm.held(), torch.no_grad(), hooked(lm.layout.mlp, hook):
        lm.logits(ids, mask)


ROWS_AT_ONCE = 32
"""Rows in one forward pass: more need more memory, fewer more passes. Where memory runs out there are fewer by themselves."""


def mean_squares(lm: LanguageModel, rows: Sequence[Sequence[int]], stop: Stop = never_stop) -> list[Tensor]:
    """E[a^2] of every MLP neuron over all tokens of the rows (ids): a [width] for each layer, float32.

    Raises:
        Cancelled: if `stop` returned True.
    """
    return _mean_over_tokens(lm, rows, lm.layout.mlp, lambda _, activations: activations.square().sum(0), stop)


def second_moments(
    lm: LanguageModel, rows: Sequence[Sequence[int]], neurons: Sequence[Tensor], stop: Stop = never_stop
) -> list[Tensor]:
    """E[a a^T] over all tokens of the rows, for some MLP neurons (indices) of each layer: an [n, n] for each layer, float32.

    Raises:
        Cancelled: if `stop` returned True.
    """

    def products(layer: int, activations: Tensor) -> Tensor:
        selected = activations[:, neurons[layer].to(activations.device)]
        return selected.T @ selected

    return _mean_over_tokens(lm, rows, lm.layout.mlp, products, stop)


def input_second_moments(lm: LanguageModel, rows: Sequence[Sequence[int]], stop: Stop = never_stop) -> list[Tensor]:
    """E[x x^T] of the inputs of each layer's MLP, over all tokens of the rows (ids): a [d, d] for each layer, float32.

    Raises:
        Cancelled: if `stop` returned True.
    """
    return _mean_over_tokens(lm, rows, _reading_projections(lm), lambda _, inputs: inputs.T @ inputs, stop)


def inputs(lm: LanguageModel, row: Sequence[int]) -> list[Tensor]:
    """The inputs of each layer's MLP at every token of one row (ids): a [tokens, d] for each layer, float32."""
    inputs_by_layer = _sum_over_tokens(lm, [row], _reading_projections(lm), lambda _, inputs: inputs)
    return [inputs_by_layer[layer] for layer in sorted(inputs_by_layer)]


def _reading_projections(lm: LanguageModel) -> list[nn.Module]:
    """The first input projection of each layer's MLP."""
    return [parts[0] for parts in lm.layout.mlp_inputs]


def _mean_over_tokens(
    lm: LanguageModel,
    rows: Sequence[Sequence[int]],
    projections: Sequence[nn.Module],
    summed: Callable[[int, Tensor], Tensor],
    stop: Stop,
) -> list[Tensor]:
    """For every layer the sum of `summed(layer, inputs of its projection [tokens, width])` over batches, per token."""
    totals: dict[int, Tensor] = {}
    for start in range(0, len(rows), ROWS_AT_ONCE):
        if stop():
            raise Cancelled("Stopped while reading the retained text; nothing was changed.")
        batch = rows[start : start + ROWS_AT_ONCE]
        for sums in in_parts(lambda part: [_sum_over_tokens(lm, part, projections, summed)], batch):
            for layer, layer_sum in sums.items():
                totals[layer] = totals.get(layer, 0) + layer_sum
    n_tokens = sum(map(len, rows))
    return [totals[layer] / n_tokens for layer in sorted(totals)]


def _sum_over_tokens(
    lm: LanguageModel,
    rows: Sequence[Sequence[int]],
    projections: Sequence[nn.Module],
    summed: Callable[[int, Tensor], Tensor],
) -> dict[int, Tensor]:
    """`summed(layer, inputs of its projection [tokens, width])` over all tokens of the rows, in one pass, by layer."""
    sums: dict[int, Tensor] = {}
    ids, mask = lm.padded(rows)
    is_token = mask.bool()

    def hook(layer: int) -> Any:
        def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            token_inputs = inputs[0].view(*is_token.shape, -1)[is_token.to(inputs[0].device)].float()
            sums[layer] = summed(layer, token_inputs).to(lm.device)

        return record

    with lm.held(), torch.no_grad(), hooked(projections, hook):
        lm.logits(ids, mask)
    return sums
