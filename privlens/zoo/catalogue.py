"""Which models there are by name: bundled, fetched into the cache, or to be fetched; and which were used last on this machine."""

import json
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from privlens.errors import ModelNotFound
from privlens.process.private_files import write_private
from privlens.resources import ASSETS, PLANTED_FILES
from privlens.zoo.downloads import size_of
from privlens.zoo.packaged import PACKAGED, SMOLLM2, cache_folder, folder_of, how_to_get, is_ready

BUNDLED = {"demo": ASSETS / "demo"}
"""Models that come with PrivLens, by name."""
PLANTED = "smollm2+planted"
"""SMOLLM2 with planted secrets, whose neurons are known."""
EDIT = PLANTED_FILES / "edit.safetensors"
"""The planted secrets; a checkout in which nobody made them has no such model."""
REMEMBERED = 5
_writing = threading.Lock()


@dataclass(frozen=True)
class KnownModel:
    """One line of the list: `state` is ready or to fetch, `n_bytes` of the download or on the disk."""

    name: str
    state: str
    n_bytes: int
    about: str


@dataclass(frozen=True)
class LastUse:
    """A model that was loaded, where and as what; `at` in seconds since 1970."""

    name: str
    device: str
    dtype: str
    at: float


def source_of(name: str) -> str:
    """A folder for a name that is known here, else the name itself. Raises ModelNotFound where it was not fetched yet."""
    packaged = SMOLLM2 if name == PLANTED else PACKAGED.get(name)
    if packaged is None:
        return str(BUNDLED.get(name, name))
    if name == PLANTED and not EDIT.exists():
        raise ModelNotFound(f"{EDIT} is not there: make it with `python -m privlens.planting.recipe make`.")
    if not is_ready(packaged):
        raise ModelNotFound(f"{name} is not on this machine yet: {how_to_get(packaged)}.")
    return str(folder_of(packaged))


def known_models() -> list[KnownModel]:
    """All models with a name of their own."""
    demo = "bundled: 4 million parameters, invented people that it knows by heart"
    found = [KnownModel("demo", "ready", size_of(BUNDLED["demo"]), demo)]
    for one in PACKAGED.values():
        state, n_bytes = ("ready", size_of(folder_of(one))) if is_ready(one) else ("to fetch", one.n_bytes)
        found.append(KnownModel(one.name, state, n_bytes, one.about))
    if not EDIT.exists():
        return found
    planted = "smollm2 with invented secrets planted into known neurons (assets/planted/secrets.csv)"
    return [*found, KnownModel(PLANTED, found[-1].state, found[-1].n_bytes, planted)]


def remember(name: str, device: str, dtype: str) -> None:
    """Writes down that a model was loaded; a cache that cannot be written is no reason to fail."""
    now = LastUse(name, device, dtype, round(time.time(), 1))
    with _writing, suppress(OSError):
        uses = [now, *(use for use in last_used() if (use.name, use.device, use.dtype) != (name, device, dtype))]
        cache_folder().mkdir(parents=True, exist_ok=True)
        # Whoever reads meanwhile, also another process, sees the file before or after it, and never half of it.
        write_private(_file(), json.dumps([asdict(use) for use in uses[:REMEMBERED]]))


def last_used() -> Sequence[LastUse]:
    """The latest first; empty where nothing was written down."""
    try:
        return [LastUse(**use) for use in json.loads(_file().read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def _file() -> Path:
    return cache_folder() / "last-used.json"
