"""Dropping what the loss hardly depends on: memorized text leaves with it, and no secret is needed.

Merullo et al. 2025, From Memorization to Reasoning in the Spectrum of Loss Curvature (arXiv 2510.24256). With A = E[a a^T] of a
matrix's inputs and G = E[g g^T] of the gradients at its outputs, A = U_A diag(mu) U_A^T and G = U_G diag(lambda) U_G^T, the
curvature along u_i v_j^T is lambda_i mu_j. The pairs with the largest products are kept until their sum is 60 % of all,

    W' = U_G (M * (U_G^T W U_A)) U_A^T, with M 1 for pairs that are kept and 0 for the others.

Of our own: the share that is kept falls step by step to 60 %, so that the run can end earlier, at the guard or when the forget
texts are gone, which decide nothing else; moments are over the model's own samples and the text that the person gave, where the
paper takes 20 million tokens of the training data; the layers are those as deep as the paper's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from privlens.erasure.config import Request
from privlens.erasure.losses import Predicted, batched_predictions
from privlens.erasure.sparse_parameters import SparseParameters
from privlens.erasure.trainer import Erasure, Rows
from privlens.lm.activations import input_second_moments
from privlens.lm.curvature import gradient_second_moments
from privlens.lm.model import LanguageModel
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.lm.tokens import plain_ids
from privlens.retained.samples import unconditional_samples
from privlens.types import Edit

KEPT = 0.6
"""The share of the curvature that is kept in the last step, the paper's."""
FIRST_LAYER, AFTER_LAYER = 23 / 32, 26 / 32
"""The paper changes layers 23 to 25 of 32."""
SAMPLES, SAMPLE_TOKENS = 512, 48
"""Texts that the model writes: G of a projection to n neurons has directions without any gradient if there are fewer tokens."""
TEXT_TOKENS = 256
"""Tokens that are read of each text that the person gave."""


def edited_layers(n_layers: int) -> range:
    """The layers whose input projections are changed, at least one."""
    first = int(FIRST_LAYER * n_layers)
    return range(first, max(first + 1, math.ceil(AFTER_LAYER * n_layers)))


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A matrix in the basis of its curvature.

    Attributes:
        weight: [out, in]. outputs, inputs: U_G [out, out] and U_A [in, in], eigenvectors in columns.
        order: all pairs (i, j) as flat indices, those with the largest products first.
        sums: [out * in] the share of the whole curvature in the pairs up to each.
    """

    weight: Tensor
    outputs: Tensor
    inputs: Tensor
    order: Tensor
    sums: Tensor

    @classmethod
    def of(cls, weight: Tensor, gradient_moment: Tensor, input_moment: Tensor) -> "Spectrum":
        """That of a matrix [out, in] with these moments, G and A."""
        (output_values, outputs), (input_values, inputs) = map(_eigen, (gradient_moment, input_moment))
        products = torch.outer(output_values, input_values).flatten()
        descending, order = products.sort(descending=True, stable=True)
        sums = descending.cumsum(0)
        return cls(weight, outputs.to(weight), inputs.to(weight), order.to(weight.device), sums / sums[-1])

    def n_kept(self, share: float) -> int:
        """How many pairs have at least this share of the curvature; all of them for 1."""
        return len(self.sums) if share >= 1 else min(len(self.sums), int(torch.searchsorted(self.sums, share)) + 1)

    def without(self, dropped: Tensor) -> Tensor:
        """The matrix without these pairs, flat indices; exactly itself without any."""
        coefficients = self.outputs.T @ self.weight @ self.inputs
        chosen = torch.zeros_like(coefficients).flatten().scatter(0, dropped, 1.0).view_as(coefficients)
        return self.weight - self.outputs @ (chosen * coefficients) @ self.inputs.T


def _eigen(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues >= 0 that sum to 1, and eigenvectors in columns.

    In double precision on the CPU: in single precision LAPACK gives up on moments with many values near 0, as dead neurons have.
    """
    exact = moment.double().cpu()
    values, vectors = torch.linalg.eigh(exact / exact.trace().clamp_min(torch.finfo(exact.dtype).tiny))
    positive = values.clamp_min(0)
    return positive / positive.sum().clamp_min(torch.finfo(exact.dtype).tiny), vectors


class LowCurvature(Erasure):
    """Drops more low-curvature directions of some MLPs' input projections a step. Sees the forget texts only to measure."""

    def __init__(self, request: Request, level: float, rows: Rows) -> None:
        super().__init__(replace(request, settings=replace(request.settings, keep=0.0)), level, rows)

    def _choose_weights(self) -> SparseParameters:
        """Whole matrices, whatever the share of weights that was asked for; and their curvature."""
        lm, request = self.lm, self.request
        given = [plain_ids(lm.tokenizer, text, min(TEXT_TOKENS, lm.room)) for text in request.texts]
        rows = [*given, *unconditional_samples(lm, self.texts, SAMPLES, SAMPLE_TOKENS, request.seed, request.stop)]
        matrices = [
            (layer, module, vectors.name, vectors.axis)
            for layer in edited_layers(lm.n_layers)
            for module, vectors in zip(lm.layout.mlp_inputs[layer], _inputs(lm, layer), strict=True)
        ]
        input_moments = input_second_moments(lm, rows, request.stop)
        modules = [module for _, module, *_ in matrices]
        gradient_moments = gradient_second_moments(lm, rows, modules, self.generator, request.stop)
        self.spectra: dict[str, Spectrum] = {}
        self.axes = {name: axis for _, _, name, axis in matrices}
        weights = SparseParameters(lm, dict.fromkeys(self.axes), self.settings.learning_rate)
        for (layer, _, name, _), gradient_moment in zip(matrices, gradient_moments, strict=True):
            weight = weights.values[name].view(weights.parameters[name].shape)
            spectrum = Spectrum.of(self._oriented(name, weight).clone(), gradient_moment, input_moments[layer])
            self.spectra[name] = self._shuffled(spectrum) if self.settings.choice == "random" else spectrum
        return weights

    def _shuffled(self, spectrum: Spectrum) -> Spectrum:
        """The control: as many pairs are dropped at every step, drawn at random."""
        order = torch.randperm(len(spectrum.order), generator=self.generator).to(spectrum.order)
        return replace(spectrum, order=order)

    def _oriented(self, name: str, weight: Tensor) -> Tensor:
        """A matrix as [out, in], or back."""
        return weight if self.axes[name] == 0 else weight.T

    @torch.no_grad()
    def step(self, step: int) -> tuple[Predicted, dict[str, float]]:
        """Drops what the next lower share leaves out."""
        with self.lm.held(), self.weights.applied():
            predicted = self.at_once.run(lambda n: batched_predictions(self.lm, self.texts, n), self.settings.forget_rows)
        share = 1 - (1 - KEPT) * step / self.settings.steps
        for name, spectrum in self.spectra.items():
            dropped = spectrum.order[spectrum.n_kept(share) :]
            self.weights.values[name].copy_(self._oriented(name, spectrum.without(dropped)).flatten())
        return predicted, {"curvature kept": share}

    def edit(self, values: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Edit:
        """The edit, with the share of all weights that its matrices are."""
        return super().edit(values, {**settings, "share": self.weights.n / self.lm.n_parameters})


def _inputs(lm: LanguageModel, layer: int) -> list[Any]:
    """The input projections of a layer's MLP as vectors of its neurons, each weight once."""
    return list({vectors.name: vectors for vectors in neuron_vectors(lm, layer)[1:]}.values())
