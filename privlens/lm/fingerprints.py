"""The fingerprint of a model: a hash of every byte of every weight, so that no change, however sparse, goes unnoticed.

Each weight is hashed by itself (SHA-256) and the fingerprint is made of these digests. So with an edit in place only the weights
that it changes need hashing again, and the fingerprint is that of the same weights once they are saved and loaded. Knows
nothing of why weights change.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from privlens.lm.offload import value_of

Digests = Mapping[str, bytes]
"""The SHA-256 of each weight by its name in the model."""
HASHED_AT_ONCE = min(8, os.cpu_count() or 1)
"""Threads; hashlib lets go of Python's lock while it works."""


def digests(model: nn.Module, names: Iterable[str] | None = None) -> dict[str, bytes]:
    """The digests of these weights as they stand, of all where no names are given; wherever accelerate keeps them.

    Weights are the parameters, and the tensors that are saved with them: persistent buffers, and the scales of quantized maps.
    """
    weights = _weights(model)
    wanted = list(weights) if names is None else list(names)
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        hashed = pool.map(lambda name: _digest(name, value_of(model, name, weights[name])), wanted)
        return dict(zip(wanted, hashed, strict=True))


def fingerprint(model: nn.Module, found: Digests) -> str:
    """16 hexadecimal digits that change with any of the weights of a model; `found` are the digests of all of them."""
    whole = hashlib.sha256(type(model).__name__.encode())
    for name in sorted(found):
        whole.update(name.encode() + b"\0" + found[name])
    return whole.hexdigest()[:16]


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Every weight once: tied ones are one parameter under its first name."""
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    saved = {name: value for name, value in model.state_dict().items() if name not in tied and isinstance(value, Tensor)}
    return {**parameters, **saved}


def _digest(name: str, value: Tensor) -> bytes:
    about = f"{name} {value.dtype} {tuple(value.shape)}".encode()
    content = value.detach().flatten().contiguous().cpu().view(torch.uint8).numpy()
    hashed = hashlib.sha256(about)
    hashed.update(content.data)
    return hashed.digest()
