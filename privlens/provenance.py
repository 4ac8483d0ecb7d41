"""What every result records beside its numbers, for reproducibility."""

import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from privlens.lm.model import LanguageModel
from privlens.types import Provenance


def provenance(lm: LanguageModel, seed: int, settings: Mapping[str, Any], started: float) -> Provenance:
    """The provenance of a result; `started` is a time.perf_counter()."""
    chat = {"chat": True} if lm.is_chat else {}
    versions = {name: version(name) for name in ("torch", "transformers")}
    seconds = round(time.perf_counter() - started, 3)
    return Provenance(
        model=lm.name,
        fingerprint=lm.fingerprint,
        seed=seed,
        settings={**settings, **chat},
        versions=versions,
        seconds=seconds,
    )
