"""Finds, by structure and not by name, the projections that write into the residual stream of a causal LM.

A neuron is one input of an MLP's output projection, so a gate on that input is all that is ever done to it. Works for
torch.nn.Linear and transformers' Conv1D, plain and gated MLPs. Knows nothing of tokens and changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from privlens.errors import UnsupportedModel
from privlens.lm.offload import compute_device
from privlens.types import Site


@dataclass(frozen=True)
class Layout:
    """The layers and their output projections, one a layer, of the MLPs and of the attention blocks (empty where none).

    `mlp_inputs`: the maps that each MLP reads by: one, or two in gated MLPs, or one of twice the width.
    """

    layers: tuple[nn.Module, ...]
    mlp: tuple[nn.Module, ...]
    attention: tuple[nn.Module, ...]
    mlp_inputs: tuple[tuple[nn.Module, ...], ...] = ()

    def site(self, site: Literal["mlp", "attention"]) -> tuple[nn.Module, ...]:
        """The projections of one site. Raises UnsupportedModel where the model has none of that kind."""
        found = self.mlp if site == "mlp" else self.attention
        if not found:
            raise UnsupportedModel(f"No {site} output projections were found in this model; choose the other site.")
        return found

    def parts(self, site: Site) -> tuple[tuple[nn.Module, ...], ...]:
        """The projections of a site by kind: one kind, or for `both` those of the MLPs and then those of attention.

        Raises:
            UnsupportedModel: where the model has none of a kind; for `both` where MLPs differ in width, since a layer's
                attention coordinates are counted on from its last neuron.
        """
        if site != "both":
            return (self.site(site),)
        if len({widths(projection)[0] for projection in self.mlp}) > 1:
            raise UnsupportedModel("The MLPs of this model differ in width; choose one site, mlp or attention.")
        return self.site("mlp"), self.site("attention")


def widths(projection: nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a linear map, however it stores its weight: quantized maps pack theirs."""
    if isinstance(projection, nn.Linear):
        return projection.in_features, projection.out_features
    rows, columns = projection.weight.shape  # type: ignore[misc]
    return int(rows), int(columns)


def output_vectors(projection: nn.Module) -> Tensor:
    """What each neuron writes into the residual stream, [inputs, outputs]: a view of the weight, however it is stored.

    Where the weight is quantized or not in the model, the projection itself is asked, one neuron after the other on.
    """
    weight: Tensor = projection.weight  # type: ignore[assignment]
    if is_plain(weight):
        return weight if isinstance(projection, Conv1D) else weight.T
    bias = getattr(projection, "bias", None)
    device, dtype = compute_device(projection), bias.dtype if bias is not None else torch.get_default_dtype()
    with torch.no_grad():
        ones = torch.eye(widths(projection)[0], device=device, dtype=dtype)
        found: Tensor = projection(ones) - projection(torch.zeros_like(ones[:1]))
    return found


def is_plain(weight: Tensor) -> bool:
    """Whether a weight is what it says: numbers, and here. Quantized ones are codes, offloaded ones are elsewhere."""
    return weight.is_floating_point() and weight.device.type != "meta"


def find_layout(model: PreTrainedModel) -> Layout:
    """Reads the layer list by its length and the projections by their widths.

    Raises:
        UnsupportedModel: naming what was looked for and not found.
    """
    config = model.config.get_text_config()
    n_layers, hidden = config.num_hidden_layers, config.hidden_size
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) == n_layers]
    for layers in lists:
        blocks = [_mlp(layer, hidden) for layer in layers]
        if all(blocks):
            attention = [_attention_output(layer, hidden) for layer in layers]
            found = tuple(part for part in attention if part is not None)
            return Layout(
                layers=tuple(layers),
                mlp=tuple(block[0] for block in blocks if block),
                attention=found if len(found) == n_layers else (),
                mlp_inputs=tuple(tuple(block[1:]) for block in blocks if block),
            )
    raise UnsupportedModel(
        f"{type(model).__name__} cannot be gated: looked for a list of {n_layers} layers, each with an MLP of linear maps "
        f"{hidden} -> width -> {hidden}. Choose a decoder with ordinary (not mixture-of-experts) MLPs."
    )


def _writers(layer: nn.Module, hidden: int) -> Iterator[tuple[nn.Module, list[nn.Module]]]:
    """Every map back to `hidden` in a layer with its sibling maps; the last of several siblings first."""
    for part in layer.modules():
        linear = [child for child in part.children() if isinstance(child, (nn.Linear, Conv1D))]
        for writer in reversed(linear):
            if widths(writer)[1] == hidden:
                yield writer, [other for other in linear if other is not writer]


def _mlp(layer: nn.Module, hidden: int) -> list[nn.Module]:
    """The widest map back to `hidden` whose siblings are one or two maps to its width, or one to twice its width; with them."""
    found: list[list[nn.Module]] = []
    for writer, siblings in _writers(layer, hidden):
        width = widths(writer)[0]
        read = [widths(sibling) for sibling in siblings]
        if read in ([(hidden, width)], [(hidden, width)] * 2, [(hidden, 2 * width)]):
            found.append([writer, *siblings])
    return max(found, key=lambda block: widths(block[0])[0], default=[])


def _attention_output(layer: nn.Module, hidden: int) -> nn.Module | None:
    """The map back to `hidden` beside queries, keys and values: three maps, or one that is wider than its input."""
    mlp = _mlp(layer, hidden)
    for writer, siblings in _writers(layer, hidden):
        fused = len(siblings) == 1 and widths(siblings[0])[1] > widths(writer)[0]
        if writer not in mlp[:1] and (fused or len(siblings) >= 3):
            return writer
    return None
