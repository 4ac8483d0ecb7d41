"""How much the loss of a text depends on the weights of each neuron: |weight| * |gradient of the loss|, summed over its weights.

The weights of a neuron are its output vector and its input vectors, without biases. The gradient of a projection's weights is the
product of its inputs and of the gradients of its outputs, so no weight ever needs a gradient of its own, and a block of neurons
of one layer at a time is all that is held.

Source: DEAN (Qian et al., arXiv 2410.16672), whose importance of a weight is |W| * sum_x |dL(x)/dW|.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from privlens.lm.layout import widths
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.lm.tokens import Encoded

NEURONS_AT_ONCE = 4096
"""Neurons of a layer whose gradients are held at a time: in a model with 4,096 directions, 64 MiB."""


@dataclass(frozen=True, eq=False)
class _Pass:
    """What went through a projection: `inputs` [rows, tokens, n_in], `outputs` as the model passed them on."""

    inputs: Tensor
    outputs: Tensor


@contextmanager
def _recording(projections: Sequence[nn.Module], shape: torch.Size, passes: dict[nn.Module, _Pass]) -> Iterator[None]:
    """Inside, every projection's pass is recorded.

    Its outputs have gradients, though no weight has. `shape` is [rows, tokens].
    """

    def record(projection: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        outputs = outputs if outputs.requires_grad else outputs.requires_grad_()
        passes[projection] = _Pass(inputs[0].detach().view(*shape, -1), outputs)

    handles = []
    try:
        for projection in projections:
            handles.append(projection.register_forward_hook(record))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mean_nlls(logits: Tensor, rows: Sequence[Encoded]) -> Tensor:
    """[rows]: each value's mean NLL, nats/token."""
    nlls = [
        nn.functional.cross_entropy(
            row_logits[row.n_prompt - 1 : len(row.ids) - 1], torch.tensor(row.value_ids, device=logits.device)
        )
        for row_logits, row in zip(logits, rows, strict=True)
    ]
    return torch.stack(nlls)


def weight_importance(lm: LanguageModel, rows: Sequence[Encoded]) -> list[Tensor]:
    """[n_layers, d_mlp] float32 for each row: the sum over a neuron's weights W of |W| * |dL/dW|, on the CPU.

    L is the mean NLL of the row's value in nats/token; for ordinary text the value is all but its first token. Importances of
    several texts add up. All rows run in one batch, which is halved where memory runs out. A neuron that does not exist has 0.

    Raises:
        BadInput: if the weights are quantized or offloaded.
    """
    return in_parts(lambda part: _importance(lm, part), rows)


def _importance(lm: LanguageModel, rows: Sequence[Encoded]) -> list[Tensor]:
    ids, mask = lm.padded([row.ids for row in rows])
    layers = list(zip(lm.layout.mlp, lm.layout.mlp_inputs, strict=True))
    projections = [projection for output, inputs in layers for projection in (output, *inputs)]
    passes: dict[nn.Module, _Pass] = {}
    importance = torch.zeros(len(rows), *lm.shape(), dtype=torch.float32)
    with lm.held():
        with torch.enable_grad(), _recording(projections, ids.shape, passes):
            loss = _mean_nlls(lm.logits(ids, mask), rows).sum()
            gradients = torch.autograd.grad(loss, [passes[projection].outputs for projection in projections])
        by_projection = {
            projection: gradient.view(*ids.shape, -1) for projection, gradient in zip(projections, gradients, strict=True)
        }
        for layer in range(lm.n_layers):
            for neurons, weights, gradients_of in _by_block(lm, layer, passes, by_projection):
                for row, text in enumerate(rows):
                    gradient = gradients_of(row, len(text.ids))
                    importance[row, layer, neurons] += (weights.abs() * gradient.abs()).sum(1).cpu()
    return list(importance)


RowGradient = Callable[[int, int], Tensor]
"""(row, number of its tokens) -> the gradient of the weights of a block of neurons, [n, d]."""


def _by_block(
    lm: LanguageModel, layer: int, passes: dict[nn.Module, _Pass], gradients: dict[nn.Module, Tensor]
) -> Iterator[tuple[Tensor, Tensor, RowGradient]]:
    """(neurons, their weights [n, d], their gradient) for the output vectors and every kind of input vector, block by block."""
    output, inputs = lm.layout.mlp[layer], lm.layout.mlp_inputs[layer]
    width = widths(output)[0]
    sides = [(output, 0)]
    sides += [(projection, offset) for projection in inputs for offset in range(0, widths(projection)[1], width)]
    for vectors, (projection, offset) in zip(neuron_vectors(lm, layer), sides, strict=True):
        # A neuron is an input of the output projection and an output of the input projections.
        recorded, gradient = passes[projection].inputs, gradients[projection]
        of_neuron, of_stream = (recorded, gradient) if projection is output else (gradient, recorded)
        for start in range(0, width, NEURONS_AT_ONCE):
            end = min(width, start + NEURONS_AT_ONCE)
            block = slice(offset + start, offset + end)

            def gradients_of(
                row: int, n_tokens: int, neurons: Tensor = of_neuron[..., block], stream: Tensor = of_stream
            ) -> Tensor:
                return neurons[row, :n_tokens].float().T @ stream[row, :n_tokens].float()

            indices = torch.arange(start, end, device=vectors.weight.device)
            yield indices.cpu(), vectors.of(indices).float(), gradients_of
