"""Erasing memorized text from the weights: entropy maximization (EMSO), other methods behind the same call, and attacks."""

from dataclasses import dataclass

from privlens.erasure.config import (
    ALL,
    ERASURE_METHODS,
    MAX_SHARE,
    RATES,
    SHARE_PER_TEXT,
    Depth,
    ErasureSettings,
    Request,
    Scope,
    method_settings,
)
from privlens.erasure.evaluate import GUARDED, GUARDED_KEPT
from privlens.erasure.loop import FORGOTTEN, REACHED, USED_UP, erase
from privlens.erasure.losses import LOSSES
from privlens.erasure.selection import Granularity, WeightMetric


@dataclass(frozen=True)
class ErasureInfo:
    """What a person needs to choose a method: what it does to the value's tokens, in one line."""

    meaning: str


ERASURE_INFO: dict[str, ErasureInfo] = {
    "emso": ErasureInfo("every token of the format becomes as likely as every other: entropy maximization (EMSO)"),
    "gradient-ascent": ErasureInfo("the value becomes unlikelier without end"),
    "unlikelihood": ErasureInfo("the value's tokens become unlikely, and no more once they are"),
    "npo": ErasureInfo("the value becomes unlikelier than it was, ever more slowly (negative preference optimization)"),
    "kl-uniform": ErasureInfo("the next token is drawn from all tokens evenly, the least likely ones too"),
    "undial": ErasureInfo("the model learns from itself with the value's tokens turned down"),
    "revs": ErasureInfo("pushed far down in the vocabulary space of a few neurons, without gradients (REVS); retains no text"),
    "low-curvature": ErasureInfo(
        "not looked at: what ordinary text hardly depends on is dropped from some matrices (K-FAC edit)"
    ),
}
"""In the order of ERASURE_METHODS, for menus and help texts."""

__all__ = [
    "ALL",
    "ERASURE_INFO",
    "ERASURE_METHODS",
    "FORGOTTEN",
    "GUARDED",
    "GUARDED_KEPT",
    "LOSSES",
    "MAX_SHARE",
    "RATES",
    "REACHED",
    "SHARE_PER_TEXT",
    "USED_UP",
    "Depth",
    "ErasureInfo",
    "ErasureSettings",
    "Granularity",
    "Request",
    "Scope",
    "WeightMetric",
    "erase",
    "method_settings",
]
