"""Reads what neurons hold while rows run through the model, and changes nothing; the hooks are gone with the reading."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from privlens.models.gates import hooked
from privlens.models.language_model import LanguageModel
from privlens.records import Site


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
