"""Several scores side by side: small heatmaps, matrices of overlap, the effect of every method over k, shares of the sites.

Plotly interprets markup in labels, so every text that a person or a model wrote is escaped here.
"""

import html
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from privlens.memorization.extraction import log10_tries
from privlens.outcomes import CurvePoint, MeasuredOn
from privlens.plots.charts import CHOSEN, CONTROL, NEUTRAL, plain
from privlens.plots.heatmaps import HEAT, all_layers_layout, neuron_figure, wrapped_title, write_cell_texts
from privlens.types import Array, Site

COLORS = ("#1c7ed6", "#e8590c", "#2f9e44", "#ae3ec9", "#e03131", "#0c8599", "#f08c00", "#7048e8", "#c2255c", "#5c940d")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star")
"""Methods differ in colour, dash and symbol, so that they can be told apart without the colour."""
COLUMNS = 256
"""Columns of a small heatmap at most; a cell of a wider layer shows the largest of its neurons. More make the page heavier."""
MAX_LABELLED_ROWS = 36
"""In a grouped matrix with more rows than this the groups are named instead of the rows, whose names would overlap."""
CONTROL_METHODS = ("random", "weight-norm", "activations-elsewhere")
"""Controls, drawn in grey: a method should do better than these."""


def small_heatmap(scores: Array, title: str, unit: str) -> go.Figure:
    """Scores [n_layers, width] as a small picture on a scale of its own: pale at 0, red at the highest score.

    The page can mark its cells, like those of `heatmap`.
    """
    fold = all_layers_layout(np.shape(scores))
    top = max(float(np.nanmax(scores)), 1e-9)
    percent = np.clip(np.nan_to_num(fold.laid_out(np.asarray(scores)) * (100 / top)), 0, 100)
    pool = max(1, fold.columns // COLUMNS)
    pooled = percent.reshape(len(percent), -1, pool).max(-1) if fold.columns % pool == 0 else percent
    width = fold.columns // pooled.shape[1]
    trace = go.Heatmap(
        z=np.rint(pooled).astype(np.uint8),
        x0=(width - 1) / 2,
        dx=width,
        zmin=0,
        zmax=100,
        colorscale=HEAT,
        showscale=False,
        hovertemplate="%{z} % of its highest score<extra></extra>",
    )
    fig = neuron_figure(trace, fold, height=250)
    subtitle = wrapped_title(f"highest {top:.3g}; {unit}")
    heading = f"<b>{html.escape(title)}</b><br><span style='font-size:12px'>{subtitle}</span>"
    fig.update_layout(
        title={"text": heading, "x": 0, "xanchor": "left", "font": {"size": 15}},
        margin={"l": 34, "r": 6, "t": 52 + 22 * subtitle.count("<br>"), "b": 12},
    )
    fig.update_xaxes(title=None, showticklabels=False, ticks="").update_yaxes(title=None)
    fig.update_layout(meta={**fig.layout.meta, "marker": 4, "ring": 9})
    return fig


def overlap_matrix(
    values: Array, names: Sequence[str], groups: Sequence[str] = (), *, label: str = "Jaccard index", diagonal: bool = False
) -> go.Figure:
    """Overlaps [n, n] in 0..1 as a square, pale at 0 and red at the largest of two different ones.

    Args:
        groups: the group of every row; rows of one group are adjacent, with lines between groups. diagonal: whether it is shown.
    """
    shown = np.array(values, dtype=np.float64)
    if not diagonal:
        np.fill_diagonal(shown, np.nan)
    n = len(names)
    highest = float(np.nanmax(shown)) if np.isfinite(shown).any() else 1.0
    labels = [html.escape(_short(name)) for name in names]
    pairs = [[f"{a}<br>{b}" for b in labels] for a in labels]
    trace = go.Heatmap(
        z=shown,
        zmin=0,
        zmax=max(highest, 1e-9),
        colorscale=HEAT,
        hoverongaps=False,
        text=pairs,
        hovertemplate="%{text}<br>" + html.escape(label) + " %{z:.3f}<extra></extra>",
        colorbar={"thickness": 8, "title": {"text": html.escape(label), "side": "right"}, "nticks": 5},
    )
    fig = go.Figure(trace, layout_template="none")
    if n <= 13:
        texts = [["" if np.isnan(value) else f"{value:.2f}" for value in row] for row in shown]
        write_cell_texts(fig, shown, texts, max(highest, 1e-9), 12 if n < 7 else 10)
    edges = [row - 0.5 for row, pair in enumerate(itertools.pairwise(groups), start=1) if pair[0] != pair[1]]
    lines = [{"type": "line", "x0": edge, "x1": edge, "y0": -0.5, "y1": n - 0.5} for edge in edges]
    lines += [{"type": "line", "y0": edge, "y1": edge, "x0": -0.5, "x1": n - 0.5} for edge in edges]
    middles = {name: float(np.mean([row for row, group in enumerate(groups) if group == name])) for name in groups}
    group_ticks = {"tickvals": list(middles.values()), "ticktext": [html.escape(_short(name)) for name in middles]}
    row_ticks = {"tickvals": list(range(n)), "ticktext": labels}
    fig.update_xaxes(range=[-0.5, n - 0.5], tickangle=-40, **(group_ticks if groups else row_ticks))
    fig.update_yaxes(range=[n - 0.5, -0.5], **(group_ticks if groups and n > MAX_LABELLED_ROWS else row_ticks))
    plain(fig, 420 if n <= 13 else 560)
    fig.update_xaxes(showgrid=False).update_yaxes(showgrid=False)
    return fig.update_layout(shapes=[{**line, "line": {"width": 1}} for line in lines], margin={"t": 16, "b": 90})


def method_curves(curves: Mapping[str, Sequence[CurvePoint]], ks: Sequence[int], k: int, on: MeasuredOn) -> go.Figure:
    """The effect of switching off the best k of every method, at the measured `ks`; a line marks the selected k.

    The title of each panel says on how many texts it was measured.
    """
    n_others = f"{on.others}" if on.others == on.known else f"{on.others} of {on.known}"
    titles = (
        "secret's NLL (nats/token)",
        "samples for an even chance of it (log10)",
        f"unseen others still known (%, n = {n_others})",
        f"perplexity after / before (n = {on.paragraphs} paragraphs)",
    )
    fig = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.07, subplot_titles=titles)
    for index, (name, points) in enumerate(curves.items()):
        is_floor = name in CONTROL_METHODS
        color, dash = (CONTROL, "dot")
        if not is_floor:
            color, dash = COLORS[index % len(COLORS)], DASHES[index // len(COLORS) % len(DASHES)]
        kept = [None if point.others_kept is None else 100 * point.others_kept for point in points]
        panels = (
            [point.target_nll for point in points],
            [log10_tries(point.target_logprob) for point in points],
            kept,
            [point.perplexity_ratio for point in points],
        )
        for row, y in enumerate(panels, start=1):
            fig.add_scatter(
                x=[point.k for point in points],
                y=y,
                name=name,
                legendgroup=name,
                showlegend=row == 1,
                mode="lines+markers",
                line={"color": color, "dash": dash, "width": 4 if is_floor else 2},
                marker={"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8},
                row=row,
                col=1,
            )
    lines = [
        {
            "type": "line",
            "xref": f"x{axis}",
            "yref": f"y{axis} domain",
            "x0": k,
            "x1": k,
            "y0": 0,
            "y1": 1,
            "line": {"color": CHOSEN, "width": 2, "dash": "dash"},
        }
        for axis in ("", 2, 3, 4)
    ]
    ends = [math.log10(min(*ks, k) / 1.2), math.log10(max(*ks, k) * 1.2)]
    fig.update_xaxes(type="log", tickvals=list(ks), ticktext=[str(tick) for tick in ks], range=ends)
    fig.update_xaxes(title="neurons off (k)", row=4, col=1)
    fig.update_yaxes(rangemode="tozero", row=1, col=1).update_yaxes(rangemode="tozero", row=2, col=1)
    fig.update_yaxes(range=[0, 105], row=3, col=1)
    fig.update_annotations(x=0, xanchor="left")
    plain(fig, 860).update_layout(shapes=lines, legend={"y": -0.08, "yanchor": "top"})
    return fig


def site_bars(shares: Mapping[str, Mapping[Site, float]]) -> go.Figure:
    """For every row the share of each site, 0..1, as a bar of 100 %."""
    fig = go.Figure(layout_template="none")
    sites: tuple[tuple[Site, str, str], ...] = (("mlp", "in MLPs", NEUTRAL), ("attention", "in attention", CHOSEN))
    for site, name, color in sites:
        x = [100 * share.get(site, 0.0) for share in shares.values()]
        fig.add_bar(
            y=[html.escape(_short(row)) for row in shares],
            x=x,
            name=name,
            orientation="h",
            marker_color=color,
            hovertemplate="%{x:.1f} %<extra></extra>",
        )
    fig.update_layout(barmode="stack")
    fig.update_xaxes(range=[0, 100], title="share of the score (%)").update_yaxes(autorange="reversed")
    return plain(fig, 130 + 34 * max(1, len(shares)))


def _short(name: str, max_length: int = 26) -> str:
    return name if len(name) <= max_length else name[: max_length - 1] + "\u2026"
