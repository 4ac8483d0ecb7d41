"""The second thing that is done to a model: some weights take other values, for a while.

A sparse edit names parameters, places in them and values. On leaving the values that were there are put back, bit for bit,
whatever was raised inside; what one edit wrote another may write again, and they are undone in turn. Knows nothing of why.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from privlens.errors import BadInput
from privlens.models.shards import Overlaid, hook_of, value_of
from privlens.records import Change, Edit

Places = tuple[Tensor, ...]
"""One index tensor for each dimension of a parameter."""


@dataclass(frozen=True, eq=False)
class Write:
    """New values [n] at some places of one parameter, on its device and in its type.

    `away` is the hook that brings the parameter in, and its name there, where accelerate keeps it elsewhere.
    """

    parameter: nn.Parameter
    places: Places
    values: Tensor
    away: tuple[Any, str] | None = None


@dataclass(frozen=True, eq=False)
class Ready:
    """An edit that was found to fit a model, with its tensors where they are needed; made once, written many times.

    `content` is a hash of all that it writes.
    """

    edit: Edit
    writes: tuple[Write, ...]
    content: str

    def fingerprint(self, before: str) -> str:
        """The fingerprint of a model with this edit in place, from the one it had before."""
        return hashlib.sha256(f"{before} {self.content}".encode()).hexdigest()[:16]


def places(name: str, change: Change, parameter: nn.Parameter | None) -> Places:
    """Where a change stands in its parameter.

    Raises:
        BadInput: where the model has no such parameter, or the change does not fit into it.
    """
    if parameter is None:
        raise BadInput(f"This edit changes {name}, which this model does not have: use it on the model it was made on.")
    if not parameter.is_floating_point():
        raise BadInput(f"{name} is quantized, and an edit would be rounded away: load the model as float32 or bfloat16.")
    flat, n = change.indices, len(change.indices)
    if flat.shape != (n,) or change.old.shape != (n,) or change.new.shape != (n,) or (np.diff(flat) <= 0).any():
        raise BadInput(f"This edit of {name} is broken: it needs ascending indices with old and new values. Make it again.")
    if n and (flat[0] < 0 or flat[-1] >= parameter.numel()):
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
    parameters, writes, digest = dict(model.named_parameters()), [], hashlib.sha256()
    for name, change in sorted(edit.changes.items()):
        where = places(name, change, parameters.get(name))
        found = value_of(model, name, parameters[name])
        if untouched and not torch.equal(found[where], torch.tensor(change.old).to(found)):
            raise BadInput(f"This edit was made on other weights of {name} than these: use it on the model it was made on.")
        away = hook_of(model, name) if parameters[name].device.type == "meta" else None
        writes.append(Write(parameters[name], where, torch.tensor(change.new).to(found), away))
        digest.update(name.encode() + change.indices.tobytes() + change.new.tobytes())
    return Ready(edit, tuple(writes), digest.hexdigest())


@contextmanager
def in_place(ready: Ready) -> Iterator[None]:
    """Inside, the model has the new values. A graph that was built inside must be used inside: torch refuses it later."""
    found = [_found(write) for write in ready.writes]
    try:
        put(ready)
        yield
    finally:
        for write, before in zip(ready.writes, found, strict=True):
            _put_back(write, before)


@torch.no_grad()
def put(ready: Ready) -> None:
    """Makes the new values the model's own, for good: for a model that nobody holds yet."""
    for write in ready.writes:
        if write.away is None:
            write.parameter[write.places] = write.values
        else:  # a changed copy is brought in instead
            hook, name = write.away
            changed = hook.weights_map[name].clone()
            changed[write.places] = write.values.to(changed)
            hook.weights_map = Overlaid(hook.weights_map, name, changed)


def _found(write: Write) -> Any:
    """What must be put back: values, or the map that stood for the parameter."""
    return write.parameter.detach()[write.places] if write.away is None else write.away[0].weights_map


@torch.no_grad()
def _put_back(write: Write, before: Any) -> None:
    if write.away is None:
        write.parameter[write.places] = before
    else:
        write.away[0].weights_map = before


def change_of(parameter: Tensor, new: Tensor) -> Change:
    """What turns a parameter into another tensor of its shape: only the entries that differ."""
    old, wanted = parameter.detach().flatten(), new.detach().to(parameter).flatten()
    at = (old != wanted).nonzero()[:, 0]
    return Change(at.cpu().numpy(), old[at].float().cpu().numpy(), wanted[at].float().cpu().numpy())


def model_fingerprint(model: nn.Module) -> str:
    """Hash of every parameter's name, shape and up to 4,096 evenly spaced values: cheap, and any training moves it."""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, parameter in model.named_parameters():
        flat = value_of(model, name, parameter).flatten()
        sample = flat[:: max(1, flat.numel() // 4096)].float().cpu().numpy()
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(sample.tobytes())
    return digest.hexdigest()[:16]
