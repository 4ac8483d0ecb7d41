"""What neurons hold and what MLPs read while rows run through the model, and second moments of both. No hook outlives a call."""

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


def read(lm: LanguageModel, rows: Sequence[Sequence[int]], of: Callable[[Tensor], Tensor], site: Site = "mlp") -> Tensor:
    """One forward pass; of(a layer's activations) for every layer, [rows, n_layers, ...], without gradients.

    Args:
        rows: token ids, padded on the right. of: [rows, tokens, width] -> [rows, ..., width], so that only that is kept; what a
            layer narrower than the widest does not have is 0.
    """
    ids, mask = lm.padded(rows)
    parts = lm.layout.parts(site)
    found: list[list[Tensor]] = [[] for _ in parts]

    def hook(part: int) -> Any:
        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found[part].append(of(inputs[0].view(*ids.shape, -1)))  # some layers flatten batch and tokens

        return lambda _: look

    with lm.held(), torch.no_grad(), ExitStack() as stack:
        for part, projections in enumerate(parts):
            stack.enter_context(hooked(projections, hook(part)))
        lm.logits(ids, mask)
    return torch.cat([_stacked(lm, own) for own in found], dim=-1)


def _stacked(lm: LanguageModel, layers: Sequence[Tensor]) -> Tensor:
    """Layers of [rows, ..., width] as [rows, n_layers, ..., widest]; 0 where a layer is narrower."""
    widest = max(one.shape[-1] for one in layers)
    return torch.stack([nn.functional.pad(one.to(lm.device), (0, widest - one.shape[-1])) for one in layers], dim=1)


ROWS_AT_ONCE = 32


def mean_squares(lm: LanguageModel, rows: Sequence[Sequence[int]], stop: Stop = never_stop) -> list[Tensor]:
    """E[a^2] of every MLP neuron over all tokens of the rows (ids): a [width] for each layer, float32.

    Raises:
        Cancelled: when `stop` said so.
    """
    return _means(lm, rows, lm.layout.mlp, lambda _, activations: activations.square().sum(0), stop)


def second_moments(
    lm: LanguageModel, rows: Sequence[Sequence[int]], neurons: Sequence[Tensor], stop: Stop = never_stop
) -> list[Tensor]:
    """E[a a^T] over all tokens of the rows, for some MLP neurons (indices) of each layer: an [n, n] for each layer, float32.

    Raises:
        Cancelled: when `stop` said so.
    """

    def products(layer: int, activations: Tensor) -> Tensor:
        own = activations[:, neurons[layer].to(activations.device)]
        return own.T @ own

    return _means(lm, rows, lm.layout.mlp, products, stop)


def input_second_moments(lm: LanguageModel, rows: Sequence[Sequence[int]], stop: Stop = never_stop) -> list[Tensor]:
    """E[x x^T] of what each layer's MLP reads, over all tokens of the rows (ids): a [d, d] for each layer, float32.

    Raises:
        Cancelled: when `stop` said so.
    """
    return _means(lm, rows, _reading(lm), lambda _, read: read.T @ read, stop)


def inputs(lm: LanguageModel, row: Sequence[int]) -> list[Tensor]:
    """What each layer's MLP reads at every token of one row (ids): a [tokens, d] for each layer, float32."""
    found = _sums(lm, [row], _reading(lm), lambda _, read: read)
    return [found[layer] for layer in sorted(found)]


def _reading(lm: LanguageModel) -> list[nn.Module]:
    return [parts[0] for parts in lm.layout.mlp_inputs]


def _means(
    lm: LanguageModel,
    rows: Sequence[Sequence[int]],
    projections: Sequence[nn.Module],
    of: Callable[[int, Tensor], Tensor],
    stop: Stop,
) -> list[Tensor]:
    """For every layer the sum of `of(layer, inputs of its projection [tokens, width])` over batches, by the number of tokens."""
    found: dict[int, Tensor] = {}
    for at in range(0, len(rows), ROWS_AT_ONCE):
        if stop():
            raise Cancelled("Stopped while reading the retained text; nothing was changed.")
        for sums in in_parts(lambda part: [_sums(lm, part, projections, of)], rows[at : at + ROWS_AT_ONCE]):
            for layer, own in sums.items():
                found[layer] = found.get(layer, 0) + own
    n_tokens = sum(map(len, rows))
    return [found[layer] / n_tokens for layer in sorted(found)]


def _sums(
    lm: LanguageModel, rows: Sequence[Sequence[int]], projections: Sequence[nn.Module], of: Callable[[int, Tensor], Tensor]
) -> dict[int, Tensor]:
    """`of(layer, inputs of its projection [tokens, width])` of all tokens of the rows, in one pass, by layer."""
    found: dict[int, Tensor] = {}
    ids, mask = lm.padded(rows)
    real = mask.bool()

    def hook(layer: int) -> Any:
        def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            own = given[0].view(*real.shape, -1)[real.to(given[0].device)].float()
            found[layer] = of(layer, own).to(lm.device)

        return look

    with lm.held(), torch.no_grad(), hooked(projections, hook):
        lm.logits(ids, mask)
    return found
