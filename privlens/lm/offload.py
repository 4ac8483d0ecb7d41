"""Weights that are not in the model while it rests: accelerate keeps them in CPU memory or on disk and brings them in for a pass.

Such a parameter is on the meta device, without values. Its module's hook has a map from names to values; to give a weight
other values for a while another map is laid over it. Knows nothing of why.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Overlaid(Mapping[str, Tensor]):
    """A map of weights with one of them replaced."""

    def __init__(self, below: Mapping[str, Tensor], name: str, value: Tensor) -> None:
        self.below, self.name, self.value = below, name, value

    def __getitem__(self, name: str) -> Tensor:
        return self.value if name == self.name else self.below[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.below)

    def __len__(self) -> int:
        return len(self.below)


def hook_of(model: nn.Module, name: str) -> tuple[Any, str]:
    """The hook that brings a parameter in, and the parameter's name in its map."""
    owner, _, leaf = name.rpartition(".")
    return _hooks(model.get_submodule(owner)), leaf


def _hooks(module: nn.Module) -> Any:
    """accelerate's hook of a module, the one of several that has weights."""
    hook = getattr(module, "_hf_hook", None)
    return next((one for one in getattr(hook, "hooks", [hook]) if getattr(one, "weights_map", None) is not None), None)


def value_of(model: nn.Module, name: str, parameter: Tensor) -> Tensor:
    """The values of a parameter, wherever they rest."""
    if parameter.device.type != "meta":
        return parameter.detach()
    hook, leaf = hook_of(model, name)
    found: Tensor = hook.weights_map[leaf]
    return found


def runs_on(module: nn.Module) -> torch.device:
    """Where a module computes: where its weights are, or where they are brought to."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    hook = _hooks(module)
    return torch.device(hook.execution_device) if weight.device.type == "meta" and hook is not None else weight.device
