"""The second thing that is done to a model: some weights take other values, for a while.

A sparse edit names parameters, places in them and values; what it takes to put back what stood there is made before anything is
written. What one edit wrote another may write again. Knows nothing of why, nor of when.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from privlens.errors import BadInput
from privlens.lm.offload import Overlaid, hook_of, value_of
from privlens.types import Change, Edit

Places = tuple[Tensor, ...]
"""One index tensor for each dimension of a parameter."""


@dataclass(frozen=True, eq=False)
class Write:
    """New values [n] at some places of one parameter, on its device and in its type.

    `away` is the hook that brings the parameter in, and its name there, where accelerate keeps it elsewhere.
    """

    name: str
    parameter: nn.Parameter
    places: Places
    values: Tensor
    away: tuple[Any, str] | None = None


@dataclass(frozen=True, eq=False)
class Ready:
    """An edit that was found to fit a model, with its tensors where they are needed; made once, written many times."""

    edit: Edit
    writes: tuple[Write, ...]


def check_change(name: str, change: Change) -> None:
    """Raises BadInput for a change that fits no parameter: of other types or shapes, out of order, or not of numbers."""
    flat, parts = change.indices, (change.indices, change.old, change.new)
    if [part.dtype for part in parts] != [np.int64, np.float32, np.float32]:
        raise BadInput(f"This edit of {name} is broken, its numbers are of another type. Make it again.")
    if any(part.shape != (flat.size,) for part in parts) or (flat < 0).any() or (np.diff(flat) <= 0).any():
        raise BadInput(f"This edit of {name} is broken: it needs ascending indices with old and new values. Make it again.")
    if not (np.isfinite(change.old).all() and np.isfinite(change.new).all()):
        raise BadInput(f"This edit of {name} is broken: some of its values are infinite or no numbers. Make it again.")


def places(name: str, change: Change, parameter: nn.Parameter | None) -> Places:
    """Where a change stands in its parameter.

    Raises:
        BadInput: where the model has no such parameter, or the change does not fit into it.
    """
    if parameter is None:
        raise BadInput(f"This edit changes {name}, which this model does not have: use it on the model it was made on.")
    if not parameter.is_floating_point():
        raise BadInput(f"{name} is quantized, and an edit would be rounded away: load the model as float32 or bfloat16.")
    check_change(name, change)
    flat = change.indices
    if len(flat) and flat[-1] >= parameter.numel():
        raise BadInput(f"This edit of {name} reaches past its {parameter.numel()} weights: use it on the model it was made on.")
    device = "cpu" if parameter.device.type == "meta" else parameter.device  # what is kept elsewhere is edited there
    return torch.unravel_index(torch.tensor(flat, device=device), parameter.shape)


def ready(model: nn.Module, edit: Edit, *, untouched: bool) -> Ready:
    """Looks whether an edit fits a model, and prepares what writing it needs. Changes nothing.

    Args:
        untouched: the edit was made on the model just as it is now, so its old values must be found there.

    Raises:
        BadInput: where the edit does not fit.
    """
    parameters, writes = dict(model.named_parameters()), []
    for name, change in sorted(edit.changes.items()):
        where = places(name, change, parameters.get(name))
        found = value_of(model, name, parameters[name])
        if untouched and not torch.equal(found[where], torch.tensor(change.old).to(found)):
            raise BadInput(f"This edit was made on other weights of {name} than these: use it on the model it was made on.")
        away = hook_of(model, name) if parameters[name].device.type == "meta" else None
        values = torch.tensor(change.new).to(found)
        if not values.isfinite().all():
            raise BadInput(f"This edit of {name} has values too large for {found.dtype}: load the model as float32 or bfloat16.")
        writes.append(Write(name, parameters[name], where, values, away))
    return Ready(edit, tuple(writes))


@torch.no_grad()
def put(ready: Ready) -> None:
    """Writes the new values into the model, each parameter in turn."""
    for write in ready.writes:
        if write.away is None:
            write.parameter[write.places] = write.values
        else:  # a changed copy is brought in instead
            hook, name = write.away
            changed = hook.weights_map[name].clone()
            changed[write.places] = write.values.to(changed)
            hook.weights_map = Overlaid(hook.weights_map, name, changed)


def put_back(write: Write) -> Callable[[], None]:
    """What puts back, as often as it is called, the values that stand at a write's places now, or the map that has them."""
    if write.away is not None:
        hook = write.away[0]
        return functools.partial(setattr, hook, "weights_map", hook.weights_map)
    before = write.parameter.detach()[write.places]

    @torch.no_grad()
    def write_back() -> None:
        write.parameter[write.places] = before

    return write_back


def change_of(parameter: Tensor, new: Tensor) -> Change:
    """What turns a parameter into another tensor of its shape: only the entries that differ."""
    old, wanted = parameter.detach().flatten(), new.detach().to(parameter).flatten()
    at = (old != wanted).nonzero()[:, 0]
    return Change(at.cpu().numpy(), old[at].float().cpu().numpy(), wanted[at].float().cpu().numpy())
