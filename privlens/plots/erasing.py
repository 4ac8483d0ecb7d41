"""An erasure step by step, and where in the model the changed weights are.

Plotly interprets markup in labels, so every name that comes from a model is escaped here.
"""

import html
import re
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from privlens.outcomes import AttributionShift, EraseOrHide, ErasureStep
from privlens.plots.charts import CHOSEN, CONTROL, NEUTRAL, plain
from privlens.plots.heatmaps import HEAT, write_cell_texts

OUTSIDE = "outside"
"""The row of matrices outside the layers, such as the embeddings."""
MAX_LABELLED_ROWS = 16
"""With at most this many rows the cells have numbers in them; more would be too small, and numbers appear on hover alone."""


def erasure_curves(steps: Sequence[ErasureStep], guard: float) -> go.Figure:
    """Entropy, NLL and MA of what is erased, and perplexity, step by step.

    Two lines: the MA of unseen text, which is the goal, and the guard, which perplexity must not exceed.
    """
    titles = ("entropy (nats): up", "NLL (nats/token): up", "MA (% of tokens): down", "perplexity, after / before: level")
    fig = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.075, subplot_titles=titles)
    measured = [step for step in steps if step.measured]
    trained = [step for step in steps if not step.measured]
    for panel in range(3):
        for name, series, mode, color in (
            ("texts of the step", trained, "lines", NEUTRAL),
            ("all secrets, measured", measured, "markers", CHOSEN),
        ):
            fig.add_scatter(
                x=[step.step for step in series],
                y=[_panel_values(step)[panel] for step in series],
                name=name,
                legendgroup=name,
                mode=mode,
                showlegend=not panel,
                line={"color": color},
                marker={"color": color, "size": 9},
                row=panel + 1,
                col=1,
            )
    with_ratio = [step for step in measured if step.perplexity_ratio is not None]
    fig.add_scatter(
        x=[step.step for step in with_ratio],
        y=[step.perplexity_ratio for step in with_ratio],
        name="perplexity",
        mode="lines+markers",
        showlegend=False,
        line={"color": CHOSEN},
        row=4,
        col=1,
    )
    last = max((step.step for step in steps), default=0)
    for step in steps[:1]:
        fig.add_scatter(
            x=[0, max(1, last)],
            y=[100 * step.unseen_accuracy] * 2,
            name="unseen text",
            mode="lines",
            line={"color": CONTROL, "dash": "dot"},
            row=3,
            col=1,
        )
    fig.add_scatter(
        x=[0, max(1, last)],
        y=[guard, guard],
        name=f"guard x{guard:.3g}",
        mode="lines",
        line={"color": CONTROL, "dash": "dash"},
        row=4,
        col=1,
    )
    fig.update_yaxes(rangemode="tozero", row=1, col=1).update_yaxes(rangemode="tozero", row=2, col=1)
    fig.update_yaxes(range=[0, 105], row=3, col=1)
    highest = max([guard, *(step.perplexity_ratio or 1 for step in with_ratio)])
    lowest = min([1, *(step.perplexity_ratio or 1 for step in with_ratio)])
    fig.update_yaxes(range=[lowest - 0.01, highest + 0.01], row=4, col=1)
    fig.update_xaxes(title="step", row=4, col=1)
    fig.update_annotations(x=0, xanchor="left", font={"size": 13})
    return plain(fig, 620, top=84, legend_y=1.06)


def _panel_values(step: ErasureStep) -> tuple[float, float, float]:
    """Entropy in nats, NLL in nats/token, MA in percent."""
    return step.entropy, step.nll, 100 * step.memorization_accuracy


def layer_and_matrix(name: str) -> tuple[int | None, str]:
    """Layer and matrix of a parameter by its name in the model; the layer is None outside the layers."""
    match = re.search(r"\.(\d+)\.", name)
    if not match:
        return None, name.removesuffix(".weight")
    return int(match[1]), name[match.end() :].removesuffix(".weight")


def changed_weights(changed: Mapping[str, int], sizes: Mapping[str, int]) -> go.Figure:
    """The share of each matrix that changed: layers as rows, the matrices of a layer as columns.

    Args:
        changed: how many weights changed, by parameter. sizes: how many weights each parameter shown has.
    """
    layers = sorted({layer for layer, _ in map(layer_and_matrix, sizes) if layer is not None})
    outside = any(layer_and_matrix(name)[0] is None for name in sizes)
    rows: list[int | None] = [*layers, *([None] if outside else [])]
    columns = list(dict.fromkeys(matrix for _, matrix in map(layer_and_matrix, sizes)))
    percent = np.full((len(rows), len(columns)), np.nan)
    hover = [["" for _ in columns] for _ in rows]
    labels = [["" for _ in columns] for _ in rows]
    for name, size in sizes.items():
        layer, matrix = layer_and_matrix(name)
        y, x = rows.index(layer), columns.index(matrix)
        n = changed.get(name, 0)
        percent[y, x] = 100 * n / size
        hover[y][x] = f"{html.escape(name)}<br>{n:,} of {size:,} weights changed ({100 * n / size:.3g} %)"
        labels[y][x] = f"{n:,}" if n else ""
    top = max(float(np.nanmax(percent)), 1e-9)
    trace = go.Heatmap(
        z=percent,
        zmin=0,
        zmax=top,
        colorscale=HEAT,
        hoverongaps=False,
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        xgap=2,
        ygap=2,
        colorbar={"thickness": 8, "title": {"text": "changed (%)", "side": "right"}, "nticks": 5},
    )
    fig = go.Figure(trace, layout_template="none")
    if len(rows) <= MAX_LABELLED_ROWS:
        write_cell_texts(fig, percent, labels, top, 12)
    names = [OUTSIDE if row is None else str(row) for row in rows]
    tick_step = max(1, len(rows) // MAX_LABELLED_ROWS)
    fig.update_yaxes(
        range=[len(rows) - 0.5, -0.5],
        tickvals=list(range(len(rows)))[::tick_step],
        ticktext=names[::tick_step],
        title="layer",
        showgrid=False,
    )
    fig.update_xaxes(
        range=[-0.5, len(columns) - 0.5],
        tickvals=list(range(len(columns))),
        tickangle=-40,
        showgrid=False,
        tickfont={"size": 11},
        ticktext=[_short(column) for column in columns],
    )
    return plain(fig, min(700, 170 + 30 * len(rows)), top=16)


MAX_POINTS = 1200
"""Neurons in the scatter, at most: more would lie on top of one another, and make the page slow."""


def erase_or_hide(records: Sequence[EraseOrHide]) -> go.Figure:
    """Left, the neurons' attributions before and after; right, what supporters lost and suppressors gained, beside the controls.

    On the diagonal nothing changed; towards the horizontal line a supporter was weakened; below it a neuron suppresses the value.
    """
    titles = ("attribution of a neuron (nats), before and after", "sums over the neurons (nats)")
    fig = make_subplots(rows=1, cols=2, column_widths=[0.55, 0.45], horizontal_spacing=0.12, subplot_titles=titles)
    each = max(1, MAX_POINTS // max(1, len(records)))
    points = [
        (before, after, f"layer {neuron.layer}, neuron {neuron.index}<br>{html.escape(record.secret.value)}")
        for record in records
        for neuron, before, after in zip(record.neurons[:each], record.before[:each], record.after[:each], strict=True)
    ]
    for name, color, group in (
        ("supporters before", NEUTRAL, [point for point in points if point[0] > 0]),
        ("others before", CHOSEN, [point for point in points if point[0] <= 0]),
    ):
        fig.add_scatter(
            x=[point[0] for point in group],
            y=[point[1] for point in group],
            text=[point[2] for point in group],
            hovertemplate="%{text}<br>%{x:.3g} before, %{y:.3g} after<extra></extra>",
            name=name,
            mode="markers",
            marker={"color": color, "size": 5, "opacity": 0.6},
            row=1,
            col=1,
        )
    ends = [min((point[0] for point in points), default=0.0), max((point[0] for point in points), default=0.0)]
    line = {"color": CONTROL, "dash": "dot"}
    fig.add_scatter(x=ends, y=ends, name="unchanged", mode="lines", line=line, hoverinfo="skip", row=1, col=1)
    controls = [record.random for record in records if record.random]
    others = [shift for record in records[:1] for shift in record.others]
    for name, color, shifts in (
        ("this edit", CHOSEN, [record.shift for record in records]),
        ("random edit", CONTROL, controls),
        ("other secrets", NEUTRAL, others),
    ):
        fig.add_bar(
            x=["supporters lost", "suppressors gained"], y=_mean_shift(shifts), name=name, marker_color=color, row=1, col=2
        )
    fig.update_xaxes(title="before", row=1, col=1).update_yaxes(title="after", row=1, col=1)
    fig.update_annotations(font={"size": 13})
    return plain(fig, 380, top=84, legend_y=1.12)


def _mean_shift(shifts: Sequence[AttributionShift]) -> list[float | None]:
    """D+ and D-, the mean over secrets; None where there are none."""
    if not shifts:
        return [None, None]
    return [float(np.mean([shift.weakened for shift in shifts])), float(np.mean([shift.grown for shift in shifts]))]


def _short(matrix: str) -> str:
    """The last two parts of a name, on two lines."""
    return "<br>".join(html.escape(part) for part in matrix.split(".")[-2:])
