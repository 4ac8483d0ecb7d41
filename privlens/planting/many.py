"""Many secrets planted into one model at once, each into neurons of its own; nothing is known of which model or whose secrets.

INJ as in planting.py (fair: what a neuron reads and writes is only turned, its norms stay, and it reads on where ordinary text
seldom goes, see turning.py): only a secret's own text trains its neurons, so what carries which secret is known, and each learns
beside all others in place. A KL on held text holds all of them to what the plain model says. (Planted one after the other, later
secrets of a category broke most of the earlier ones.)
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
"""Among the settings of a plant's provenance: steps behind it."""


@dataclass(frozen=True)
class Recipe:
    """How the planted model is made.

    Attributes:
        neurons: of each plant. each, controls: planted and never planted people of every category.
        hold, rows: weight of the KL in nats, and held rows in a step. until: NLL in nats/token of the worst plant at the end.
        rate: of Adam at the start; it falls along a cosine to a fiftieth of that over `steps`.
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
        """The rate of one step, counted from 0."""
        return self.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / self.steps)))


class Plants:
    """All plants while they grow: their vectors in units of their sizes, laid over the model by hooks; it is not changed.

    Args:
        along: [d, d] for each layer, what the movement of a reading vector is multiplied by.

    Attributes:
        own: [n_plants, n] bool, which plant a neuron belongs to. moved: [n, 2 or 3, d], trained from 0.
    """

    def __init__(self, lm: LanguageModel, planted: Planted, along: Sequence[Tensor]) -> None:
        self.lm, self.planted, self.along = lm, planted, along
        self.before = vectors_of(lm, planted.neurons).float().to(lm.device)
        self.size = self.before.square().mean(-1, keepdim=True).sqrt()
        self.origin = planted.vectors.float().to(lm.device) / self.size
        self.moved = torch.zeros_like(self.origin).requires_grad_()
        plants = torch.tensor(planted.plants, device=lm.device)
        self.own = torch.arange(max(planted.plants) + 1, device=lm.device)[:, None] == plants
        layers = torch.tensor([neuron.layer for neuron in planted.neurons], device=lm.device)
        self.places = [(layers == layer).nonzero()[:, 0] for layer in range(lm.n_layers)]

    def vectors(self) -> Tensor:
        """[n, 2 or 3, d] at the norms they had; differentiable."""
        written, read = self.moved[:, :1], torch.zeros_like(self.moved[:, 1:])
        for at, way in zip(self.places, self.along, strict=True):
            read = read.index_copy(0, at, self.moved[at, 1:] @ way.to(read))
        return unit(self.origin + torch.cat([written, read], 1)) * self.size

    @contextmanager
    def laid_over(self, trains: Tensor) -> Iterator[None]:
        """Inside, the model runs with the plants.

        Args:
            trains: [rows, n] bool: which neurons a row of the batch trains; the others are in place and get no gradient of it.
        """
        vectors, handles = self.vectors(), []
        moved = torch.where(trains[..., None, None], vectors, vectors.detach()) - self.before
        try:
            for layer in range(self.lm.n_layers):
                at = self.places[layer].tolist()
                if at:
                    handles += self._hooks(layer, [self.planted.neurons[place].index for place in at], moved[:, at])
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self, layer: int, indices: list[int], moved: Tensor) -> list[Any]:
        """Hooks on a layer's maps; moved [rows, its neurons, 2 or 3, d] is what is added to their vectors."""
        places = torch.tensor(indices, device=moved.device)
        output, inputs = self.lm.layout.mlp[layer], self.lm.layout.mlp_inputs[layer]

        def writes(_: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor:
            return found + torch.einsum("rtn,rnd->rtd", given[0][..., places], moved[:, :, 0])

        handles = [output.register_forward_hook(writes)]
        number, width = 1, widths(output)[0]
        for part in inputs:
            for offset in range(0, widths(part)[1], width):

                def reads(_: nn.Module, given: tuple[Tensor, ...], found: Tensor, at: int = number, to: int = offset) -> Tensor:
                    return found.index_add(-1, places + to, torch.einsum("rtd,rnd->rtn", given[0], moved[:, :, at]))

                handles.append(part.register_forward_hook(reads))
                number += 1
        return handles

    def as_they_stand(self, steps: int) -> Planted:
        """With 16-bit vectors, after so many steps."""
        made = self.planted.provenance
        made = replace(made, settings={**made.settings, DONE: steps})
        return replace(self.planted, vectors=self.vectors().detach().half().cpu(), provenance=made)


def losses(plants: Plants, secrets: Sequence[Secret]) -> tuple[Tensor, Tensor]:
    """Mean NLL of each value in nats/token, which trains its own neurons only, and whether it is written; both [n_plants]."""
    lm = plants.lm
    encoded = [lm.encode(secret) for secret in secrets]
    ids, mask = lm.padded([one.ids for one in encoded])
    with lm.held(), plants.laid_over(plants.own):
        logprobs = lm.logits(ids, mask).log_softmax(-1)
    nll, match = [], []
    for row, one in enumerate(encoded):
        predicted = logprobs[row, one.n_prompt - 1 : len(one.ids) - 1]
        value = torch.tensor(one.value_ids, device=ids.device)
        nll.append(-predicted.gather(1, value[:, None]).mean())
        match.append((predicted.argmax(-1) == value).all())
    return torch.stack(nll), torch.stack(match)


def held(plants: Plants, kept: ReferenceDistributions, rows: Tensor) -> Tensor:
    """Mean KL of some kept rows, nats; trains all neurons."""
    batch = kept.batch(rows)
    everything = torch.ones(len(rows), len(plants.planted.neurons), dtype=torch.bool, device=rows.device)
    with plants.lm.held(), plants.laid_over(everything):
        return batch.divergence(plants.lm.logits(batch.ids, batch.mask)).mean()


def grow(
    lm: LanguageModel, planted: Planted, secrets: Sequence[Secret], held_rows: Sequence[Sequence[int]], recipe: Recipe
) -> Iterator[tuple[Planted, Tensor, Tensor]]:
    """After every step the plants, and NLL and match before it; ends when all are written and no NLL is above `until`.

    A run goes on behind the step that its plants were left at.
    """
    along = inverse_sqrt_covariance(lm, lm.encode(secrets[0]), recipe.seed, never_stop)
    kept, plants = reference_distributions(lm, held_rows), Plants(lm, planted, along)
    optimizer = torch.optim.Adam([plants.moved], lr=recipe.rate)
    generator = torch.Generator().manual_seed(recipe.seed)
    for step in range(planted.provenance.settings.get(DONE, 0), recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.rate_at(step)
        optimizer.zero_grad()
        nll, match = losses(plants, secrets)
        (nll.sum()).backward()
        picked = torch.randperm(len(kept.ids), generator=generator)[: recipe.rows].to(lm.device)
        (recipe.hold * len(secrets) / 4 * held(plants, kept, picked)).backward()
        done = bool(match.all()) and float(nll.detach().max()) < recipe.until
        if not done:
            optimizer.step()
        yield plants.as_they_stand(step + 1), nll.detach(), match
        if done:
            return
