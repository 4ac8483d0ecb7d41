"""Looks into the residual stream: what each layer would predict if it were the last (the logit lens), and the states themselves.

The final norm is found by structure: the one norm that stands beside the list of layers. Changes nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from privlens.models.language_model import LanguageModel
from privlens.models.text import Encoded


def final_norm(lm: LanguageModel) -> nn.Module:
    """The norm between the last layer and the unembedding; an identity where the model has none."""
    for parent in lm.model.modules():
        for child in parent.children():
            if isinstance(child, nn.ModuleList) and tuple(child) == lm.layout.layers:
                norms = [part for part in parent.children() if "norm" in type(part).__name__.lower()]
                return norms[-1] if norms else nn.Identity()
    return nn.Identity()


@contextmanager
def _listening(layers: tuple[nn.Module, ...], found: list[Tensor]) -> Iterator[None]:
    """Inside, what enters the first layer and what leaves every layer is added to `found`."""

    def enters(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        found.append(inputs[0])

    def leaves(_: nn.Module, __: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    handles = [layers[0].register_forward_pre_hook(enters), *(layer.register_forward_hook(leaves) for layer in layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def residuals(lm: LanguageModel, encoded: Encoded) -> Tensor:
    """The residual stream where each token of the value is predicted: [n_layers + 1, T, hidden], from the embeddings on."""
    found: list[Tensor] = []
    with lm.held(), torch.no_grad(), _listening(lm.layout.layers, found):
        lm.logits(*lm.padded([encoded.ids]))
    return torch.stack([one[0, encoded.n_prompt - 1 : -1].to(lm.device) for one in found])


def lens(lm: LanguageModel, encoded: Encoded) -> Tensor:
    """The first choice of every layer for each token of the value: ids [n_layers + 1, T], the last row the model's own."""
    norm, unembed = final_norm(lm), lm.model.get_output_embeddings()
    with lm.held(), torch.no_grad():
        return torch.stack([unembed(norm(layer)).argmax(-1) for layer in residuals(lm, encoded)])
