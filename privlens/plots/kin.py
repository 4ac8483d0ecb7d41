"""Coupled and universal neurons, entropy against memorization, and probes.

Plotly interprets markup in labels, so every name that a person gave is escaped here.
"""

import html
import math
import textwrap
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.optimize import brentq

from privlens.neurons.coupled_records import Coupling
from privlens.neurons.entropy_records import ENTROPY_CAUTIONS, EntropyLaw, EntropySets, Line
from privlens.neurons.probe_records import Erased, Probes
from privlens.neurons.share import Share
from privlens.neurons.universal_records import Universality
from privlens.plots.charts import CHOSEN, CONTROL, NEUTRAL, plain
from privlens.plots.heatmaps import HeatmapLayout, heatmap
from privlens.types import Neuron

BOTH = "#862e9c"
"""What two concepts have in common: neither's colour."""


def venn(coupling: Coupling) -> go.Figure:
    """The neurons of two concepts as circles; areas and their overlap are as large as the numbers in them, to scale.

    The best neurons of general text are in neither; the title says how many each concept has lost to them.
    """
    n_first, n_second, n_both = len(coupling.first), len(coupling.second), len(coupling.coupled)
    radii = (math.sqrt(n_first / math.pi), math.sqrt(n_second / math.pi))
    apart = distance_of_circles(*radii, n_both)
    fig = go.Figure(layout_template="none")
    for x, radius, color in ((0.0, radii[0], CHOSEN), (apart, radii[1], NEUTRAL)):
        box = {"x0": x - radius, "x1": x + radius, "y0": -radius, "y1": radius}
        fig.add_shape(type="circle", **box, fillcolor=color, opacity=0.35, line={"color": color})
    left, right = apart - radii[1], radii[0]  # the ends of what both have
    places = ((min(left, radii[0]) - radii[0]) / 2, (left + right) / 2, (max(right, apart - radii[1]) + apart + radii[1]) / 2)
    first, second = map(html.escape, coupling.names)
    labels = (f"{first} only<br>{n_first - n_both}", f"both<br>{n_both}", f"{second} only<br>{n_second - n_both}")
    hover = [label.replace("<br>", ": ") + " neurons" for label in labels]
    fig.add_scatter(
        x=places, y=[0, 0, 0], text=labels, mode="markers+text", marker={"opacity": 0}, hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>",
        showlegend=False,
    )  # fmt: skip
    parts, shared = coupling.venn, coupling.overlap
    lost = (
        f"general text has {parts.first_general + parts.all_three} of the best of {first}, "
        f"{parts.second_general + parts.all_three} of {second}"
    )
    chance = f"two independent sets would share {shared.expected:.1f} (p {shared.p_value:.2g})"
    fig.update_layout(title={"text": f"{lost}<br>{chance}", "font": {"size": 12}, "x": 0, "xanchor": "left"})
    widest = max(*radii, 1.0)
    ends = [-radii[0] - 0.1 * widest, max(radii[0], apart + radii[1]) + 0.1 * widest]  # plotly's own range leaves shapes out
    fig.update_xaxes(visible=False, range=ends, constrain="domain")
    fig.update_yaxes(visible=False, range=[-1.1 * widest, 1.1 * widest], scaleanchor="x", constrain="domain")
    return plain(fig, 320, top=64)


def distance_of_circles(first: float, second: float, area: float) -> float:
    """How far apart the centres of two circles of these radii are whose overlap has this area.

    Where one lies in the other, it touches it from within.
    """
    least, most = abs(first - second), first + second
    if area <= 0:
        return most
    if area >= math.pi * min(first, second) ** 2 * (1 - 1e-9):
        return least
    return float(brentq(lambda distance: lens_area(first, second, distance) - area, least + 1e-9 * most, most))


def lens_area(first: float, second: float, distance: float) -> float:
    """The area that two circles of these radii share at a distance between |first - second| and first + second."""

    def segment(radius: float, other: float) -> float:
        angle = math.acos(max(-1.0, min(1.0, (distance**2 + radius**2 - other**2) / (2 * distance * radius))))
        return radius**2 * (angle - math.sin(2 * angle) / 2)

    return segment(first, second) + segment(second, first)


PARTS = [[0.0, "rgba(134,142,150,0.1)"], [1 / 3, CHOSEN], [2 / 3, NEUTRAL], [1.0, BOTH]]
"""Discrete: no concept, the first alone, the second alone, both."""


def coupled_map(coupling: Coupling, fold: HeatmapLayout) -> go.Figure:
    """Every neuron by the concepts that need it: to close for the first alone, safe for the second, or in conflict.

    In bins the highest colour shows: both before the second before the first.
    """
    fig = heatmap(coupling.colors, fold, "concept", largest=3)
    first, second = map(html.escape, coupling.names)
    bar = {"tickvals": [0, 1, 2, 3], "ticktext": ["none", f"{first} only", f"{second} only", "both"]}
    return fig.update_traces(colorscale=PARTS, colorbar=bar)


def excess_histogram(result: Universality, chosen: Sequence[Neuron] = ()) -> go.Figure:
    """The share of neurons by excess correlation: given ones beside all others, with the limit of universal ones."""
    excess = result.excess
    is_chosen = np.zeros(excess.shape, bool)
    for layer, index in chosen:
        is_chosen[layer, index] = True
    alive = ~np.isnan(excess)
    fig = go.Figure(layout_template="none")
    named_others = "other neurons" if chosen else "neurons"
    groups = (("given neurons", is_chosen & alive, CHOSEN), (named_others, ~is_chosen & alive, NEUTRAL))
    edges = np.linspace(-1, 1, 81)
    for name, members, color in groups:
        values = excess[members]
        if len(values):
            counts = np.histogram(values.clip(-1, 1), edges)[0]
            fig.add_bar(
                x=((edges[1:] + edges[:-1]) / 2).tolist(),
                y=(100 * counts / len(values)).tolist(),
                name=f"{name} ({len(values):,})",
                marker_color=color,
                opacity=0.65,
                width=0.025,
            )
    fig.add_vline(x=result.threshold, line={"color": CONTROL, "dash": "dash"}, annotation_text="universal")
    low, high = (float(end) for end in (np.nanmin(excess), np.nanmax(excess))) if alive.any() else (0.0, 1.0)
    fig.update_layout(barmode="overlay")
    fig.update_xaxes(title="excess correlation", range=[min(low, 0) - 0.05, max(high, result.threshold) + 0.05])
    fig.update_yaxes(title="neurons (%)", rangemode="tozero")
    return plain(fig, 320)


def entropy_line(law: EntropyLaw) -> go.Figure:
    """Left, single secrets and the line through sets; the larger a set, the larger its marker. The objections stand below."""
    fig = go.Figure(layout_template="none")
    fig.add_scatter(
        x=[item.entropy for item in law.items],
        y=[item.distance for item in law.items],
        text=[f"row {item.row}, {html.escape(item.category)}" for item in law.items],
        hovertemplate="%{text}<br>distance %{y}, entropy %{x:.2f} bits<extra></extra>",
        name=f"single secrets{_r(law.of_items)}",
        mode="markers",
        cliponaxis=False,
        marker={"color": CONTROL, "size": 5, "opacity": 0.5},
    )
    _add_sets(fig, law)
    return _with_objections(fig, law)


def entropy_of_sets(sets: EntropySets) -> go.Figure:
    """The same of an audit, whose secrets do not show one by one."""
    fig = go.Figure(layout_template="none")
    _add_sets(fig, sets)
    small = f"So that none shows alone, {sets.n_left_out} secrets in sets of fewer than {sets.fewest} are left out."
    return _with_objections(fig, sets, [small] if sets.n_left_out else [])


def _add_sets(fig: go.Figure, sets: EntropySets) -> None:
    """The sets, and the line through them."""
    fig.add_scatter(
        x=[group.entropy for group in sets.groups],
        y=[group.distance for group in sets.groups],
        text=[f"{group.n_items} secrets, {group.n_tokens} tokens, {group.n_different} different" for group in sets.groups],
        hovertemplate="%{text}<br>distance %{y}, entropy %{x:.2f} bits<extra></extra>",
        name=f"sets of equal distance{_r(sets.line)}",
        mode="markers",
        cliponaxis=False,
        marker={"color": CHOSEN, "size": [6 + 3 * math.sqrt(group.n_items) for group in sets.groups], "opacity": 0.8},
    )
    if sets.line:
        ends = [min(group.entropy for group in sets.groups), max(group.entropy for group in sets.groups)]
        y = [sets.line.slope * end + sets.line.intercept for end in ends]
        fig.add_scatter(x=ends, y=y, name="least squares", mode="lines", line={"color": CHOSEN, "dash": "dot"}, hoverinfo="skip")


def _with_objections(fig: go.Figure, sets: EntropySets, notes: Sequence[str] = ()) -> go.Figure:
    """Below the picture: what the sets are compared with, and the objections."""
    said = [*notes, *([sets.too_few] if sets.too_few else [])]
    if sets.shuffled is not None and sets.p_value is not None:
        dealt = f"r {sets.shuffled:.2f} on average, as high as here with p {sets.p_value:.2g}"
        said.append(f"Distances dealt to the secrets at random: {dealt}.")
    if sets.normalized:
        said.append(f"By normalized entropy the sets have{_r(sets.normalized)}.")
    lines = [line for note in (*said, *ENTROPY_CAUTIONS) for line in textwrap.wrap(html.escape(note), 96)]
    fig.add_annotation(
        text="<br>".join(lines), xref="paper", yref="paper", x=0, y=0, yshift=-58, xanchor="left", yanchor="top", align="left",
        showarrow=False, font={"size": 11}, name="note",
    )  # fmt: skip
    fig.update_xaxes(title="entropy (bits)", title_standoff=6).update_yaxes(
        title="distance of the continuation (tokens)", rangemode="tozero"
    )
    fig = plain(fig, 420 + 15 * len(lines), top=64)
    return fig.update_layout(margin={"b": 70 + 15 * len(lines)})


def _r(line: Line | None) -> str:
    if line is None:
        return ""
    interval = f" ({line.interval[0]:.2f} to {line.interval[1]:.2f})" if line.interval else ""
    return f" r {line.r:.2f}{interval}"


COLORS = {"all on": NEUTRAL, "neurons off": CHOSEN, "random neurons off": CONTROL, "edited": BOTH}


def probe_curves(probes: Probes) -> go.Figure:
    """Accuracy over layers in every state of the model with its intervals; dotted the control task, dashed the largest class."""
    fig = go.Figure(layout_template="none")
    layers = list(range(len(probes.runs[0].accuracy)))
    for run in probes.runs:
        color = COLORS.get(run.condition, CHOSEN)
        rates, above, below = _percent(run.accuracy)
        fig.add_scatter(
            x=layers,
            y=rates,
            error_y={"type": "data", "array": above, "arrayminus": below, "thickness": 1},
            name=html.escape(run.condition),
            legendgroup=run.condition,
            mode="lines+markers",
            line={"color": color},
        )
        fig.add_scatter(
            x=layers,
            y=_percent(run.control)[0],
            name=f"control task, {html.escape(run.condition)}",
            legendgroup=run.condition,
            mode="lines",
            line={"color": color, "dash": "dot"},
        )
    if probes.majority.rate is not None:
        level = {"y": 100 * probes.majority.rate, "line": {"color": CONTROL, "dash": "dash"}}
        fig.add_hline(**level, annotation_text="most frequent class", annotation_position="bottom right")
    fig.update_xaxes(title="layer (0: embeddings)", dtick=max(1, len(layers) // 16))
    fig.update_yaxes(title=f"{html.escape(probes.target)} read (%)", range=[0, 105])
    return plain(fig, 380, top=84)


def kram_bars(erased: Erased) -> go.Figure:
    """What a probe reads before and after a map that erases it, with intervals; and which nearest neighbours states kept."""
    fig = make_subplots(rows=1, cols=2, horizontal_spacing=0.12)
    for name, share, color in (
        ("before", erased.before, NEUTRAL),
        ("after", erased.after, CHOSEN),
        ("control task", erased.control, CONTROL),
        ("largest class", erased.majority, CONTROL),
    ):
        [rate], [above], [below] = _percent([share])
        error = {"type": "data", "array": [above], "arrayminus": [below], "thickness": 1}
        fig.add_bar(x=[name], y=[rate], error_y=error, marker_color=color, showlegend=False, row=1, col=1)
    kept = (("half", erased.geometry.half), ("tenth", erased.geometry.tenth))
    for name, values, color in (
        ("kept", [alignment.score for _, alignment in kept], CHOSEN),
        ("by chance", [alignment.chance for _, alignment in kept], CONTROL),
    ):
        y = [100 * value for value in values]
        fig.add_bar(x=[part for part, _ in kept], y=y, name=name, marker_color=color, row=1, col=2)
    fig.update_yaxes(range=[0, 105])
    for column, title in enumerate((f"{html.escape(erased.target)} read (%)", "neighbours (%)"), 1):
        fig.update_xaxes(title={"text": title, "standoff": 8}, col=column)
    return plain(fig, 300)


def _percent(shares: Sequence[Share]) -> tuple[list[float], list[float], list[float]]:
    """Rates, and how far their intervals reach above and below."""
    rates = [100 * share.k / share.n for share in shares]
    ends = [share.interval or (0.0, 1.0) for share in shares]
    above = [100 * high - rate for rate, (_, high) in zip(rates, ends, strict=True)]
    below = [rate - 100 * low for rate, (low, _) in zip(rates, ends, strict=True)]
    return rates, above, below
