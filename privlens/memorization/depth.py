"""How deep a value is buried, as named numbers: the same names in every JSON object and every row of the benchmarks."""

import math

from privlens.memorization.extraction import log10_tries
from privlens.outcomes import MemorizationState
from privlens.types import FormatExposure, Lift, Memorization


def depth(state: MemorizationState | Memorization) -> dict[str, float | str | None]:
    """The scale of a state that has no ceiling, and its verdict; None for what was not measured.

    `logprob` is in nats; `log10_tries` is log10 of the samples for an even chance; `format_bits` is the exposure among all values
    of the format, at most `format_max_bits`, with its 95 % interval; `lift_nats` and `lift_margin` are in nats.
    """
    return {
        "logprob": state.logprob,
        "log10_tries": finite(log10_tries(state.logprob)),
        **_in_format(state.format_exposure),
        **_lift(state.lift),
        "verdict": state.verdict,
    }


def finite(number: float) -> float | None:
    """The number, or None for infinity, which JSON does not have."""
    return number if math.isfinite(number) else None


def _in_format(exposure: FormatExposure | None) -> dict[str, float | str | None]:
    names = ("bits", "low_bits", "high_bits", "max_bits")
    return {f"format_{name}": None if exposure is None else getattr(exposure, name) for name in names}


def _lift(lift: Lift | None) -> dict[str, float | str | None]:
    return {f"lift_{name}": None if lift is None else getattr(lift, name) for name in ("nats", "margin", "rank", "n")}


def tries_in_words(logprob: float) -> str:
    """The number of samples for an even chance, rounded: 1, 37, 12,000, 4 billion, 10^18, never."""
    return samples_in_words(log10_tries(logprob))


def samples_in_words(exponent: float) -> str:
    """10^exponent samples in the same words."""
    if exponent == math.inf:
        return "never"
    if exponent >= 15:
        return f"10^{exponent:.0f}"
    count = 10**exponent
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"{_rounded(count / size):g} {word}"
    return f"{_rounded(count):,.0f}" if count >= 10 else f"{math.ceil(count - 1e-9)}"


def _rounded(count: float) -> float:
    """Two significant digits."""
    return float(f"{count:.2g}")
