"""Finds the projections that write into the residual stream of a causal LM, by structure and not by name.

A neuron is one input of an MLP's output projection, so it can be gated by a hook on that projection. Works for torch.nn.Linear
and transformers' Conv1D, and for plain and gated MLPs.
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
    """The layers and their output projections, one per layer, of the MLPs and of the attention blocks (empty if not found).

    `mlp_inputs`: the input projections of each MLP: one, or two in gated MLPs, or a fused one of twice the width.
    """

    layers: tuple[nn.Module, ...]
    mlp: tuple[nn.Module, ...]
    attention: tuple[nn.Module, ...]
    mlp_inputs: tuple[tuple[nn.Module, ...], ...] = ()

    def site(self, site: Literal["mlp", "attention"]) -> tuple[nn.Module, ...]:
        """The projections of one site. Raises UnsupportedModel if the model has none of that kind."""
        projections = self.mlp if site == "mlp" else self.attention
        if not projections:
            raise UnsupportedModel(f"No {site} output projections were found in this model; choose the other site.")
        return projections

    def parts(self, site: Site) -> tuple[tuple[nn.Module, ...], ...]:
        """The projections of a site by kind: one kind, or for `both` those of the MLPs and then those of attention.

        Raises:
            UnsupportedModel: if the model has none of a kind; for `both` also if MLPs differ in width, since the numbering of a
                layer's attention coordinates continues after its last neuron.
        """
        if site != "both":
            return (self.site(site),)
        if len({widths(projection)[0] for projection in self.mlp}) > 1:
            raise UnsupportedModel("The MLPs of this model differ in width; choose one site, mlp or attention.")
        return self.site("mlp"), self.site("attention")


def widths(projection: nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a linear layer, even if its weight is quantized and packed."""
    if isinstance(projection, nn.Linear):
        return projection.in_features, projection.out_features
    rows, columns = projection.weight.shape  # type: ignore[misc]
    return int(rows), int(columns)


def output_vectors(projection: nn.Module) -> Tensor:
    """What each neuron writes into the residual stream, [inputs, outputs]: a view of the weight in either orientation.

    If the weight is quantized or offloaded, it is computed by the projection itself, with one neuron on at a time.
    """
    weight: Tensor = projection.weight  # type: ignore[assignment]
    if is_plain(weight):
        return weight if isinstance(projection, Conv1D) else weight.T
    bias = getattr(projection, "bias", None)
    dtype = bias.dtype if bias is not None else torch.get_default_dtype()
    with torch.no_grad():
        one_hot = torch.eye(widths(projection)[0], device=compute_device(projection), dtype=dtype)
        vectors: Tensor = projection(one_hot) - projection(torch.zeros_like(one_hot[:1]))
    return vectors


def is_plain(weight: Tensor) -> bool:
    """Whether a weight is plain numbers in the model: quantized ones are codes, offloaded ones are stored elsewhere."""
    return weight.is_floating_point() and weight.device.type != "meta"


def find_layout(model: PreTrainedModel) -> Layout:
    """Recognizes the list of layers by its length and the projections by their widths.

    Raises:
        UnsupportedModel: with what was looked for and not found.
    """
    config = model.config.get_text_config()
    n_layers, hidden = config.num_hidden_layers, config.hidden_size
    candidates = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == n_layers]
    for layers in candidates:
        mlps = [_mlp(layer, hidden) for layer in layers]
        if all(mlps):
            attention_outputs = [_attention_output(layer, hidden) for layer in layers]
            attention = tuple(projection for projection in attention_outputs if projection is not None)
            return Layout(
                layers=tuple(layers),
                mlp=tuple(mlp[0] for mlp in mlps if mlp),
                attention=attention if len(attention) == n_layers else (),
                mlp_inputs=tuple(tuple(mlp[1:]) for mlp in mlps if mlp),
            )
    raise UnsupportedModel(
        f"{type(model).__name__} cannot be gated: looked for a list of {n_layers} layers, each with an MLP of linear layers "
        f"{hidden} -> width -> {hidden}. Choose a decoder with ordinary (not mixture-of-experts) MLPs."
    )


def _output_projections(layer: nn.Module, hidden: int) -> Iterator[tuple[nn.Module, list[nn.Module]]]:
    """Every linear layer with `hidden` outputs, with its linear siblings; of several siblings the last comes first."""
    for module in layer.modules():
        linear = [child for child in module.children() if isinstance(child, (nn.Linear, Conv1D))]
        for output in reversed(linear):
            if widths(output)[1] == hidden:
                yield output, [sibling for sibling in linear if sibling is not output]


def _mlp(layer: nn.Module, hidden: int) -> list[nn.Module]:
    """The output and then the input projections of the layer's MLP; empty if there is none.

    It is the widest projection to `hidden` whose siblings are one or two projections to its width, or one to twice its width.
    """
    mlps: list[list[nn.Module]] = []
    for output, siblings in _output_projections(layer, hidden):
        width = widths(output)[0]
        sibling_widths = [widths(sibling) for sibling in siblings]
        if sibling_widths in ([(hidden, width)], [(hidden, width)] * 2, [(hidden, 2 * width)]):
            mlps.append([output, *siblings])
    return max(mlps, key=lambda mlp: widths(mlp[0])[0], default=[])


def _attention_output(layer: nn.Module, hidden: int) -> nn.Module | None:
    """The projection to `hidden` beside queries, keys and values: three siblings, or one that is wider than its own input."""
    mlp = _mlp(layer, hidden)
    for output, siblings in _output_projections(layer, hidden):
        fused = len(siblings) == 1 and widths(siblings[0])[1] > widths(output)[0]
        if output not in mlp[:1] and (fused or len(siblings) >= 3):
            return output
    return None
