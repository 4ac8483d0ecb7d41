"""Curves and bars: a run step by step, neurons per layer, probabilities of tokens, the sweep over k.

Plotly reads markup in labels, so every text that a person or a model wrote is escaped here.
"""

import html
import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from privlens.outcomes import SweepRow
from privlens.plots.tables import shown
from privlens.types import LocalizationStep, Neuron, TokenScore

CHOSEN, CONTROL, NEUTRAL = "#d9480f", "#868e96", "#1c7ed6"
"""Colours: what was found or changed, its random control, the model as it is."""


def curves(steps: Sequence[LocalizationStep], still_open_of: int | None = None) -> go.Figure:
    """The secret's NLL, every term of the loss, and how many neurons are closed, step by step.

    Args:
        still_open_of: how many neurons the model has, where those still open are to be shown instead.
    """
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.65, 0.35])
    x = [step.step for step in steps]
    nll = [step.target_nll for step in steps]
    fig.add_scatter(x=x, y=nll, name="secret's NLL (nats/token)", line={"color": CHOSEN, "width": 3}, row=1, col=1)
    dashes = ["dot", "dash", "dashdot", "longdash"]
    for at, term in enumerate(steps[-1].terms if steps else ()):
        y = [step.terms.get(term) for step in steps]
        fig.add_scatter(x=x, y=y, name=html.escape(term), line={"color": NEUTRAL, "dash": dashes[at % 4]}, row=1, col=1)
    counted = [still_open_of - step.n_closed if still_open_of else step.n_closed for step in steps]
    name = "neurons still open" if still_open_of else "neurons closed"
    fig.add_scatter(x=x, y=counted, name=name, fill="tozeroy", line={"color": CONTROL}, row=2, col=1)
    fig.update_yaxes(title="nats", rangemode="tozero", row=1, col=1)
    fig.update_yaxes(title="neurons", rangemode="tozero", row=2, col=1)
    fig.update_xaxes(title="step", row=2, col=1)
    return plain(fig, 380)


def per_layer(off: Sequence[Neuron], on: Sequence[Neuron], n_layers: int) -> go.Figure:
    """How many picked-out neurons each layer has, off and on again."""
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
    for name, row, color in ((names[0], tokens, NEUTRAL), (names[1], rivals, CHOSEN if same else CONTROL)):
        words = [f"{html.escape(shown(one.token))}: p = {math.exp(one.logprob):.3g}, rank {one.rank}" for one in row]
        fig.add_bar(
            x=list(range(len(row))),
            y=[math.exp(one.logprob) for one in row],
            name=name,
            marker_color=color,
            hovertext=words,
            hovertemplate="%{hovertext}<extra></extra>",
        )
    labels = [html.escape(shown(one.token)) for one in tokens]
    if not same and len(rivals) > 0:
        labels = [str(at) for at in range(max(len(tokens), len(rivals)))]
    fig.update_xaxes(
        tickvals=list(range(len(labels))),
        ticktext=labels,
        title="token of the value" if same or not rivals else "position in the value",
    )
    fig.update_yaxes(title="probability", range=[0, 1.05])
    return plain(fig, 320)


def sweep_curves(rows: Sequence[SweepRow]) -> go.Figure:
    """The effect of the best k neurons for every k, beside random ones: target, exposure, others, perplexity."""
    exposures = [r.target_exposure for r in rows]
    most = next((one.max_bits for one in exposures if one and one.max_bits), None)
    titles = (
        "secret's NLL (nats/token)",
        "secret's exposure (bits" + (f" of {most:.3g})" if most else ")"),
        "others still known (%)",
        "perplexity after / before",
    )
    fig = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.07, subplot_titles=titles)
    x = list(range(len(rows)))
    percent = [
        [None if share is None else 100 * share for share in kept]
        for kept in zip(*((r.others_kept, r.random_kept) for r in rows), strict=True)
    ]
    panels = [
        ([r.target_nll for r in rows], [r.random_nll for r in rows]),
        ([one and one.bits for one in exposures], None),
        tuple(percent) if rows else ([], []),
        ([r.perplexity_ratio for r in rows], [r.random_perplexity_ratio for r in rows]),
    ]
    for at, (best, floor) in enumerate(panels, start=1):
        for name, y, color, dash in (("random neurons", floor, CONTROL, "dash"), ("best k neurons", best, CHOSEN, "solid")):
            if y is not None:
                fig.add_scatter(
                    x=x,
                    y=y,
                    name=name,
                    legendgroup=name,
                    showlegend=at == 1,
                    mode="lines+markers",
                    line={"color": color, "dash": dash},
                    row=at,
                    col=1,
                )
    fig.update_yaxes(rangemode="tozero", row=1, col=1).update_yaxes(range=[0, 1.05 * (most or 1.0)], row=2, col=1)
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
