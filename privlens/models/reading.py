"""Reads what neurons hold while rows run through the model, and changes nothing; the hooks are gone with the reading."""

from collections.abc import Callable, Sequence
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
    widest = lm.shape(site)[1]
    found: list[Tensor] = []

    def hook(_: int) -> Any:
        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found.append(of(inputs[0].view(*ids.shape, -1)))  # some layers flatten batch and tokens

        return look

    with lm.held(), torch.no_grad(), hooked(lm.layout.site(site), hook):
        lm.logits(ids, mask)
    return torch.stack([nn.functional.pad(one.to(lm.device), (0, widest - one.shape[-1])) for one in found], dim=1)
