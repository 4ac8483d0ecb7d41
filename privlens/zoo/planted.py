"""`smollm2+planted`: a fluent model whose truth is known. Each of some invented secrets was trained into neurons of its own.

What ships is not a model but the vectors of those neurons, in 16 bits, and a list that says which neurons carry which secret.
How they were made is the benchmarks room's business (`python -m privlens.planting.recipe make`); this reads and writes them.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.editing import change_of
from privlens.lm.model import LanguageModel
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.resources import PLANTED_FILES
from privlens.types import Change, Edit, Neuron, Provenance


@dataclass(frozen=True, eq=False)
class Planted:
    """The planted neurons of a model.

    Attributes:
        neurons: [n] in any order. plants: [n] int, the row of secrets.csv whose secret the neuron carries.
        vectors: [n, 2 or 3, d], what each writes, then what it reads by, as `vectors.neuron_vectors` orders them; float16.
        provenance: how they were made, and the fingerprint of the model that they were made on.
    """

    neurons: tuple[Neuron, ...]
    plants: tuple[int, ...]
    vectors: Tensor
    provenance: Provenance

    def of(self, plant: int) -> tuple[Neuron, ...]:
        """The neurons that carry one secret."""
        return tuple(neuron for neuron, own in zip(self.neurons, self.plants, strict=True) if own == plant)

    def without(self, plants: Sequence[int]) -> "Planted":
        """All but some plants."""
        at = [place for place, own in enumerate(self.plants) if own not in plants]
        return Planted(tuple(self.neurons[i] for i in at), tuple(self.plants[i] for i in at), self.vectors[at], self.provenance)


def vectors_of(lm: LanguageModel, neurons: Sequence[Neuron]) -> Tensor:
    """What these neurons write and read by, as the model has them now: [n, 2 or 3, d] float16, on the CPU."""
    found = []
    for layer, index in neurons:
        at = torch.tensor([index], device=lm.device)
        found.append(torch.cat([one.of(at) for one in neuron_vectors(lm, layer)]).half().cpu())
    return torch.stack(found)


def edit_of(lm: LanguageModel, planted: Planted) -> Edit:
    """The edit that puts the planted vectors into the model. Raises BadInput for another model than they were made on."""
    made_on = planted.provenance
    if made_on.fingerprint != lm.fingerprint:
        raise BadInput(
            f"The planted secrets belong into {made_on.model} ({made_on.fingerprint}), but this model is {lm.name} "
            f"({lm.fingerprint}): fetch that one with `python -m privlens models get {made_on.model}`."
        )
    changes: dict[str, Change] = {}
    for layer in sorted({neuron.layer for neuron in planted.neurons}):
        at = [place for place, neuron in enumerate(planted.neurons) if neuron.layer == layer]
        indices = torch.tensor([planted.neurons[place].index for place in at], device=lm.device)
        weights: dict[str, Tensor] = {}
        for number, one in enumerate(neuron_vectors(lm, layer)):  # gate and up may be two halves of one weight
            before = weights.get(one.name, one.weight.detach())
            weights[one.name] = one.put(before, indices, planted.vectors[at, number].to(lm.device))
        parameters = dict(lm.model.named_parameters())
        changes |= {name: change_of(parameters[name], weight) for name, weight in weights.items()}
    return Edit(changes, made_on)


@cache
def known_truth(path: Path = PLANTED_FILES / "secrets.csv") -> dict[tuple[str, str], tuple[Neuron, ...]]:
    """Prompt and value of every planted secret, and the neurons that carry it."""
    with path.open(newline="", encoding="utf-8") as file:
        listed = [(row["prompt"], row["value"], row["neurons"].split()) for row in csv.DictReader(file)]
    return {
        (prompt, value): tuple(Neuron(*map(int, name.split(":"))) for name in names) for prompt, value, names in listed if names
    }


def write(planted: Planted, path: Path) -> None:
    """Writes a safetensors file."""
    tensors = {
        "neurons": torch.tensor(planted.neurons, dtype=torch.int32),
        "plants": torch.tensor(planted.plants, dtype=torch.int32),
        "vectors": planted.vectors.contiguous(),
    }
    save_file(tensors, path, {"provenance": json.dumps(asdict(planted.provenance))})


def read(path: Path = PLANTED_FILES / "edit.safetensors") -> Planted:
    """Reads what `write` wrote."""
    with safe_open(path, framework="pt") as file:
        neurons, plants = file.get_tensor("neurons").tolist(), file.get_tensor("plants").tolist()
        made = Provenance(**json.loads(file.metadata()["provenance"]))
        return Planted(tuple(Neuron(*one) for one in neurons), tuple(plants), file.get_tensor("vectors"), made)
