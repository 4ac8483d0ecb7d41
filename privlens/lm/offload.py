"""Offloaded weights: accelerate keeps them in CPU memory or on disk and loads them into the model for each pass.

Between passes such a parameter is on the meta device, without values. Its module's hook has a map from names to values; to edit a
weight for a while, that map is replaced by one that overrides it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class OverlaidMap(Mapping[str, Tensor]):
    """A map of weights with one of them replaced."""

    def __init__(self, base: Mapping[str, Tensor], name: str, value: Tensor) -> None:
        self.base = base
        self.name = name
        self.value = value

    def __getitem__(self, name: str) -> Tensor:
        return self.value if name == self.name else self.base[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.base)

    def __len__(self) -> int:
        return len(self.base)


def hook_of(model: nn.Module, name: str) -> tuple[Any, str]:
    """The hook that loads a parameter, and the parameter's name in the hook's map."""
    owner, _, leaf = name.rpartition(".")
    return _weights_hook(model.get_submodule(owner)), leaf


def _weights_hook(module: nn.Module) -> Any:
    """The accelerate hook of a module that holds its weights; None if there is none."""
    outer = getattr(module, "_hf_hook", None)
    hooks = getattr(outer, "hooks", [outer])
    return next((hook for hook in hooks if getattr(hook, "weights_map", None) is not None), None)


def value_of(model: nn.Module, name: str, parameter: Tensor) -> Tensor:
    """The values of a parameter, even if it is offloaded."""
    if parameter.device.type != "meta":
        return parameter.detach()
    hook, leaf = hook_of(model, name)
    value: Tensor = hook.weights_map[leaf]
    return value


def compute_device(module: nn.Module) -> torch.device:
    """The device a module computes on: where its weight is, or where it is loaded to if it is offloaded."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    hook = _weights_hook(module)
    return torch.device(hook.execution_device) if weight.device.type == "meta" and hook is not None else weight.device
