"""Records as plotly figures, as tables and as marked text. Knows no model and no screen; colours of text come from the page.

Plotly reads markup in labels, so every text that a person or a model wrote is escaped here.
"""

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pandas as pd
import plotly
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from privlens.records import Array, Comparison, LocalizationStep, Neuron, Recall, Secret, SweepRow, TokenScore

CHOSEN, CONTROL, NEUTRAL = "#d9480f", "#868e96", "#1c7ed6"
"""Colours: what was found or changed, its random control, the model as it is."""
HEAT = [[0.0, "rgba(134,142,150,0.13)"], [0.15, "rgba(250,176,5,0.55)"], [0.5, "rgba(240,101,11,0.9)"], [1.0, "rgb(201,42,42)"]]
SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
"""The browser's half of plotly, as its package brings it."""
MAX_ROWS = 96
"""A heatmap of all layers has about so many rows, so that single neurons can be seen and hit."""


@dataclass(frozen=True)
class Fold:
    """How neurons lie in a picture: each layer is a band of `rows` rows of `columns` cells; `first` is the topmost layer."""

    first: int
    layers: int
    width: int
    columns: int

    @property
    def rows(self) -> int:
        """Rows of one layer's band."""
        return math.ceil(self.width / self.columns)

    def laid_out(self, values: Array) -> Array:
        """[layers, width] -> [layers * rows, columns]; cells without a neuron are NaN."""
        cells = np.full((self.layers, self.rows * self.columns), np.nan, dtype=np.float32)
        cells[:, : self.width] = values
        return cells.reshape(self.layers * self.rows, self.columns)

    def names(self) -> Array:
        """[layers * rows, columns, 2]: layer and index of every cell's neuron."""
        y, x = np.mgrid[: self.layers * self.rows, : self.columns]
        return np.stack([self.first + y // self.rows, (y % self.rows) * self.columns + x], axis=-1).astype(
            np.int16 if self.width < 2**15 else np.int32
        )


def fold_all(shape: tuple[int, int]) -> Fold:
    """All layers, one band each. A power of two of columns, as few as keep the picture below MAX_ROWS rows."""
    n_layers, width = shape
    per_row = max(128, math.ceil(width / max(1, MAX_ROWS // n_layers)))
    return Fold(0, n_layers, width, min(width, 1 << (per_row - 1).bit_length()))


def fold_one(shape: tuple[int, int], layer: int) -> Fold:
    """One layer as nearly a square."""
    return Fold(layer, 1, shape[1], math.ceil(math.sqrt(shape[1])))


def heatmap(
    values: Array, fold: Fold, label: str, *, height: int = 460, largest: float | None = None, named: bool = True
) -> go.Figure:
    """Neurons as cells, [layers, width] values; below 0 they are drawn as 0. The page can mark and click its cells.

    Args:
        label: what a value is, with its unit. largest: the value of the strongest colour; None for the largest there is.
        named: whether a cell says which neuron it is when pointed at.
    """
    cells = fold.laid_out(np.asarray(values)[fold.first : fold.first + fold.layers])
    top = largest if largest is not None else max(float(np.nanmax(cells)), 1e-9)
    trace = go.Heatmap(z=cells, zmin=0, zmax=top, colorscale=HEAT, colorbar=_bar(label), hoverongaps=False, hoverinfo="skip")
    if named:
        words = "layer %{customdata[0]}, neuron %{customdata[1]}<br>" + html.escape(label) + " %{z:.4g}<extra></extra>"
        trace.update(customdata=fold.names(), hovertemplate=words, hoverinfo=None)
    fig = go.Figure(trace, layout_template="none")
    lines = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": {"width": 1}}
        for y in (layer * fold.rows - 0.5 for layer in range(1, fold.layers))
    ]
    middle = [(layer + 0.5) * fold.rows - 0.5 for layer in range(fold.layers)]
    step = math.ceil(fold.layers / 16)
    single = fold.layers == 1
    fig.update_yaxes(
        range=[fold.layers * fold.rows - 0.5, -0.5], showgrid=False, zeroline=False, title="row" if single else "layer",
    )  # fmt: skip
    if not single:
        fig.update_yaxes(tickvals=middle[::step], ticktext=[str(layer) for layer in range(0, fold.layers, step)])
    each = f"each layer is {fold.rows} rows of {fold.columns}" if not single else f"rows of {fold.columns}"
    fig.update_xaxes(
        range=[-0.5, fold.columns - 0.5], showgrid=False, zeroline=False, title=f"neuron ({each})" if fold.rows > 1 else "neuron"
    )
    fig.update_layout(
        height=height, margin={"l": 48, "r": 8, "t": 34, "b": 46}, shapes=lines, showlegend=False, dragmode="pan",
        meta={"first": fold.first, "layers": fold.layers, "rows": fold.rows, "columns": fold.columns, "width": fold.width,
              "marker": 13 if single else 9},
    )  # fmt: skip
    return fig


def live_gates(step: LocalizationStep) -> go.Figure:
    """How far every gate is closed at this step: 0 open, 1 closed. Rounded, to travel fast."""
    closed = np.round(1 - np.asarray(step.gates), 2)
    return heatmap(closed, fold_all(closed.shape), "how far closed (0 open, 1 closed)", largest=1.0, named=False)


def curves(steps: Sequence[LocalizationStep]) -> go.Figure:
    """The secret's NLL, every term of the loss, and how many neurons are closed, step by step."""
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.65, 0.35])
    x = [step.step for step in steps]
    nll = [step.target_nll for step in steps]
    fig.add_scatter(x=x, y=nll, name="secret's NLL (nats/token)", line={"color": CHOSEN, "width": 3}, row=1, col=1)
    dashes = ["dot", "dash", "dashdot", "longdash"]
    for at, term in enumerate(steps[-1].terms if steps else ()):
        y = [step.terms.get(term) for step in steps]
        fig.add_scatter(x=x, y=y, name=html.escape(term), line={"color": NEUTRAL, "dash": dashes[at % 4]}, row=1, col=1)
    closed = [step.n_closed for step in steps]
    fig.add_scatter(x=x, y=closed, name="neurons closed", fill="tozeroy", line={"color": CONTROL}, row=2, col=1)
    fig.update_yaxes(title="nats", rangemode="tozero", row=1, col=1)
    fig.update_yaxes(title="neurons", rangemode="tozero", row=2, col=1)
    fig.update_xaxes(title="step", row=2, col=1)
    return _plain(fig, 380)


def per_layer(off: Sequence[Neuron], on: Sequence[Neuron], n_layers: int) -> go.Figure:
    """How many picked-out neurons each layer has, off and on again."""
    fig = go.Figure(layout_template="none")
    for name, neurons, color in (("off", off, CHOSEN), ("on again", on, CONTROL)):
        counts = [sum(neuron.layer == layer for neuron in neurons) for layer in range(n_layers)]
        fig.add_bar(x=list(range(n_layers)), y=counts, name=name, marker_color=color)
    fig.update_layout(barmode="stack")
    fig.update_xaxes(title="layer", dtick=max(1, n_layers // 16))
    fig.update_yaxes(title="neurons", rangemode="tozero")
    return _plain(fig, 280)


def shown(token: str) -> str:
    """A token that can be seen: spaces and line breaks are drawn."""
    return token.replace(" ", "\u00b7").replace("\n", "\u23ce").replace("\t", "\u21e5")


def token_bars(
    tokens: Sequence[TokenScore], rivals: Sequence[TokenScore], names: tuple[str, str], same: bool = False
) -> go.Figure:
    """Probability of every token of the value, beside a control's, or (same) beside the same tokens in another state."""
    fig = go.Figure(layout_template="none")
    for name, row, color in ((names[0], tokens, NEUTRAL), (names[1], rivals, CHOSEN if same else CONTROL)):
        words = [f"{html.escape(shown(one.token))}: p = {math.exp(one.logprob):.3g}, rank {one.rank}" for one in row]
        fig.add_bar(
            x=list(range(len(row))), y=[math.exp(one.logprob) for one in row], name=name, marker_color=color,
            hovertext=words, hovertemplate="%{hovertext}<extra></extra>",
        )  # fmt: skip
    labels = [html.escape(shown(one.token)) for one in tokens]
    if not same and len(rivals) > 0:
        labels = [str(at) for at in range(max(len(tokens), len(rivals)))]
    fig.update_xaxes(
        tickvals=list(range(len(labels))),
        ticktext=labels,
        title="token of the value" if same or not rivals else "position in the value",
    )
    fig.update_yaxes(title="probability", range=[0, 1.05])
    return _plain(fig, 320)


def sweep_curves(rows: Sequence[SweepRow]) -> go.Figure:
    """The effect of the best k neurons for every k, beside random ones: target, exposure, others, perplexity."""
    titles = ("secret's NLL (nats/token)", "secret's exposure (bits)",
              "others still known (%)", "perplexity after / before")  # fmt: skip
    fig = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.07, subplot_titles=titles)
    x = list(range(len(rows)))
    percent = [
        [None if share is None else 100 * share for share in kept]
        for kept in zip(*((r.others_kept, r.random_kept) for r in rows), strict=True)
    ]
    panels = [
        ([r.target_nll for r in rows], [r.random_nll for r in rows]),
        ([r.target_exposure_bits for r in rows], None),
        tuple(percent) if rows else ([], []),
        ([r.perplexity_ratio for r in rows], [r.random_perplexity_ratio for r in rows]),
    ]
    for at, (best, floor) in enumerate(panels, start=1):
        for name, y, color, dash in (("random neurons", floor, CONTROL, "dash"), ("best k neurons", best, CHOSEN, "solid")):
            if y is not None:
                fig.add_scatter(
                    x=x, y=y, name=name, legendgroup=name, showlegend=at == 1, mode="lines+markers",
                    line={"color": color, "dash": dash}, row=at, col=1,
                )  # fmt: skip
    fig.update_yaxes(rangemode="tozero", row=1, col=1).update_yaxes(rangemode="tozero", row=2, col=1)
    fig.update_yaxes(range=[0, 105], row=3, col=1)
    fig.update_xaxes(tickvals=x, ticktext=[str(row.k) for row in rows])
    fig.update_xaxes(title="neurons off (k)", row=4, col=1)
    fig.update_annotations(x=0, xanchor="left")
    return _plain(fig, 780, top=84, legend_y=1.05)


def token_table(tokens: Sequence[TokenScore]) -> pd.DataFrame:
    """Token, probability, NLL in nats, rank."""
    rows = [(shown(one.token), f"{math.exp(one.logprob):.4f}", f"{-one.logprob:.3f}", one.rank) for one in tokens]
    return pd.DataFrame(rows, columns=["token", "probability", "NLL (nats)", "rank"])


def others_table(comparison: Comparison, retained: frozenset[Secret]) -> pd.DataFrame:
    """Every other secret: known before, with the chosen off, with random ones off; NLL in nats/token."""

    def word(state: Recall) -> str:
        return "yes" if state.greedy_match else "no"

    rows = [
        (one.secret.value, word(one.before), word(one.after), word(rival.after), "yes" if one.secret in retained else "no",
         f"{one.before.nll:.2f}", f"{one.after.nll:.2f}", f"{rival.after.nll:.2f}", one.secret.prompt)
        for one, rival in zip(comparison.chosen.others, comparison.random.others, strict=True)
    ]  # fmt: skip
    names = ["value", "known", "chosen off", "random off", "retained", "NLL", "NLL chosen", "NLL random", "prompt"]
    return pd.DataFrame(rows, columns=names)


def marked(one: str, other: str) -> tuple[list[tuple[str, str | None]], list[tuple[str, str | None]]]:
    """Two texts in pieces, each with "differs" where the other text has something else there."""
    left, right = _pieces(one), _pieces(other)
    spans: tuple[list[tuple[str, str | None]], list[tuple[str, str | None]]] = ([], [])
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for out, text in ((spans[0], "".join(left[a:b])), (spans[1], "".join(right[c:d]))):
            if text:
                out.append((text, None if kind == "equal" else "differs"))
    return spans


def _pieces(text: str) -> list[str]:
    return re.findall(r"\s+|\d|[^\W\d]+|[^\w\s]|_", text)


def _bar(label: str) -> dict[str, object]:
    title = {"text": html.escape(label), "side": "top"}
    return {
        "orientation": "h",
        "y": 1.02,
        "yanchor": "bottom",
        "thickness": 8,
        "len": 0.9,
        "title": title,
        "nticks": 5,
        "tickformat": ".3~g",
    }


def _plain(fig: go.Figure, height: int, top: int = 40, legend_y: float = 1) -> go.Figure:
    legend = {"orientation": "h", "y": legend_y, "yanchor": "bottom", "x": 0, "yref": "paper"}
    fig.update_layout(template="none", height=height, margin={"l": 56, "r": 12, "t": top, "b": 46}, legend=legend)
    fig.update_xaxes(zeroline=False, automargin=True)
    fig.update_yaxes(zeroline=False, automargin=True)
    return fig
