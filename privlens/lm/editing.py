"""Sparse edits: some weights get other values for a while.

An edit names parameters, indices into them and values. What is needed to restore the old values is prepared before anything is
written. An edit may overwrite what another one wrote.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from privlens.errors import BadInput
from privlens.lm.offload import OverlaidMap, hook_of, value_of
from privlens.types import Change, Edit

IndexTensors = tuple[Tensor, ...]
"""One index tensor for each dimension of a parameter."""


@dataclass(frozen=True, eq=False)
class Write:
    """New values [n] for the entries of one parameter at `indices`, on its device and in its dtype.

    If accelerate has offloaded the parameter, `offloaded` is the hook that loads it and the parameter's name in that hook's map.
    """

    name: str
    parameter: nn.Parameter
    indices: IndexTensors
    values: Tensor
    offloaded: tuple[Any, str] | None = None


@dataclass(frozen=True, eq=False)
class PreparedEdit:
    """An edit that was checked against a model, with its tensors on the right devices; prepared once, written many times."""

    edit: Edit
    writes: tuple[Write, ...]


def check_change(name: str, change: Change) -> None:
    """Raises BadInput for a malformed change: wrong dtypes or shapes, unordered indices, or values that are not finite."""
    indices = change.indices
    arrays = (indices, change.old, change.new)
    if [array.dtype for array in arrays] != [np.int64, np.float32, np.float32]:
        raise BadInput(f"This edit of {name} is broken, its numbers are of another type. Make it again.")
    if any(array.shape != (indices.size,) for array in arrays) or (indices < 0).any() or (np.diff(indices) <= 0).any():
        raise BadInput(f"This edit of {name} is broken: it needs ascending indices with old and new values. Make it again.")
    if not (np.isfinite(change.old).all() and np.isfinite(change.new).all()):
        raise BadInput(f"This edit of {name} is broken: some of its values are infinite or NaN. Make it again.")


def _unravelled(name: str, change: Change, parameter: nn.Parameter | None) -> IndexTensors:
    """The indices of a change's entries in its parameter.

    Raises:
        BadInput: if the model has no such parameter, or the change does not fit it.
    """
    if parameter is None:
        raise BadInput(f"This edit changes {name}, which this model does not have: use it on the model it was made on.")
    if not parameter.is_floating_point():
        raise BadInput(f"{name} is quantized, and an edit would be rounded away: load the model as float32 or bfloat16.")
    check_change(name, change)
    indices = change.indices
    if len(indices) and indices[-1] >= parameter.numel():
        raise BadInput(f"This edit of {name} reaches past its {parameter.numel()} weights: use it on the model it was made on.")
    device = "cpu" if parameter.device.type == "meta" else parameter.device  # an offloaded parameter is edited on the CPU
    return torch.unravel_index(torch.tensor(indices, device=device), parameter.shape)


def ready(model: nn.Module, edit: Edit, *, untouched: bool) -> PreparedEdit:
    """Checks that an edit fits a model, and prepares writing it. Changes nothing.

    Args:
        untouched: the edit was made on the model exactly as it is now, so the model must hold the edit's old values.

    Raises:
        BadInput: if the edit does not fit.
    """
    parameters = dict(model.named_parameters())
    writes = []
    for name, change in sorted(edit.changes.items()):
        indices = _unravelled(name, change, parameters.get(name))
        weight = value_of(model, name, parameters[name])
        if untouched and not torch.equal(weight[indices], torch.tensor(change.old).to(weight)):
            raise BadInput(f"This edit was made on other weights of {name} than these: use it on the model it was made on.")
        offloaded = hook_of(model, name) if parameters[name].device.type == "meta" else None
        values = torch.tensor(change.new).to(weight)
        if not values.isfinite().all():
            raise BadInput(f"This edit of {name} has values too large for {weight.dtype}: load the model as float32 or bfloat16.")
        writes.append(Write(name, parameters[name], indices, values, offloaded))
    return PreparedEdit(edit, tuple(writes))


@torch.no_grad()
def put(ready: PreparedEdit) -> None:
    """Writes the new values into the model."""
    for write in ready.writes:
        if write.offloaded is None:
            write.parameter[write.indices] = write.values
        else:  # from now on the hook loads an edited copy
            hook, name = write.offloaded
            edited = hook.weights_map[name].clone()
            edited[write.indices] = write.values.to(edited)
            hook.weights_map = OverlaidMap(hook.weights_map, name, edited)


def put_back(write: Write) -> Callable[[], None]:
    """A function that restores the values a write is about to replace, or the map that holds them; it can be called again."""
    if write.offloaded is not None:
        hook = write.offloaded[0]
        return functools.partial(setattr, hook, "weights_map", hook.weights_map)
    before = write.parameter.detach()[write.indices]

    @torch.no_grad()
    def write_back() -> None:
        write.parameter[write.indices] = before

    return write_back


def weight_change(parameter: Tensor, new: Tensor) -> Change:
    """The change that turns a parameter into `new`, a tensor of the same shape: only the entries that differ."""
    old_values = parameter.detach().flatten()
    new_values = new.detach().to(parameter).flatten()
    indices = (old_values != new_values).nonzero()[:, 0]
    return Change(
        indices=indices.cpu().numpy(),
        old=old_values[indices].float().cpu().numpy(),
        new=new_values[indices].float().cpu().numpy(),
    )
