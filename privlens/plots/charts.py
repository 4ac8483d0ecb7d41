"""Curves and bars: a run step by step, neurons per layer, probabilities of tokens, the sweep over k.

Plotly interprets markup in labels, so every text that a person or a model wrote is escaped here.
"""

import html
import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from privlens.memorization.extraction import log10_tries
from privlens.outcomes import SweepRow
from privlens.plots.tables import shown
from privlens.types import LocalizationStep, Neuron, TokenScore

CHOSEN, CONTROL, NEUTRAL = "#d9480f", "#868e96", "#1c7ed6"
"""Colours: what was found or changed, its random control, the unchanged model."""


def curves(steps: Sequence[LocalizationStep], still_open_of: int | None = None) -> go.Figure:
    """The secret's NLL, every term of the loss, and how many neurons are closed, step by step.

    Args:
        still_open_of: the model's number of neurons, to show how many are still open instead.
    """
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.65, 0.35])
    x = [step.step for step in steps]
    nll = [step.target_nll for step in steps]
    fig.add_scatter(x=x, y=nll, name="secret's NLL (nats/token)", line={"color": CHOSEN, "width": 3}, row=1, col=1)
    dashes = ["dot", "dash", "dashdot", "longdash"]
    for index, term in enumerate(steps[-1].terms if steps else ()):
        y = [step.terms.get(term) for step in steps]
        fig.add_scatter(x=x, y=y, name=html.escape(term), line={"color": NEUTRAL, "dash": dashes[index % 4]}, row=1, col=1)
    counted = [still_open_of - step.n_closed if still_open_of else step.n_closed for step in steps]
    name = "neurons still open" if still_open_of else "neurons closed"
    fig.add_scatter(x=x, y=counted, name=name, fill="tozeroy", line={"color": CONTROL}, row=2, col=1)
    fig.update_yaxes(title="nats", rangemode="tozero", row=1, col=1)
    fig.update_yaxes(title="neurons", rangemode="tozero", row=2, col=1)
    fig.update_xaxes(title="step", row=2, col=1)
    return plain(fig, 380)


def per_layer(off: Sequence[Neuron], on: Sequence[Neuron], n_layers: int) -> go.Figure:
    """How many of the selected neurons each layer has, those off and those switched on again."""
    fig = go.Figure(layout_template="none")
    for name, neurons, color in (("off", off, CHOSEN), ("on again", on, CONTROL)):
        counts = [sum(neuron.layer == layer for neuron in neurons) for layer in range(n_layers)]
        fig.add_bar(x=list(range(n_layers)), y=counts, name=name, marker_color=color)
    fig.update_layout(barmode="stack")
    fig.update_xaxes(title="layer", dtick=max(1, n_layers // 16))
    fig.update_yaxes(title="neurons", rangemode="tozero")
    return plain(fig, 280)


def token_bars(
    tokens: Sequence[TokenScore], rivals: Sequence[TokenScore], names: tuple[str, str], same: bool = False
) -> go.Figure:
    """Probability of every token of the value, beside a control's, or (same) beside the same tokens in another state."""
    fig = go.Figure(layout_template="none")
    for name, scores, color in ((names[0], tokens, NEUTRAL), (names[1], rivals, CHOSEN if same else CONTROL)):
        hover = [f"{html.escape(shown(score.token))}: p = {math.exp(score.logprob):.3g}, rank {score.rank}" for score in scores]
        fig.add_bar(
            x=list(range(len(scores))),
            y=[math.exp(score.logprob) for score in scores],
            name=name,
            marker_color=color,
            hovertext=hover,
            hovertemplate="%{hovertext}<extra></extra>",
        )
    labels = [html.escape(shown(score.token)) for score in tokens]
    if not same and len(rivals) > 0:
        labels = [str(position) for position in range(max(len(tokens), len(rivals)))]
    fig.update_xaxes(
        tickvals=list(range(len(labels))),
        ticktext=labels,
        title="token of the value" if same or not rivals else "position in the value",
    )
    fig.update_yaxes(title="probability", range=[0, 1.05])
    return plain(fig, 320)


def sweep_curves(rows: Sequence[SweepRow]) -> go.Figure:
    """The effect of the best k neurons for every k, beside random ones: target's NLL and tries, others, perplexity."""
    titles = (
        "secret's NLL (nats/token)",
        "samples for an even chance of it (log10)",
        "others still known (%)",
        "perplexity after / before",
    )
    fig = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.07, subplot_titles=titles)
    x = list(range(len(rows)))
    percent = [
        [None if share is None else 100 * share for share in kept]
        for kept in zip(*((row.others_kept, row.random_kept) for row in rows), strict=True)
    ]
    panels = [
        ([row.target_nll for row in rows], [row.random_nll for row in rows]),
        ([log10_tries(row.target_logprob) for row in rows], [log10_tries(row.random_logprob) for row in rows]),
        tuple(percent) if rows else ([], []),
        ([row.perplexity_ratio for row in rows], [row.random_perplexity_ratio for row in rows]),
    ]
    for panel, (best, random) in enumerate(panels, start=1):
        for name, y, color, dash in (("random neurons", random, CONTROL, "dash"), ("best k neurons", best, CHOSEN, "solid")):
            fig.add_scatter(
                x=x,
                y=y,
                name=name,
                legendgroup=name,
                showlegend=panel == 1,
                mode="lines+markers",
                line={"color": color, "dash": dash},
                row=panel,
                col=1,
            )
    fig.update_yaxes(rangemode="tozero", row=1, col=1).update_yaxes(rangemode="tozero", row=2, col=1)
    fig.update_yaxes(range=[0, 105], row=3, col=1)
    fig.update_xaxes(tickvals=x, ticktext=[str(row.k) for row in rows])
    fig.update_xaxes(title="neurons off (k)", row=4, col=1)
    fig.update_annotations(x=0, xanchor="left")
    return plain(fig, 780, top=84, legend_y=1.05)


def plain(fig: go.Figure, height: int, top: int = 40, legend_y: float = 1) -> go.Figure:
    """The look that all charts share: no template, the legend above."""
    legend = {"orientation": "h", "y": legend_y, "yanchor": "bottom", "x": 0, "yref": "paper"}
    fig.update_layout(template="none", height=height, margin={"l": 56, "r": 12, "t": top, "b": 46}, legend=legend)
    fig.update_xaxes(zeroline=False, automargin=True)
    fig.update_yaxes(zeroline=False, automargin=True)
    return fig
