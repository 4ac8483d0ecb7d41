"""Preconditioned steps, which change little of what retained text uses.

The gradient of an output projection is a sum of products: what should be written, times which neurons fire. A neuron that fires
on the forget texts and rarely elsewhere can be changed at little cost, one that fires everywhere cannot. So the gradient is
multiplied by the damped inverse of the neurons' second moments E[a a^T] over retained text: the activation side of the K-FAC
preconditioner (Martens & Grosse, ICML 2015), estimated here on retained text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from privlens.lm.activations import second_moments
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.neuron_vectors import neuron_vectors

DAMPING = 0.03
"""Added to the diagonal, as a share of the mean second moment. Less damping protects what retained text
uses better, and lets the forget texts move less. Chosen with EMSO alone, on one seed (README), after 0.1."""


@dataclass(frozen=True, eq=False)
class OutputVectors:
    """The output vectors of some neurons of each layer, as indices into the weights.

    Attributes:
        neurons: for every layer the indices of its neurons, ascending. names: the parameter of each layer's output projection.
        axes: the axis of that parameter that indexes neurons.
    """

    neurons: tuple[Tensor, ...]
    names: tuple[str, ...]
    axes: tuple[int, ...]

    def places(self, lm: LanguageModel) -> dict[str, Tensor]:
        """Flat indices of all their weights, ascending, by parameter; layers without neurons are left out."""
        parameters = dict(lm.model.named_parameters())
        places = {}
        for neurons, name, axis in zip(self.neurons, self.names, self.axes, strict=True):
            if len(neurons):
                flat = torch.arange(parameters[name].numel(), device=neurons.device).view(parameters[name].shape)
                places[name] = flat.index_select(axis, neurons).flatten().sort().values
        return places


def output_vectors_of(lm: LanguageModel, neurons: Sequence[Tensor]) -> OutputVectors:
    """The output vectors of these neurons of each layer."""
    outputs = [neuron_vectors(lm, layer)[0] for layer in range(lm.n_layers)]
    names = tuple(output.name for output in outputs)
    axes = tuple(output.axis for output in outputs)
    return OutputVectors(tuple(indices.sort().values for indices in neurons), names, axes)


def _normalized(moment: Tensor) -> Tensor:
    """Divided by its mean diagonal, so that the damping means the same in every layer; a matrix of zeros stays zero."""
    return moment / moment.diagonal().mean().clamp_min(torch.finfo(moment.dtype).tiny)


class KfacPreconditioner:
    """Multiplies gradients of output vectors by the damped inverse second moments of their neurons over retained text.

    Args:
        vectors: the output vectors whose gradients are preconditioned. rows: retained text, token ids.
    """

    def __init__(self, lm: LanguageModel, vectors: OutputVectors, rows: Sequence[Sequence[int]], stop: Stop = never_stop) -> None:
        moments = second_moments(lm, rows, vectors.neurons, stop)
        self.axes: Mapping[str, int] = dict(zip(vectors.names, vectors.axes, strict=True))
        self.inverses = {
            name: torch.linalg.inv(
                _normalized(moment) + DAMPING * torch.eye(len(moment), device=moment.device, dtype=moment.dtype)
            )
            for name, moment in zip(vectors.names, moments, strict=True)
            if len(moment)
        }

    def __call__(self, name: str, gradient: Tensor) -> Tensor:
        """Preconditions the gradient [n * d] of one parameter's chosen weights, in the order of their flat indices."""
        inverse = self.inverses[name]
        if self.axes[name] == 0:
            preconditioned: Tensor = inverse @ gradient.view(len(inverse), -1)
        else:
            preconditioned = gradient.view(-1, len(inverse)) @ inverse
        return preconditioned.flatten()
