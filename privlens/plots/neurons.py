"""What one neuron does, what every layer would predict, and what a prompt's tokens do: records as figures.

Plotly interprets markup in labels, so every token is escaped here.
"""

import html
from collections.abc import Sequence
from itertools import pairwise

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from privlens.neurons.card_records import Histogram
from privlens.neurons.lens_records import LensReading
from privlens.neurons.page_records import Dimmer, DimmerPoint
from privlens.outcomes import PromptSalience
from privlens.plots.charts import CHOSEN, CONTROL, NEUTRAL, plain
from privlens.plots.heatmaps import HEAT
from privlens.plots.tables import shown

MAX_LABELS = 48
"""Tokens below a figure that can still be read; of more every second, third, ... is labelled, and all are in the hover."""


def activation_histogram(histogram: Histogram, marks: Sequence[tuple[str, float]] = ()) -> go.Figure:
    """Tokens of the reference text by activation, on a logarithmic count.

    Args:
        marks: names and activations that are marked, such as those at a secret's tokens.
    """
    edges = histogram.edges
    ends = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
    names = [f"below {edges[0]:.3g}", *ends, f"{edges[-1]:.3g} and above"]
    fig = go.Figure(layout_template="none")
    fig.add_bar(
        x=list(range(len(names))),
        y=[count or None for count in histogram.counts],
        name="reference text",
        marker_color=NEUTRAL,
        hovertext=[f"{name}: {count:,} tokens" for name, count in zip(names, histogram.counts, strict=True)],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    if marks:
        fig.add_scatter(
            x=[sum(edge <= value for edge in edges) for _, value in marks],
            y=[0.7] * len(marks),
            name="marked",
            mode="markers",
            marker={"color": CHOSEN, "symbol": "triangle-up", "size": 10},
            hovertext=[f"{html.escape(shown(name))}: {value:.4g}" for name, value in marks],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    ticks = [number for number, edge in enumerate(edges) if edge in (-32, -4, -0.5, 0, 0.5, 4, 32)]
    fig.update_xaxes(tickvals=[tick + 0.5 for tick in ticks], ticktext=[f"{edges[tick]:g}" for tick in ticks], title="activation")
    fig.update_yaxes(title="tokens", type="log")
    fig.update_layout(bargap=0)
    return plain(fig, 280)


def dimmer_lines(dimmer: Dimmer) -> go.Figure:
    """NLL of the secret beside random neurons, entropy, and NLL of ordinary text, by the gate."""
    titles = ("secret's NLL (nats/token)", "entropy where the value is predicted (nats)", "reference text's NLL (nats/token)")
    fig = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.1, subplot_titles=titles)
    gates = [point.gate for point in dimmer.points]

    def line(y: Sequence[float | None], name: str, color: str, row: int, dash: str = "solid") -> None:
        is_first = row == 1
        style = {"color": color, "dash": dash}
        fig.add_scatter(x=gates, y=list(y), name=name, mode="lines+markers", line=style, showlegend=is_first, row=row, col=1)

    _band(fig, dimmer.points)
    line([point.random_nll for point in dimmer.points], "a random neuron", CONTROL, 1, "dash")
    line([point.secret_nll for point in dimmer.points], "this neuron", CHOSEN, 1)
    line([point.entropy for point in dimmer.points], "this neuron", CHOSEN, 2)
    line([point.reference_nll for point in dimmer.points], "this neuron", CHOSEN, 3)
    for row in (1, 2, 3):
        fig.add_vline(x=1, line={"color": NEUTRAL, "dash": "dot"}, row=row, col=1)
    fig.update_xaxes(title="gate (0 off, 1 unchanged, 2 doubled)", row=3, col=1)
    fig.update_annotations(x=0, xanchor="left", font={"size": 13})
    return plain(fig, 560, top=84, legend_y=1.06)


def _band(fig: go.Figure, points: Sequence[DimmerPoint]) -> None:
    """The 95 % interval of random neurons, where there is one at every gate but 1, at which it has no width."""
    ends = [point.random_interval or (point.random_nll, point.random_nll) for point in points]
    gates = [point.gate for point in points]
    for y, fill in (([low for low, _ in ends], None), ([high for _, high in ends], "tonexty")):
        fig.add_scatter(
            x=gates,
            y=y,
            mode="lines",
            line={"width": 0},
            fill=fill,
            fillcolor="rgba(134,142,150,0.2)",
            hoverinfo="skip",
            showlegend=False,
            row=1,
            col=1,
        )


def lens_heatmap(before: LensReading, after: LensReading | None = None) -> go.Figure:
    """The probability of the true next token in every layer at every token, and the same afterwards below it.

    The last layer is on top, as texts about the logit lens draw it; a line marks where the value begins.
    """
    panels = [("before", before), ("after", after)] if after is not None else [("", before)]
    titles = [name for name, _ in panels] if after is not None else None
    fig = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.12, subplot_titles=titles)
    for row, (_, reading) in enumerate(panels, 1):
        if reading is None:
            continue
        fig.add_trace(_lens_trace(reading, row == 1), row=row, col=1)
        fig.add_vline(x=reading.n_prompt - 1.5, line={"color": NEUTRAL, "dash": "dot"}, row=row, col=1)
        names = ["emb.", *map(str, range(len(reading.true_rank) - 1))]
        each = max(1, len(names) // 12)
        fig.update_yaxes(tickvals=list(range(0, len(names), each)), ticktext=names[::each], title="after layer", row=row, col=1)
    labels = [html.escape(shown(token)) for token in before.tokens[1:]]
    every = -(-len(labels) // MAX_LABELS)
    fig.update_xaxes(tickvals=list(range(0, len(labels), every)), ticktext=labels[::every], tickangle=-60, showgrid=False)
    fig.update_yaxes(showgrid=False)
    height = 120 + len(panels) * (70 + 22 * min(24, len(before.true_rank)))
    return plain(fig, height, top=40)


def _lens_trace(reading: LensReading, has_scale: bool) -> go.Heatmap:
    true_tokens = [html.escape(shown(token)) for token in reading.tokens[1:]]
    hover = []
    for layer, (tokens, tops, probabilities, ranks) in enumerate(
        zip(reading.top_tokens, reading.top_probability, reading.true_probability, reading.true_rank, strict=True)
    ):
        name = f"after layer {layer - 1}" if layer else "embeddings"
        hover.append(
            [
                f"{name}<br>true: {true}, p = {p:.3g}, rank {rank}<br>first: {html.escape(shown(token))}, p = {top:.3g}"
                for true, token, top, p, rank in zip(true_tokens, tokens, tops, probabilities, ranks, strict=True)
            ]
        )
    return go.Heatmap(
        z=reading.true_probability,
        zmin=0,
        zmax=1,
        colorscale=HEAT,
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        showscale=has_scale,
        colorbar={"thickness": 8, "title": {"text": "p of the true token", "side": "right"}, "nticks": 5},
    )


def salience_bars(salience: PromptSalience) -> go.Figure:
    """What each token of the prompt does for the value, in nats, beside a value that nobody trained on."""
    fig = go.Figure(layout_template="none")
    labels = [html.escape(shown(token)) for token in salience.tokens]
    series = [("this value", salience.nats, CHOSEN)]
    if salience.control_nats is not None:
        series.append(("a value that nobody trained on", salience.control_nats, CONTROL))
    for name, nats, color in series:
        fig.add_bar(
            x=list(range(len(nats))),
            y=list(nats),
            name=name,
            marker_color=color,
            hovertext=[f"{label}: {value:+.3g} nats" for label, value in zip(labels, nats, strict=True)],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    every = -(-len(labels) // MAX_LABELS)
    fig.update_xaxes(tickvals=list(range(0, len(labels), every)), ticktext=labels[::every], tickangle=-60)
    fig.update_yaxes(title="nats")
    return plain(fig, 340)
