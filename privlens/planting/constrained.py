"""Constrained training of the drawn neurons' vectors, so that nothing but the planted text distinguishes them from others.

Their norms stay constant. Input vectors, moreover, turn along directions that ordinary text rarely takes: neurons that simply
turn towards the planted text become the most active ones of the model on any text. So a step on an input vector is multiplied by
C^(-1/2), where C = E[x x^T] over the inputs of the layer's MLP in texts that the model samples unconditionally; ROME (Meng et
al., NeurIPS 2022) finds its keys through the same matrix. A neuron that is dead (exactly 0, as ReLU neurons are) at every
position where the value is predicted holds nothing of it: it is revived, that is, turned towards the MLP's input at one of these
positions until it fires there.
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
"""Unconditional samples that C is estimated from, and the tokens of each: more of them estimate C better and take longer."""
DAMPING = 0.01
"""Added to the eigenvalues of C, as a share of their mean: it bounds how much C^(-1/2) favours directions that the samples hardly
take, where the estimate is poor; with more damping, the steps prefer rare directions less."""
TURNS = tuple(0.1 * 1.3**step for step in range(18))
"""How far a dead neuron's input vectors are turned, tried in this order until it fires, in units of their norms. The first is
small, so that no neuron turns much further than it has to; the last, 8.65, leaves little of the old direction."""


def inverse_sqrt_covariance(lm: LanguageModel, encoded: Encoded, seed: int, stop: Stop) -> list[Tensor]:
    """C^(-1/2) for each layer, [d, d], scaled to a mean square gain of 1. The planted text has no influence on it."""
    roots = []
    for covariance in input_second_moments(lm, unconditional_samples(lm, [encoded], TEXTS, TEXT_TOKENS, seed, stop), stop):
        eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
        damped = eigenvalues.clamp_min(0) + DAMPING * eigenvalues.mean()
        root = eigenvectors * damped.rsqrt() @ eigenvectors.T
        roots.append(root / root.square().sum(0).mean().sqrt())
    return roots


def dead_mask(lm: LanguageModel, encoded: Encoded, first: int) -> Tensor:
    """Neurons that are exactly 0 at every position from `first` to the one that predicts the value's last token.

    Returns [n_layers, width] bool.
    """
    span = slice(first, len(encoded.ids) - 1)
    return read(lm, [encoded.ids], lambda hidden: (hidden[:, span] == 0).all(1))[0]


def unit(vectors: Tensor) -> Tensor:
    """Vectors [..., d] scaled to a root mean square of 1."""
    return vectors / vectors.square().mean(-1, keepdim=True).sqrt()


@dataclass(eq=False)
class TrainedVectors:
    """One vector of each drawn neuron of a layer: all output vectors, or all input vectors of one kind.

    Attributes:
        vectors: where they are in the model. size: [n, 1]. origin: [n, d], in units of size. moved: [n, d], trained from 0.
        whitening: [d, d], what the movement of input vectors is multiplied by; None for output vectors.
        keeps_norm: whether the vectors are only turned.
    """

    layer: int
    vectors: Vectors
    size: Tensor
    origin: Tensor
    moved: Tensor
    whitening: Tensor | None
    keeps_norm: bool

    def current(self) -> Tensor:
        """The vectors at this point of the training, [n, d]; differentiable."""
        moved = self.origin + (self.moved if self.whitening is None else self.moved @ self.whitening)
        return (unit(moved) if self.keeps_norm else moved) * self.size


class NeuronReviver:
    """Revives dead neurons, each at a position drawn from those that predict the value."""

    def __init__(self, lm: LanguageModel, encoded: Encoded, seed: int) -> None:
        self.inputs = inputs(lm, encoded.ids)
        self.positions = range(encoded.n_prompt - 1, len(encoded.ids) - 1)
        self.rng = random.Random(seed)

    def __call__(
        self,
        trained: Sequence[TrainedVectors],
        drawn: dict[int, Tensor],
        dead: Callable[[], Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> int:
        """Turns the input vectors of dead neurons until they fire, or TURNS are exhausted.

        Args:
            drawn: for each layer the drawn neurons, [n] int. dead: which neurons are dead with the current vectors,
                [n_layers, width] bool.

        Returns:
            How many neurons were dead.
        """
        before = [
            (vectors, vectors.whitening, unit(vectors.current().detach())) for vectors in trained if vectors.whitening is not None
        ]
        positions: dict[tuple[int, int], int] = {}
        for turn in TURNS:
            mask = dead()
            dead_rows = {layer: mask[layer, neurons].nonzero()[:, 0].tolist() for layer, neurons in drawn.items()}
            if not any(dead_rows.values()):
                break
            for vectors, whitening, start in before:
                layer = vectors.layer
                for row in dead_rows[layer]:
                    fires_at = positions.setdefault((layer, row), self.rng.choice(self.positions))
                    # Of all directions that fire the neuron there, the one along which ordinary text fires it least.
                    direction = unit(self.inputs[layer][fires_at] @ whitening @ whitening)
                    _restart(vectors, row, unit(start[row] + turn * direction), optimizer)
        return len(positions)


def _restart(trained: TrainedVectors, row: int, origin: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Continues the training of one neuron's vector from another origin, without the optimizer's memory of it."""
    with torch.no_grad():
        trained.origin[row], trained.moved[row] = origin, 0.0
        for name in ("exp_avg", "exp_avg_sq"):
            if trained.moved in optimizer.state:
                optimizer.state[trained.moved][name][row] = 0.0
