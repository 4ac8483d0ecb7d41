"""The vectors of a neuron in the weights: what it writes (its output vector), and what it reads with (its input vectors).

A neuron of a plain MLP has one input vector, one of a gated MLP has two. Biases are not included.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from privlens.errors import BadInput
from privlens.lm.layout import is_plain, widths
from privlens.lm.model import LanguageModel


@dataclass(frozen=True, eq=False)
class Vectors:
    """One vector for each neuron of a layer: that of neuron i is row (axis 0) or column (axis 1) `offset` + i of a weight.

    Attributes:
        name: the weight's name in the model. weight: the parameter itself.
    """

    name: str
    weight: nn.Parameter
    axis: int
    offset: int = 0

    def of(self, neurons: Tensor) -> Tensor:
        """The vectors of these neurons [n, d], a copy without gradients."""
        vectors = self.weight.detach().index_select(self.axis, neurons + self.offset)
        return vectors if self.axis == 0 else vectors.T

    def put(self, weight: Tensor, neurons: Tensor, vectors: Tensor) -> Tensor:
        """The weight with new vectors [n, d] for these neurons; differentiable with respect to the vectors."""
        oriented = (vectors if self.axis == 0 else vectors.T).to(weight)
        return weight.index_copy(self.axis, neurons + self.offset, oriented)


def neuron_vectors(lm: LanguageModel, layer: int) -> tuple[Vectors, ...]:
    """The output vectors of a layer's neurons, then their input vectors: two per neuron, or three in gated MLPs.

    Raises:
        BadInput: if weights are quantized, or offloaded by accelerate.
    """
    names = {id(parameter): name for name, parameter in lm.model.named_parameters()}
    output = lm.layout.mlp[layer]
    inputs = lm.layout.mlp_inputs[layer]

    def vectors(projection: nn.Module, axis: int, offset: int = 0) -> Vectors:
        weight: nn.Parameter = projection.weight  # type: ignore[assignment]
        if not is_plain(weight):
            raise BadInput(
                f"The weights of layer {layer} are quantized or not in memory, so they cannot be changed: load the model as "
                "float32 or bfloat16, on one device that holds it."
            )
        return Vectors(names[id(weight)], weight, 1 - axis if isinstance(projection, Conv1D) else axis, offset)

    width = widths(output)[0]
    input_vectors = [vectors(projection, 0, offset) for projection in inputs for offset in range(0, widths(projection)[1], width)]
    return vectors(output, 1), *input_vectors
