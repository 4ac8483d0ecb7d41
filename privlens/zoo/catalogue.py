"""The models known by name (bundled, in the cache, or still to be fetched) and the ones used last on this machine."""

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
from privlens.zoo.downloads import folder_size
from privlens.zoo.packaged import PACKAGED, SMOLLM2, cache_folder, folder_of, how_to_get, is_ready

TWIN = "demo-seed1"
"""The recipe of demo with other initial weights: to compare neurons with."""
BUNDLED = {"demo": ASSETS / "demo", TWIN: ASSETS / TWIN}
"""Models that come with PrivLens, by name."""
PLANTED = "smollm2+planted"
"""SMOLLM2 with planted secrets, whose neurons are known."""
EDIT = PLANTED_FILES / "edit.safetensors"
"""The edit that plants the secrets. A checkout in which nobody made it does not offer PLANTED."""
REMEMBERED = 5
"""Models in the list of those used last: enough to go back to one, few enough to read at a glance."""
_write_lock = threading.Lock()


@dataclass(frozen=True)
class KnownModel:
    """One line of the list. `state` is "ready" or "to fetch"; `n_bytes` is the size of the download or on the disk."""

    name: str
    state: str
    n_bytes: int
    about: str


@dataclass(frozen=True)
class LastUse:
    """A model that was loaded, with its device and type; `at` is in seconds since 1970."""

    name: str
    device: str
    dtype: str
    at: float


def source_of(name: str) -> str:
    """The folder of a model known by name, or the name itself. Raises ModelNotFound if the model was not fetched yet."""
    packaged = SMOLLM2 if name == PLANTED else PACKAGED.get(name)
    if packaged is None:
        return str(BUNDLED.get(name, name))
    if name == PLANTED and not EDIT.exists():
        raise ModelNotFound(f"{EDIT} does not exist: make it with `python -m privlens.planting.recipe make`.")
    if not is_ready(packaged):
        raise ModelNotFound(f"{name} is not on this machine yet: {how_to_get(packaged)}.")
    return str(folder_of(packaged))


def known_models() -> list[KnownModel]:
    """All models that PrivLens knows by name."""
    demo = "bundled: 4 million parameters, invented people that it knows by heart"
    twin = "bundled: the same people, texts and tokenizer from other initial weights, to compare neurons with"
    models = [KnownModel(name, "ready", folder_size(BUNDLED[name]), about) for name, about in (("demo", demo), (TWIN, twin))]
    for model in PACKAGED.values():
        state, n_bytes = ("ready", folder_size(folder_of(model))) if is_ready(model) else ("to fetch", model.n_bytes)
        models.append(KnownModel(model.name, state, n_bytes, model.about))
    if not EDIT.exists():
        return models
    planted = "smollm2 with invented secrets planted into known neurons (assets/planted/secrets.csv)"
    return [*models, KnownModel(PLANTED, models[-1].state, models[-1].n_bytes, planted)]


def remember(name: str, device: str, dtype: str) -> None:
    """Records that a model was loaded. A cache that cannot be written is not an error."""
    latest = LastUse(name, device, dtype, round(time.time(), 1))
    with _write_lock, suppress(OSError):
        uses = [latest, *(use for use in last_used() if (use.name, use.device, use.dtype) != (name, device, dtype))]
        cache_folder().mkdir(parents=True, exist_ok=True)
        # Written atomically: another thread or process reads the old file or the new one, never half of it.
        write_private(_last_used_file(), json.dumps([asdict(use) for use in uses[:REMEMBERED]]))


def last_used() -> Sequence[LastUse]:
    """The models that were loaded, latest first; empty if nothing was recorded."""
    try:
        return [LastUse(**use) for use in json.loads(_last_used_file().read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def _last_used_file() -> Path:
    return cache_folder() / "last-used.json"
