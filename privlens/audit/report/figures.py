"""A report's figures as inline SVG: drawn at 480 units' width, so that their text is legible on a phone and on paper.

Colours are those of the style sheet, by class. Every label passes through Markup.format, which escapes it. Each figure has a
title and a description for those who do not see it; the table beside it holds the same numbers.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from privlens.audit.population import Curve, Group
from privlens.audit.report.words import interval, percent, visible
from privlens.neurons.entropy_records import EntropyGroup, Line

WIDTH = 480
LABEL, RIGHT = 112, 72
"""Room for labels on the left and counts on the right of the figure of rates."""
LONGEST_LABEL = 16
BINS = 14
"""The most bars of a histogram, without that for values that are never sampled."""
LARGEST_SET = 16
"""Radius of the largest set of secrets."""


def _svg(name: str, height: float, title: str, description: str, parts: Iterable[str]) -> Markup:
    frame = Markup(
        '<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-labelledby="{name}-title {name}-desc">'
        '<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>'
    )
    opened = frame.format(width=WIDTH, height=height, name=name, title=title, description=description)
    return opened + Markup("").join(parts) + Markup("</svg>")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(kind, x1, y1, x2, y2)


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, text)


def _bar(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    rectangle = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    return rectangle.format(kind, x, y, max(0, width), max(0, height))


def rates(name: str, groups: Sequence[Group]) -> Markup:
    """A dot with its 95 % interval for each rate, on one axis of 0 to 100 %."""
    left, right, top, pitch = LABEL, WIDTH - RIGHT, 10, 26
    bottom = top + pitch * len(groups)

    def x(share: float) -> float:
        return left + share * (right - left)

    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts += [
            _line(x(tick), top, x(tick), bottom, "grid"),
            _text(x(tick), bottom + 16, f"{100 * tick:.0f} %", "middle", "quiet"),
        ]
    for place, group in enumerate(groups):
        y = top + pitch * (place + 0.5)
        parts += [_text(left - 10, y + 4, _short(group.name), "end"), *_whisker(group, x, y)]
        parts.append(_text(right + 10, y + 4, f"{group.rate.k} of {group.rate.n}", kind="quiet"))
    told = "; ".join(
        f"{visible(group.name)}: {group.rate.k} of {group.rate.n}, 95 % interval {interval(group.rate.bounds)}"
        for group in groups
    )
    return _svg(name, bottom + 24, "Rates with their 95 % intervals", told, parts)


def _whisker(group: Group, x: object, y: float) -> list[Markup]:
    assert callable(x)
    if group.rate.bounds is None:
        return []
    low, high = group.rate.bounds
    kind = "control" if group.name in CONTROL_ROWS else "secret"
    ends = [_line(x(end), y - 5, x(end), y + 5, f"{kind} stroke") for end in (low, high)]
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(f"{kind} fill", x(group.rate.k / group.rate.n), y)
    return [_line(x(low), y, x(high), y, f"{kind} stroke"), *ends, dot]


CONTROL_ROWS = ("paired controls", "never trained on")


def _short(text: str) -> str:
    text = visible(text)
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def curves(name: str, of: Sequence[Curve], exponents: Sequence[int]) -> Markup:
    """The share that n samples contain with a chance of p, over n; one line for each p, and the controls at an even chance."""
    left, right, top, bottom = 48, WIDTH - 16, 12, 224

    def point(exponent: float, share: float) -> tuple[float, float]:
        return left + (right - left) * exponent / exponents[-1], bottom - share * (bottom - top)

    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        (x1, y), (x2, _) = point(0, share), point(exponents[-1], share)
        parts += [_line(x1, y, x2, y, "grid"), _text(x1 - 8, y + 4, f"{100 * share:.0f} %", "end", "quiet")]
    for exponent in exponents[::3]:
        x, _ = point(exponent, 0)
        parts.append(_text(x, bottom + 18, _samples(exponent), "end" if exponent == exponents[-1] else "middle", "quiet"))
    parts.append(_text((left + right) / 2, bottom + 38, "samples, n", "middle", "quiet"))
    lines = [(curve.secrets, f"secret stroke dash{i}", f"p = {curve.chance:g}") for i, curve in enumerate(of)]
    even = next((curve for curve in of if curve.chance == 0.5 and curve.controls), None)
    if even:
        lines.append((even.controls, "control stroke", "controls, p = 0.5"))
    for place, (shares, kind, label) in enumerate(lines):
        path = " ".join("{:.1f},{:.1f}".format(*point(n, share)) for n, share in zip(exponents, shares, strict=True))
        parts.append(Markup('<polyline class="{}" points="{}"/>').format(kind, path))
        x, y = left + 150 * (place % 3), bottom + 62 + 20 * (place // 3)
        parts += [_line(x, y - 4, x + 30, y - 4, kind), _text(x + 38, y, label)]
    told = "; ".join(f"{label}: {_ends(shares, exponents)}" for shares, _, label in lines)
    return _svg(name, bottom + 92, "Share of values that n samples contain with a chance of at least p", told, parts)


def _ends(shares: Sequence[float], exponents: Sequence[int]) -> str:
    chosen = [0, len(shares) // 3, 2 * len(shares) // 3, -1]
    return ", ".join(f"{percent(shares[i])} with 10^{exponents[i]}" for i in chosen)


def _samples(exponent: int) -> str:
    names = {0: "1", 3: "1,000", 6: "1 million", 9: "1 billion"}
    return names.get(exponent, f"10^{exponent}")


def histogram(name: str, secrets: Sequence[float | None], controls: Sequence[float | None]) -> Markup:
    """How many values need how many samples: secrets above the axis, controls below; None is never."""
    finite = [exponent for exponent in (*secrets, *controls) if exponent is not None]
    step = max(1, math.ceil((max(finite, default=0) + 1) / BINS))
    n_bins = int(max(finite, default=0) // step) + 1
    never = None in (*secrets, *controls)
    above, below = _binned(secrets, step, n_bins), _binned(controls, step, n_bins)
    most = max((*above.values(), *below.values()), default=1)
    left, right, middle, height = 16, WIDTH - 16, 128, 100
    pitch = (right - left) / (n_bins + never)
    parts = [_text(left, 14, "secrets", kind="secret-text"), _text(left, middle + height + 22, "controls", kind="control-text")]
    for place in range(n_bins + never):
        x, key = left + pitch * place, place if place < n_bins else None
        up, down = above[key] / most * height, below[key] / most * height
        parts += [
            _bar(x + 1, middle - 9 - up, pitch - 2, up, "secret fill"),
            _bar(x + 1, middle + 9, pitch - 2, down, "control fill"),
        ]
        label = "never" if key is None else f"{step * place}" if step == 1 else f"{step * place}–{step * (place + 1)}"
        parts.append(_text(x + pitch / 2, middle + 4, label, "middle", "quiet small"))
        parts += [_text(x + pitch / 2, middle - 13 - up, str(above[key]), "middle", "small")] if above[key] else []
        parts += [_text(x + pitch / 2, middle + 21 + down, str(below[key]), "middle", "small")] if below[key] else []
    parts.append(_text(right, middle + height + 22, "powers of ten of samples", "end", "quiet"))
    told = f"Secrets: {_told(above, step)}. Controls: {_told(below, step)}."
    return _svg(name, middle + height + 34, "Samples needed for an even chance, in powers of ten", told, parts)


def entropy_sets(name: str, groups: Sequence[EntropyGroup], line: Line | None) -> Markup:
    """A circle for each set of secrets, at its entropy and distance, as large as their number; and the line through them."""
    left, right, top, bottom = 48, WIDTH - 24, 40, 244
    lowest = math.floor(min((group.entropy for group in groups), default=0))
    highest = max(lowest + 1, math.ceil(max((group.entropy for group in groups), default=1)))
    farthest = max((group.distance for group in groups), default=1) or 1

    def x(entropy: float) -> float:
        return left + (right - left) * (entropy - lowest) / (highest - lowest)

    def y(distance: float) -> float:
        return bottom - (bottom - top) * distance / farthest

    parts = []
    for distance in range(0, farthest + 1, math.ceil(farthest / 6)):
        parts += [
            _line(left, y(distance), right, y(distance), "grid"),
            _text(left - 8, y(distance) + 4, f"{distance}", "end", "quiet"),
        ]
    for entropy in range(lowest, highest + 1, math.ceil((highest - lowest) / 8)):
        parts.append(_text(x(entropy), bottom + 26, f"{entropy}", "middle", "quiet"))
    parts.append(_text((left + right) / 2, bottom + 46, "entropy of the set's tokens (bits)", "middle", "quiet"))
    parts.append(_text(4, 12, "distance (tokens)", kind="quiet"))
    if line:
        ends = [min(group.entropy for group in groups), max(group.entropy for group in groups)]
        fitted = [y(line.slope * end + line.intercept) for end in ends]
        parts.append(_line(x(ends[0]), fitted[0], x(ends[1]), fitted[1], "secret stroke dash2"))
    most = max((group.n_items for group in groups), default=1)
    circle = Markup('<circle class="secret stroke" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>')
    for group in groups:
        parts.append(circle.format(x(group.entropy), y(group.distance), LARGEST_SET * math.sqrt(group.n_items / most)))
    told = "; ".join(f"distance {group.distance}: {group.entropy:.2f} bits, {group.n_items} secrets" for group in groups)
    return _svg(
        name, bottom + 56, "Distance of what the model writes against the entropy of sets of secrets", told or "no sets", parts
    )


def _binned(exponents: Iterable[float | None], step: int, n_bins: int) -> Counter[int | None]:
    return Counter(None if exponent is None else min(int(exponent // step), n_bins - 1) for exponent in exponents)


def _told(counts: Counter[int | None], step: int) -> str:
    ordered = sorted(counts.items(), key=lambda item: math.inf if item[0] is None else item[0])
    names = [(("never" if key is None else f"10^{step * key} to 10^{step * (key + 1)}"), n) for key, n in ordered]
    return ", ".join(f"{n} at {name}" for name, n in names) or "none"
