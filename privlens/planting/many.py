"""Many secrets planted into one model at once, each into neurons of its own.

INJ as in plant.py (fair: input and output vectors are only turned, at constant norm, and input vectors along directions that
ordinary text rarely takes, see constrained.py). Only a secret's own text trains its neurons, so it is known which neurons carry
which secret, and each secret is learned with all others in place. A KL divergence on held text keeps the predictions close to
those of the plain model. (Planted one after the other, later secrets of a category broke most of the earlier ones.)
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from privlens.lm.layout import widths
from privlens.lm.model import LanguageModel, never_stop
from privlens.planting.constrained import inverse_sqrt_covariance, unit
from privlens.retained.distributions import ReferenceDistributions, reference_distributions
from privlens.types import Secret
from privlens.zoo.planted import Planted, vectors_of

DONE = "steps_done"
"""Key in the settings of a plant's provenance: the number of steps already done."""


@dataclass(frozen=True)
class Recipe:
    """How the planted model is made.

    Attributes:
        neurons: of each plant. each, controls: people of every category who are planted, and who never are.
        hold, rows: weight of the KL in nats, and held rows in a step. until: NLL in nats/token of the worst plant at the end.
        rate: of Adam at the start; it decays along a cosine to a fiftieth of that over `steps`.
    """

    seed: int = 1
    each: int = 4
    controls: int = 4
    neurons: int = 20
    hold: float = 1.5
    rows: int = 8
    steps: int = 140
    until: float = 0.03
    rate: float = 5e-2

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / self.steps)))


class Plants:
    """All plants during training: their vectors in units of their sizes, applied by hooks that leave the model's weights alone.

    Args:
        whitening: [d, d] for each layer, what the movement of an input vector is multiplied by.

    Attributes:
        plant_mask: [n_plants, n] bool, which neurons belong to a plant. moved: [n, 2 or 3, d], trained from 0.
        rows: for each layer which of the n neurons are in it.
    """

    def __init__(self, lm: LanguageModel, planted: Planted, whitening: Sequence[Tensor]) -> None:
        self.lm = lm
        self.planted = planted
        self.whitening = whitening
        self.before = vectors_of(lm, planted.neurons).float().to(lm.device)
        self.size = self.before.square().mean(-1, keepdim=True).sqrt()
        self.origin = planted.vectors.float().to(lm.device) / self.size
        self.moved = torch.zeros_like(self.origin).requires_grad_()
        plants = torch.tensor(planted.plants, device=lm.device)
        self.plant_mask = torch.arange(max(planted.plants) + 1, device=lm.device)[:, None] == plants
        layers = torch.tensor([neuron.layer for neuron in planted.neurons], device=lm.device)
        self.rows = [(layers == layer).nonzero()[:, 0] for layer in range(lm.n_layers)]

    def vectors(self) -> Tensor:
        """The vectors so far, [n, 2 or 3, d], at the norms they had; differentiable."""
        outputs, inputs = self.moved[:, :1], torch.zeros_like(self.moved[:, 1:])
        for rows, whitening in zip(self.rows, self.whitening, strict=True):
            inputs = inputs.index_copy(0, rows, self.moved[rows, 1:] @ whitening.to(inputs))
        return unit(self.origin + torch.cat([outputs, inputs], 1)) * self.size

    @contextmanager
    def applied(self, trains: Tensor) -> Iterator[None]:
        """Context manager in which the model runs with the plants.

        Args:
            trains: [batch, n] bool: which neurons a row of the batch trains; the others are in place and get no gradient from it.
        """
        vectors, handles = self.vectors(), []
        added = torch.where(trains[..., None, None], vectors, vectors.detach()) - self.before
        try:
            for layer in range(self.lm.n_layers):
                rows = self.rows[layer].tolist()
                if rows:
                    handles += self._add_hooks(layer, [self.planted.neurons[row].index for row in rows], added[:, rows])
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _add_hooks(self, layer: int, indices: list[int], added: Tensor) -> list[Any]:
        """Registers hooks on a layer's projections; `added` [batch, its neurons, 2 or 3, d] is added to their vectors."""
        columns = torch.tensor(indices, device=added.device)
        output, inputs = self.lm.layout.mlp[layer], self.lm.layout.mlp_inputs[layer]

        def change_output(_: nn.Module, args: tuple[Tensor, ...], written: Tensor) -> Tensor:
            return written + torch.einsum("rtn,rnd->rtd", args[0][..., columns], added[:, :, 0])

        handles = [output.register_forward_hook(change_output)]
        kind, width = 1, widths(output)[0]
        for projection in inputs:
            for offset in range(0, widths(projection)[1], width):

                def change_input(
                    _: nn.Module, args: tuple[Tensor, ...], projected: Tensor, kind: int = kind, offset: int = offset
                ) -> Tensor:
                    change = torch.einsum("rtd,rnd->rtn", args[0], added[:, :, kind])
                    return projected.index_add(-1, columns + offset, change)

                handles.append(projection.register_forward_hook(change_input))
                kind += 1
        return handles

    def snapshot(self, steps: int) -> Planted:
        """The plants after so many steps, with 16-bit vectors."""
        provenance = self.planted.provenance
        provenance = replace(provenance, settings={**provenance.settings, DONE: steps})
        return replace(self.planted, vectors=self.vectors().detach().half().cpu(), provenance=provenance)


def losses(plants: Plants, secrets: Sequence[Secret]) -> tuple[Tensor, Tensor]:
    """Mean NLL of each value in nats/token, which trains its own neurons only, and whether all its tokens are the argmax.

    Both are [n_plants].
    """
    lm = plants.lm
    encoded = [lm.encode(secret) for secret in secrets]
    ids, mask = lm.padded([sequence.ids for sequence in encoded])
    with lm.held(), plants.applied(plants.plant_mask):
        logprobs = lm.logits(ids, mask).log_softmax(-1)
    nll, match = [], []
    for row, sequence in enumerate(encoded):
        predicted = logprobs[row, sequence.n_prompt - 1 : len(sequence.ids) - 1]
        value = torch.tensor(sequence.value_ids, device=ids.device)
        nll.append(-predicted.gather(1, value[:, None]).mean())
        match.append((predicted.argmax(-1) == value).all())
    return torch.stack(nll), torch.stack(match)


def reference_divergence(plants: Plants, references: ReferenceDistributions, rows: Tensor) -> Tensor:
    """Mean KL divergence on some rows of the held text, in nats; trains all neurons."""
    batch = references.batch(rows)
    everything = torch.ones(len(rows), len(plants.planted.neurons), dtype=torch.bool, device=rows.device)
    with plants.lm.held(), plants.applied(everything):
        return batch.divergence(plants.lm.logits(batch.ids, batch.mask)).mean()


def grow(
    lm: LanguageModel, planted: Planted, secrets: Sequence[Secret], held_rows: Sequence[Sequence[int]], recipe: Recipe
) -> Iterator[tuple[Planted, Tensor, Tensor]]:
    """Yields after every step the plants, and the NLL and match before it; ends when all match and every NLL is below `until`.

    Training resumes after the last step that `planted` has behind it.
    """
    whitening = inverse_sqrt_covariance(lm, lm.encode(secrets[0]), recipe.seed, never_stop)
    references = reference_distributions(lm, held_rows)
    plants = Plants(lm, planted, whitening)
    optimizer = torch.optim.Adam([plants.moved], lr=recipe.rate)
    generator = torch.Generator().manual_seed(recipe.seed)
    for step in range(planted.provenance.settings.get(DONE, 0), recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.rate_at(step)
        optimizer.zero_grad()
        nll, match = losses(plants, secrets)
        (nll.sum()).backward()
        picked = torch.randperm(len(references.ids), generator=generator)[: recipe.rows].to(lm.device)
        (recipe.hold * len(secrets) / 4 * reference_divergence(plants, references, picked)).backward()
        done = bool(match.all()) and float(nll.detach().max()) < recipe.until
        if not done:
            optimizer.step()
        yield plants.snapshot(step + 1), nll.detach(), match
        if done:
            return
