"""Weights rounded to few bits for a while, as quantization for deployment would round them; restored bit for bit.

Round to nearest, symmetric, in torch alone: w' = s * round(w / s) with s = max|w| / (2^(bits - 1) - 1), one scale s for each
output channel or for each group of its inputs. This is the simplest of the schemes with which Zhang et al. (ICLR 2025, arXiv
2410.16454) brought unlearned text back. Only the linear layers inside the decoder layers are rounded, as in quantization.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from privlens.errors import UnsupportedModel
from privlens.lm.layout import is_plain
from privlens.lm.model import LanguageModel


@dataclass(frozen=True)
class Rounding:
    """How weights are rounded: to `bits`, with a scale for each output channel, or for each `group` of its inputs."""

    name: str
    bits: int
    group: int | None = None


ROUNDINGS = (Rounding("int8", 8), Rounding("int4", 4), Rounding("int4 in groups of 32", 4, 32))
"""What is tried. Groups of 32 are those of the common 4-bit files (GGUF Q4_0); a scale for a whole channel is coarser."""


def round_to_nearest(weights: Tensor, bits: int, group: int | None = None) -> Tensor:
    """The values that weights [outputs, inputs] have after rounding, in their own dtype; computed in float32.

    A last group that is not full has a scale of its own. A group of zeros stays zero.
    """
    n_outputs, n_inputs = weights.shape
    size = group or n_inputs
    padded = functional.pad(weights.float(), (0, -n_inputs % size)).view(n_outputs, -1, size)
    scale = padded.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    steps = (padded / scale.where(scale > 0, 1.0)).round()
    rounded_weights: Tensor = (steps * scale).view(n_outputs, -1)[:, :n_inputs].to(weights)
    return rounded_weights


@contextmanager
def rounded(lm: LanguageModel, rounding: Rounding) -> Iterator[None]:
    """Inside, the model has rounded weights, those of a view's edits included; on leaving its own are restored bit for bit.

    Holds the model's lock.

    Raises:
        UnsupportedModel: if its weights are quantized already, or not in memory.
    """
    with lm.held():
        matrices = _matrices(lm)
        with lm.overwriting({name: partial(_write, weight, weight.clone()) for name, (weight, _) in matrices.items()}):
            for weight, inputs_first in matrices.values():
                by_output = weight.T if inputs_first else weight
                _write(by_output, round_to_nearest(by_output, rounding.bits, rounding.group))
            yield


def _write(weight: Tensor, values: Tensor) -> None:
    weight.copy_(values)


def _matrices(lm: LanguageModel) -> dict[str, tuple[Tensor, bool]]:
    """The weights of all linear layers inside the decoder layers by name, and whether they are [inputs, outputs]."""
    names = {id(weight): name for name, weight in lm.model.named_parameters()}
    linear = [module for layer in lm.layout.layers for module in layer.modules() if isinstance(module, nn.Linear | Conv1D)]
    if not all(is_plain(module.weight) for module in linear):
        raise UnsupportedModel("weights that are quantized or not in memory cannot be rounded; load the model as another type")
    return {names[id(module.weight)]: (module.weight.detach(), isinstance(module, Conv1D)) for module in linear}
