"""`smollm2+planted`: a fluent model with a known ground truth. Each of its invented secrets was trained into neurons of its own.

What ships is not a model but the vectors of those neurons, in 16 bits, and a list that says which neurons carry which secret.
This module reads and writes them; `python -m privlens.planting.recipe make` makes them.
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
from privlens.lm.editing import weight_change
from privlens.lm.model import LanguageModel
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.resources import PLANTED_FILES
from privlens.types import Change, Edit, Neuron, Provenance


@dataclass(frozen=True, eq=False)
class Planted:
    """The planted neurons of a model.

    Attributes:
        neurons: [n] in any order. plants: [n] int, the row of secrets.csv whose secret the neuron carries.
        vectors: [n, 2 or 3, d], each neuron's output vector, then its input vectors, ordered as by
            `lm.neuron_vectors.neuron_vectors`; float16.
        provenance: how they were made, and the fingerprint of the model that they were made on.
    """

    neurons: tuple[Neuron, ...]
    plants: tuple[int, ...]
    vectors: Tensor
    provenance: Provenance

    def of(self, plant: int) -> tuple[Neuron, ...]:
        """The neurons that carry one secret."""
        return tuple(neuron for neuron, carried in zip(self.neurons, self.plants, strict=True) if carried == plant)

    def without(self, plants: Sequence[int]) -> "Planted":
        """Everything but these plants."""
        rows = [row for row, plant in enumerate(self.plants) if plant not in plants]
        neurons = tuple(self.neurons[row] for row in rows)
        return Planted(neurons, tuple(self.plants[row] for row in rows), self.vectors[rows], self.provenance)


def vectors_of(lm: LanguageModel, neurons: Sequence[Neuron]) -> Tensor:
    """The output and input vectors of these neurons in the model: [n, 2 or 3, d] float16, on the CPU."""
    by_neuron = []
    for layer, index in neurons:
        column = torch.tensor([index], device=lm.device)
        by_neuron.append(torch.cat([vectors.of(column) for vectors in neuron_vectors(lm, layer)]).half().cpu())
    return torch.stack(by_neuron)


def edit_of(lm: LanguageModel, planted: Planted) -> Edit:
    """The edit that puts the planted vectors into the model. Raises BadInput for any model but the one they were made on."""
    provenance = planted.provenance
    if provenance.fingerprint != lm.fingerprint:
        raise BadInput(
            f"The planted secrets belong in {provenance.model} ({provenance.fingerprint}), but this model is {lm.name} "
            f"({lm.fingerprint}): fetch that one with `python -m privlens models get {provenance.model}`."
        )
    changes: dict[str, Change] = {}
    for layer in sorted({neuron.layer for neuron in planted.neurons}):
        rows = [row for row, neuron in enumerate(planted.neurons) if neuron.layer == layer]
        indices = torch.tensor([planted.neurons[row].index for row in rows], device=lm.device)
        weights: dict[str, Tensor] = {}
        for kind, vectors in enumerate(neuron_vectors(lm, layer)):  # gate and up may be two halves of one weight
            weight = weights.get(vectors.name, vectors.weight.detach())
            weights[vectors.name] = vectors.put(weight, indices, planted.vectors[rows, kind].to(lm.device))
        parameters = dict(lm.model.named_parameters())
        changes |= {name: weight_change(parameters[name], weight) for name, weight in weights.items()}
    return Edit(changes, provenance)


@cache
def planted_truth(path: Path = PLANTED_FILES / "secrets.csv") -> dict[tuple[str, str], tuple[Neuron, ...]]:
    """The neurons that carry each planted secret, by its prompt and value."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [(row["prompt"], row["value"], row["neurons"].split()) for row in csv.DictReader(file)]
    return {
        (prompt, value): tuple(Neuron(*map(int, name.split(":"))) for name in names) for prompt, value, names in rows if names
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
        neurons = tuple(Neuron(layer, index) for layer, index in file.get_tensor("neurons").tolist())
        plants = tuple(file.get_tensor("plants").tolist())
        provenance = Provenance(**json.loads(file.metadata()["provenance"]))
        return Planted(neurons, plants, file.get_tensor("vectors"), provenance)
