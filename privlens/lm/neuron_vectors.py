"""The vectors of a neuron, wherever they stand in the weights: what it writes (its output vector), and what it reads.

A plain MLP's neuron reads by one vector, a gated MLP's by two. Biases are no part of it.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from privlens.errors import BadInput
from privlens.lm.layout import is_plain, widths
from privlens.lm.model import LanguageModel


@dataclass(frozen=True, eq=False)
class Vectors:
    """One vector for each neuron of a layer: neuron i's is row (axis 0) or column (axis 1) `offset` + i of a weight.

    Attributes:
        name: of the weight in the model. weight: the parameter itself.
    """

    name: str
    weight: nn.Parameter
    axis: int
    offset: int = 0

    def of(self, neurons: Tensor) -> Tensor:
        """The vectors of these neurons [n, d], a copy without gradients."""
        found = self.weight.detach().index_select(self.axis, neurons + self.offset)
        return found if self.axis == 0 else found.T

    def put(self, weight: Tensor, neurons: Tensor, vectors: Tensor) -> Tensor:
        """The weight with other vectors [n, d] for these neurons; differentiable with respect to them."""
        placed = (vectors if self.axis == 0 else vectors.T).to(weight)
        return weight.index_copy(self.axis, neurons + self.offset, placed)


def neuron_vectors(lm: LanguageModel, layer: int) -> tuple[Vectors, ...]:
    """What the neurons of a layer's MLP write, then what they read: two vectors each, or three in gated MLPs.

    Raises:
        BadInput: for weights that are quantized, or offloaded by accelerate.
    """
    names = {id(parameter): name for name, parameter in lm.model.named_parameters()}
    output, inputs = lm.layout.mlp[layer], lm.layout.mlp_inputs[layer]

    def vectors(part: nn.Module, axis: int, offset: int = 0) -> Vectors:
        weight: nn.Parameter = part.weight  # type: ignore[assignment]
        if not is_plain(weight):
            raise BadInput(
                f"The weights of layer {layer} are quantized or not in memory, so they cannot be changed: load the model as "
                "float32 or bfloat16, on one device that holds it."
            )
        return Vectors(names[id(weight)], weight, 1 - axis if isinstance(part, Conv1D) else axis, offset)

    width = widths(output)[0]
    read = [vectors(part, 0, offset) for part in inputs for offset in range(0, widths(part)[1], width)]
    return vectors(output, 1), *read
