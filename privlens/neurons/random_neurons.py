"""The control of whatever is said of single neurons: others, drawn at random."""

import torch

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.types import Neuron


def random_neurons(lm: LanguageModel, k: int, seed: int, besides: frozenset[Neuron] = frozenset()) -> tuple[Neuron, ...]:
    """k different MLP neurons drawn uniformly from all layers, none of `besides`. Raises BadInput if there are fewer."""
    existing = lm.exists().nonzero()
    if not 0 <= k <= len(existing) - len(besides):
        raise BadInput(f"{k} random neurons were asked for, but this model has {len(existing) - len(besides)} others.")
    order = torch.randperm(len(existing), generator=torch.Generator().manual_seed(seed))
    drawn = (Neuron(*pair) for pair in existing[order[: k + len(besides)]].tolist())
    return tuple(neuron for neuron in drawn if neuron not in besides)[:k]
