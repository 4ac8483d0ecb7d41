"""Profiles on the disk: numbers alone, in private files of the user's cache folder; no text and no token of a reference text.

A file says of which model and text it is, and holds a hash of its own numbers. One that is damaged, cut off, or of something else
is ignored, as if it were not there.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from privlens.process.private_files import OWNER_ONLY_FOLDER, private_file
from privlens.types import Array
from privlens.zoo.packaged import cache_folder

KIND = "privlens neurons 1"
"""The number counts up when an array changes its meaning; files of another kind are ignored."""
MAX_BYTES = 4_000_000_000
"""Of all files together; the oldest are removed. A profile of 32 x 14,336 neurons has about 0.2 GB, one of `demo` 5 MB."""

Tensors = Mapping[str, Array]


def profile_folder() -> Path:
    """The folder of stored profiles, whether or not it exists yet."""
    return cache_folder() / "neurons"


def save(name: str, tensors: Tensors) -> None:
    """Stores arrays under a name (letters, digits, hyphens). A cache that cannot be written is not an error."""
    folder = profile_folder()
    with suppress(OSError, SafetensorError):
        folder.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
        arrays = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
        with private_file(folder / f"{name}.safetensors") as file:
            save_file(arrays, file, {"kind": KIND, "name": name, "sha256": _hash(arrays)})
        _remove_oldest(folder)


def load(name: str) -> dict[str, Array] | None:
    """What was stored under a name; None if it is missing, damaged or of something else."""
    path = profile_folder() / f"{name}.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError):  # the last two for dtypes that numpy lacks
        return None
    if (metadata.get("kind"), metadata.get("name"), metadata.get("sha256")) != (KIND, name, _hash(arrays)):
        return None
    return arrays


def clear_profiles() -> int:
    """Removes all stored profiles; returns the bytes that this frees."""
    return _remove_oldest(profile_folder(), 0)


def _hash(arrays: Tensors) -> str:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].dtype} {arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).data)
    return digest.hexdigest()


def _remove_oldest(folder: Path, at_most: int | None = None) -> int:
    """Removes files, the oldest first, until the rest has at most so many bytes; returns the bytes that this frees."""
    files = []
    for path in folder.glob("*.safetensors"):
        with suppress(OSError):
            files.append((path.stat().st_mtime, path.stat().st_size, path))
    left, freed = sum(size for _, size, _ in files), 0
    for _, size, path in sorted(files):
        if left - freed <= (MAX_BYTES if at_most is None else at_most):
            break
        with suppress(OSError):
            path.unlink()
            freed += size
    return freed
