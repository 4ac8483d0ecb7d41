"""Steps that are turned away from what retained text uses.

The gradient of an output projection is a sum of products: what should be written, times which neurons fire. A neuron that fires
on the forget texts and seldom elsewhere can be changed at no cost, one that fires everywhere cannot. So the gradient is
multiplied by the inverse of the neurons' second moments E[a a^T] over retained text, with a damping: the activation side of the
K-FAC preconditioner (Martens & Grosse, ICML 2015), taken here from the text that is to stay. Knows nothing of losses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from privlens.lm.activations import second_moments
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.neuron_vectors import neuron_vectors

DAMPING = 0.03
"""Added to the diagonal, as a share of the mean second moment."""


@dataclass(frozen=True, eq=False)
class OutputVectors:
    """The output vectors of some neurons of each layer, as places in the weights.

    Attributes:
        neurons: for every layer the indices of its neurons, ascending. names: of each layer's output projection's weight.
        axes: which axis of that weight counts neurons.
    """

    neurons: tuple[Tensor, ...]
    names: tuple[str, ...]
    axes: tuple[int, ...]

    def places(self, lm: LanguageModel) -> dict[str, Tensor]:
        """Flat places of all their weights, ascending, by parameter; layers without neurons are left out."""
        parameters, found = dict(lm.model.named_parameters()), {}
        for own, name, axis in zip(self.neurons, self.names, self.axes, strict=True):
            if len(own):
                flat = torch.arange(parameters[name].numel(), device=own.device).view(parameters[name].shape)
                found[name] = flat.index_select(axis, own).flatten().sort().values
        return found


def output_vectors_of(lm: LanguageModel, neurons: Sequence[Tensor]) -> OutputVectors:
    """Where these neurons of each layer write from."""
    writes = [neuron_vectors(lm, layer)[0] for layer in range(lm.n_layers)]
    names, axes = tuple(one.name for one in writes), tuple(one.axis for one in writes)
    return OutputVectors(tuple(own.sort().values for own in neurons), names, axes)


def _levelled(moment: Tensor) -> Tensor:
    """In units of its mean diagonal, so that the damping means the same in every layer; all 0 stays so."""
    return moment / moment.diagonal().mean().clamp_min(torch.finfo(moment.dtype).tiny)


class KfacPreconditioner:
    """Turns gradients of output vectors away from what rows of retained text use.

    Args:
        vectors: whose gradients. rows: retained text, token ids.
    """

    def __init__(self, lm: LanguageModel, vectors: OutputVectors, rows: Sequence[Sequence[int]], stop: Stop = never_stop) -> None:
        found = second_moments(lm, rows, vectors.neurons, stop)
        self.axes: Mapping[str, int] = dict(zip(vectors.names, vectors.axes, strict=True))
        self.inverses = {
            name: torch.linalg.inv(_levelled(moment) + DAMPING * torch.eye(len(moment), device=moment.device, dtype=moment.dtype))
            for name, moment in zip(vectors.names, found, strict=True)
            if len(moment)
        }

    def __call__(self, name: str, gradient: Tensor) -> Tensor:
        """A gradient [n * d] of one parameter's chosen weights, in the order of their places."""
        inverse = self.inverses[name]
        rows = self.axes[name] == 0
        turned: Tensor = inverse @ gradient.view(len(inverse), -1) if rows else gradient.view(-1, len(inverse)) @ inverse
        return turned.flatten()
