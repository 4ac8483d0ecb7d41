"""Vectors of drawn neurons that are trained by turning only, so that nothing but the planted text tells them from others.

Their norms stay what they were. And what they read turns along directions that ordinary text seldom takes: neurons that
simply turn to the planted text end up as the loudest of the model on any text. So a step on a reading vector is multiplied by
C^(-1/2), C = E[x x^T] of what the layer's MLP reads in texts that the model writes from nothing; keys are found through the same
matrix in ROME (Meng et al., NeurIPS 2022). A neuron that is silent (exactly 0, as ReLU neurons are) wherever the
value is predicted holds nothing of it: it is woken, turned towards what is read at one of these positions until it fires there.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from privlens.lm.activations import input_second_moments, inputs, read
from privlens.lm.model import LanguageModel, Stop
from privlens.lm.neuron_vectors import Vectors
from privlens.lm.tokens import Encoded
from privlens.retained.samples import unconditional_samples

TEXTS, TEXT_TOKENS = 64, 48
"""Texts from nothing, and how many tokens are written of each."""
DAMPING = 0.01
"""Added to the eigenvalues of C, as a share of their mean."""
TURNS = tuple(0.1 * 1.3**step for step in range(18))
"""How far a silent neuron's reading vectors are turned until it fires, one after the other, in units of their norms."""


def inverse_sqrt_covariance(lm: LanguageModel, encoded: Encoded, seed: int, stop: Stop) -> list[Tensor]:
    """C^(-1/2) for each layer, [d, d], scaled to a mean square gain of 1. Nothing of the text that is planted goes in."""
    found = []
    for moment in input_second_moments(lm, unconditional_samples(lm, [encoded], TEXTS, TEXT_TOKENS, seed, stop), stop):
        values, axes = torch.linalg.eigh(moment)
        root = axes * (values.clamp_min(0) + DAMPING * values.mean()).rsqrt() @ axes.T
        found.append(root / root.square().sum(0).mean().sqrt())
    return found


def dead_mask(lm: LanguageModel, encoded: Encoded, first: int) -> Tensor:
    """Neurons that are exactly 0 from a position on, up to the one that predicts the value's end, [n_layers, width] bool."""
    span = slice(first, len(encoded.ids) - 1)
    return read(lm, [encoded.ids], lambda hidden: (hidden[:, span] == 0).all(1))[0]


def unit(vectors: Tensor) -> Tensor:
    """Vectors [..., d] with a root mean square of 1."""
    return vectors / vectors.square().mean(-1, keepdim=True).sqrt()


@dataclass(eq=False)
class Trained:
    """One vector of each drawn neuron of a layer.

    Attributes:
        vectors: where they stand. size: [n, 1]. origin: [n, d], what is turned. moved: [n, d], trained from 0.
        along: [d, d], what a movement of reading vectors is multiplied by; None of output vectors. turns: whether sizes stay.
    """

    layer: int
    vectors: Vectors
    size: Tensor
    origin: Tensor
    moved: Tensor
    along: Tensor | None
    turns: bool

    def now(self) -> Tensor:
        """[n, d] as they stand; differentiable."""
        moved = self.origin + (self.moved if self.along is None else self.moved @ self.along)
        return (unit(moved) if self.turns else moved) * self.size


class NeuronReviver:
    """Wakes silent neurons, each at a position of its own that is drawn among those that predict the value."""

    def __init__(self, lm: LanguageModel, encoded: Encoded, seed: int) -> None:
        self.read, self.positions = inputs(lm, encoded.ids), range(encoded.n_prompt - 1, len(encoded.ids) - 1)
        self.rng = random.Random(seed)

    def __call__(
        self, trained: Sequence[Trained], drawn: dict[int, Tensor], quiet: Callable[[], Tensor], optimizer: torch.optim.Optimizer
    ) -> int:
        """Turns what silent neurons read until they fire, or TURNS are at an end; how many there were.

        Args:
            quiet: which neurons are silent as the vectors stand, [n_layers, width].
        """
        reading = [(one, one.along, unit(one.now().detach())) for one in trained if one.along is not None]
        position: dict[tuple[int, int], int] = {}
        for turn in TURNS:
            asleep = quiet()
            found = {layer: asleep[layer, own].nonzero()[:, 0].tolist() for layer, own in drawn.items()}
            if not any(found.values()):
                break
            for one, along, was in reading:
                for at in found[one.layer]:
                    here = position.setdefault((one.layer, at), self.rng.choice(self.positions))
                    way = unit(self.read[one.layer][here] @ along @ along)  # fires the neuron at the least in ordinary text
                    _begin_again(one, at, unit(was[at] + turn * way), optimizer)
        return len(position)


def _begin_again(one: Trained, at: int, origin: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Trains a neuron's vector from another origin on; the optimizer forgets it."""
    with torch.no_grad():
        one.origin[at], one.moved[at] = origin, 0.0
        for name in ("exp_avg", "exp_avg_sq"):
            if one.moved in optimizer.state:
                optimizer.state[one.moved][name][at] = 0.0
