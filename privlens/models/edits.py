"""The second thing that is done to a model: some weights take other values, for a while.

A sparse edit names parameters, places in them and values. On leaving the values that were there are put back, bit for bit,
whatever was raised inside; what one edit wrote another may write again, and they are undone in turn. Knows nothing of why.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from privlens.errors import BadInput
from privlens.models.shards import Overlaid, hook_of, value_of
from privlens.records import Change, Edit

Places = tuple[Tensor, ...]
"""One index tensor for each dimension of a parameter."""


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
    device = "cpu" if parameter.device.type == "meta" else parameter.device  # values that rest elsewhere are edited there
    return torch.unravel_index(torch.tensor(flat, device=device), parameter.shape)


@contextmanager
def edited(model: nn.Module, edit: Edit, *, untouched: bool = False) -> Iterator[None]:
    """Inside, the model has the new values. A graph that was built inside must be used inside: torch refuses it later.

    Args:
        untouched: the edit was made on the model just as it is now, so its old values must be found there.

    Raises:
        BadInput: where the edit does not fit; nothing is changed then.
    """
    parameters = dict(model.named_parameters())
    where = {name: places(name, change, parameters.get(name)) for name, change in edit.changes.items()}
    found = {name: value_of(model, name, parameters[name])[place].to(parameters[name].dtype) for name, place in where.items()}
    for name, change in edit.changes.items() if untouched else ():
        if not torch.equal(found[name], torch.tensor(change.old).to(found[name])):
            raise BadInput(f"This edit was made on other weights of {name} than these: use it on the model it was made on.")
    away = {name for name in where if parameters[name].device.type == "meta"}
    here = {name: place for name, place in where.items() if name not in away}
    maps = [(hook_of(model, name)[0], hook_of(model, name)[0].weights_map) for name in away]
    try:
        _write(parameters, here, _news(edit))
        _overlay(model, {name: where[name] for name in away}, _news(edit))
        yield
    finally:
        _write(parameters, here, found)
        for hook, weights_map in maps:
            hook.weights_map = weights_map


def fold(model: nn.Module, edit: Edit) -> None:
    """Makes the new values the model's own, for good. For a model that nobody holds yet, or one that is to be saved."""
    parameters = dict(model.named_parameters())
    where = {name: places(name, change, parameters.get(name)) for name, change in edit.changes.items()}
    away = {name: place for name, place in where.items() if parameters[name].device.type == "meta"}
    _write(parameters, {name: place for name, place in where.items() if name not in away}, _news(edit))
    _overlay(model, away, _news(edit))


def _news(edit: Edit) -> dict[str, Tensor]:
    return {name: torch.tensor(change.new) for name, change in edit.changes.items()}


def _overlay(model: nn.Module, where: dict[str, Places], values: dict[str, Tensor]) -> None:
    """New values for weights that are brought in for a pass: a changed copy is brought in instead."""
    for name, place in where.items():
        hook, leaf = hook_of(model, name)
        changed = hook.weights_map[leaf].clone()
        changed[place] = values[name].to(changed)
        hook.weights_map = Overlaid(hook.weights_map, leaf, changed)


def _write(parameters: dict[str, nn.Parameter], where: dict[str, Places], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, place in where.items():
            parameters[name][place] = values[name].to(parameters[name])


def change_of(parameter: Tensor, new: Tensor) -> Change:
    """What turns a parameter into another tensor of its shape: only the entries that differ."""
    old, wanted = parameter.detach().flatten(), new.detach().to(parameter).flatten()
    at = (old != wanted).nonzero()[:, 0]
    return Change(at.cpu().numpy(), old[at].float().cpu().numpy(), wanted[at].float().cpu().numpy())


def fingerprint(before: str, edit: Edit) -> str:
    """The fingerprint of a model with this edit in place, from the model's own and all that the edit writes."""
    digest = hashlib.sha256(before.encode())
    for name, change in sorted(edit.changes.items()):
        digest.update(name.encode())
        digest.update(change.indices.tobytes())
        digest.update(change.new.tobytes())
    return digest.hexdigest()[:16]
