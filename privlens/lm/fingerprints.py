"""The fingerprint of a model: a hash of every byte of every weight, so that no change, however sparse, goes unnoticed.

Each weight is hashed separately (SHA-256) and the fingerprint is a hash of these digests. So after an edit only the weights that
it changes need to be hashed again, and the fingerprint is the same as when those weights are saved and loaded.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from privlens.lm.offload import value_of

Digests = Mapping[str, bytes]
"""The SHA-256 digest of each weight, by its name in the model."""
HASH_THREADS = min(8, os.cpu_count() or 1)
"""Threads that hash at once, which helps because hashlib releases the GIL."""


def digests(model: nn.Module, names: Iterable[str] | None = None) -> dict[str, bytes]:
    """The digests of these weights as they are now, of all weights if no names are given, offloaded ones included.

    Weights are the parameters and the tensors saved with them: persistent buffers, and the scales of quantized layers.
    """
    weights = _weights(model)
    selected = list(weights) if names is None else list(names)
    with ThreadPoolExecutor(HASH_THREADS) as pool:
        hashes = pool.map(lambda name: _digest(name, value_of(model, name, weights[name])), selected)
        return dict(zip(selected, hashes, strict=True))


def fingerprint(model: nn.Module, weights: Digests) -> str:
    """16 hexadecimal digits that change with any weight of a model; `weights` has the digests of all of them."""
    digest = hashlib.sha256(type(model).__name__.encode())
    for name in sorted(weights):
        digest.update(name.encode() + b"\0" + weights[name])
    return digest.hexdigest()[:16]


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Every weight once; tied weights are one parameter, under its first name."""
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    saved = {name: value for name, value in model.state_dict().items() if name not in tied and isinstance(value, Tensor)}
    return {**parameters, **saved}


def _digest(name: str, value: Tensor) -> bytes:
    header = f"{name} {value.dtype} {tuple(value.shape)}".encode()
    content = value.detach().flatten().contiguous().cpu().view(torch.uint8).numpy()
    digest = hashlib.sha256(header)
    digest.update(content.data)
    return digest.digest()
