"""The second thing that is done to a model: some weights take other values, for a while.

A sparse edit names parameters, places in them and values. On leaving the values that were there are put back, bit for bit,
whatever was raised inside; what one edit wrote another may write again, and they are undone in turn. Knows nothing of why.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from privlens.errors import BadInput
from privlens.records import Change, Edit

Places = tuple[Tensor, ...]
"""One index tensor for each dimension of a parameter."""


@dataclass(frozen=True, eq=False)
class Write:
    """New values [n] at some places of one parameter, on its device and in its type."""

    parameter: nn.Parameter
    places: Places
    values: Tensor


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
    flat, n = change.indices, len(change.indices)
    if flat.shape != (n,) or change.old.shape != (n,) or change.new.shape != (n,) or (np.diff(flat) <= 0).any():
        raise BadInput(f"This edit of {name} is broken: it needs ascending indices with old and new values. Make it again.")
    if n and (flat[0] < 0 or flat[-1] >= parameter.numel()):
        raise BadInput(f"This edit of {name} reaches past its {parameter.numel()} weights: use it on the model it was made on.")
    return torch.unravel_index(torch.tensor(flat, device=parameter.device), parameter.shape)


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
        weight = parameters[name]
        if untouched and not torch.equal(weight.detach()[where], torch.tensor(change.old).to(weight)):
            raise BadInput(f"This edit was made on other weights of {name} than these: use it on the model it was made on.")
        writes.append(Write(weight, where, torch.tensor(change.new).to(weight)))
        digest.update(name.encode() + change.indices.tobytes() + change.new.tobytes())
    return Ready(edit, tuple(writes), digest.hexdigest())


@contextmanager
def in_place(ready: Ready) -> Iterator[None]:
    """Inside, the model has the new values. A graph that was built inside must be used inside: torch refuses it later."""
    found = [write.parameter.detach()[write.places] for write in ready.writes]
    try:
        for write in ready.writes:
            _put(write, write.values)
        yield
    finally:
        for write, values in zip(ready.writes, found, strict=True):
            _put(write, values)


@torch.no_grad()
def _put(write: Write, values: Tensor) -> None:
    write.parameter[write.places] = values


def change_of(parameter: Tensor, new: Tensor) -> Change:
    """What turns a parameter into another tensor of its shape: only the entries that differ."""
    old, wanted = parameter.detach().flatten(), new.detach().to(parameter).flatten()
    at = (old != wanted).nonzero()[:, 0]
    return Change(at.cpu().numpy(), old[at].float().cpu().numpy(), wanted[at].float().cpu().numpy())


def model_fingerprint(model: nn.Module) -> str:
    """Hash of every parameter's name, shape and up to 4,096 evenly spaced values: cheap, and any training moves it."""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, parameter in model.named_parameters():
        flat = parameter.detach().flatten()
        sample = flat[:: max(1, flat.numel() // 4096)].float().cpu().numpy()
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(sample.tobytes())
    return digest.hexdigest()[:16]
