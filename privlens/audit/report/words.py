"""Numbers and foreign text as a report prints them."""

import math
import re
import unicodedata
from datetime import datetime

from privlens.audit.population import Rate
from privlens.intervals import Interval
from privlens.memorization.depth import samples_in_words

NO_BREAK = "\u00a0"
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of what has no picture of its own: controls, bidirectional overrides, zero widths, lone surrogates."""
ABSENT = "–"


def visible(text: str) -> str:
    """Text that a model or a stranger wrote, with what is invisible as its code point: <U+202E> is a right-to-left override."""
    return "".join(f"<U+{ord(char):04X}>" if unicodedata.category(char) in HIDDEN else char for char in text)


def percent(share: float | None) -> str:
    """A share with one decimal; 0 % and 100 % only where they are exact."""
    if share is None:
        return ABSENT
    digits = f"{100 * share:.1f}"
    if digits == "100.0" and share < 1:
        digits = "> 99.9"
    if digits == "0.0" and share > 0:
        digits = "< 0.1"
    return digits.removesuffix(".0") + NO_BREAK + "%"


def interval(bounds: Interval | None) -> str:
    """Both ends of an interval of a share."""
    return ABSENT if bounds is None else f"{percent(bounds[0])} to {percent(bounds[1])}"


def rate(of: Rate | None) -> str:
    """k of n, the share, and the interval to go by."""
    if of is None or not of.n:
        return "none measured"
    return f"{of.k:,} of {of.n:,} ({percent(of.k / of.n)}; 95{NO_BREAK}% interval {interval(of.bounds)})"


def tries(exponent: float | None) -> str:
    """Samples for an even chance, in words."""
    return samples_in_words(math.inf if exponent is None else exponent)


def power(change: float | None) -> str:
    """A change of log10 tries as a factor, in words; without end where the value is never sampled any more."""
    if change is None:
        return ABSENT
    if change == math.inf:
        return "without end"
    sign = "÷" if change < -0.005 else "×"  # what rounds to one is a factor
    size = abs(change)
    return f"{sign}{NO_BREAK}{samples_in_words(size) if size >= 1 else format(10**size, '.1f')}"


def p_value(p: float | None) -> str:
    """A p value, never as 0."""
    if p is None:
        return ABSENT
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed decimals."""
    return ABSENT if value is None else f"{value:,.{digits}f}"


def signed(value: float | None) -> str:
    """A number of nats with its sign."""
    return ABSENT if value is None else f"{value:+.1f}"


def moment(text: str) -> str:
    """A time in ISO 8601 as people write it; other text as it stands."""
    try:
        time = datetime.fromisoformat(re.sub("Z$", "+00:00", text))
    except ValueError:
        return visible(text)
    zone = time.strftime("%Z").replace("UTC+00:00", "UTC")
    return f"{time.day} {time:%B %Y, %H:%M} {zone}".strip()


def duration(seconds: float) -> str:
    """Seconds in hours, minutes or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def counted(n: int, thing: str, things: str = "") -> str:
    """`1 secret`, `12 secrets`."""
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"
