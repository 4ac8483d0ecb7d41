"""What every result records beside its numbers, so that it can be had again."""

import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from privlens.lm.model import LanguageModel
from privlens.types import Provenance


def provenance(lm: LanguageModel, seed: int, settings: Mapping[str, Any], started: float) -> Provenance:
    """What a result depends on; `started` is a time.perf_counter()."""
    asked = {"chat": True} if lm.is_chat else {}
    versions = {name: version(name) for name in ("torch", "transformers")}
    seconds = round(time.perf_counter() - started, 3)
    return Provenance(lm.name, lm.fingerprint, seed, {**settings, **asked}, versions, seconds)
