"""Neurons as cells: all layers as bands, or one layer as nearly a square. The page can mark and click the cells.

A model with more neurons than fit on a screen is drawn in bins: a cell is several adjacent neurons and shows the highest value of
them, so that none of the best k is lost. A click on a bin opens its layer, where every neuron is a cell.
"""

import html
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from privlens.types import Array, LocalizationStep

HEAT = [[0.0, "rgba(134,142,150,0.1)"], [0.15, "rgba(244,114,182,0.45)"], [0.5, "rgba(225,50,130,0.9)"], [1.0, "rgb(190,24,93)"]]
"""One hue, that of the private value everywhere on the page: what is stronger stands out on a light page and on a dark one."""
MAX_ROWS = 96
"""A heatmap of all layers has about this many rows, so that single neurons can be seen and clicked."""
MAX_CELLS = 65_536
"""With more neurons than this, a cell of all layers is a bin: more cells are slower to send and draw, fewer hide more neurons."""

LINE = 44
"""Characters in a line of a title, which fit on a narrow screen."""


@dataclass(frozen=True)
class HeatmapLayout:
    """The layout of neurons in a picture: each layer is a band of `rows` rows of `columns` cells; `first` is the topmost layer.

    There are `width` neurons in a layer, and `per` of them in each cell.
    """

    first: int
    layers: int
    width: int
    columns: int
    per: int = 1

    @property
    def cells(self) -> int:
        """Cells of one layer that hold neurons."""
        return math.ceil(self.width / self.per)

    @property
    def rows(self) -> int:
        """Rows of one layer's band."""
        return math.ceil(self.cells / self.columns)

    def by_cell(self, values: Array) -> Array:
        """[layers, width] -> [layers * rows, columns, per]; NaN where there is no neuron."""
        cells = np.full((self.layers, self.rows * self.columns * self.per), np.nan, dtype=np.float32)
        cells[:, : self.width] = values
        return cells.reshape(self.layers * self.rows, self.columns, self.per)

    def laid_out(self, values: Array) -> Array:
        """[layers, width] -> [layers * rows, columns]: the highest value of each cell; cells without a neuron are NaN."""
        return np.fmax.reduce(self.by_cell(values), axis=-1)

    def names(self, values: Array) -> Array:
        """The neurons in each cell: [layers * rows, columns, 2] layer, index; for bins [.., 4] layer, first, last, highest."""
        y, x = np.mgrid[: self.layers * self.rows, : self.columns]
        first = ((y % self.rows) * self.columns + x) * self.per
        fields = [self.first + y // self.rows, first]
        if self.per > 1:
            best = first + np.nan_to_num(self.by_cell(values), nan=-np.inf).argmax(-1)
            fields += [np.minimum(first + self.per, self.width) - 1, best]
        return np.stack(fields, axis=-1).astype(np.int16 if self.width < 2**15 - self.per else np.int32)


def all_layers_layout(shape: tuple[int, int]) -> HeatmapLayout:
    """All layers, one band each, with the smallest power of two of columns that keeps the picture below MAX_ROWS rows."""
    n_layers, width = shape
    per = 1 << (math.ceil(n_layers * width / MAX_CELLS) - 1).bit_length()
    cells = math.ceil(width / per)
    per_row = max(128, math.ceil(cells / max(1, MAX_ROWS // n_layers)))
    return HeatmapLayout(0, n_layers, width, min(cells, 1 << (per_row - 1).bit_length()), per)


def one_layer_layout(shape: tuple[int, int], layer: int) -> HeatmapLayout:
    """One layer as nearly a square."""
    return HeatmapLayout(layer, 1, shape[1], math.ceil(math.sqrt(shape[1])))


def heatmap(
    values: Array, fold: HeatmapLayout, label: str, *, height: int = 460, largest: float | None = None, named: bool = True
) -> go.Figure:
    """Neurons as cells, from [layers, width] values; negative ones are drawn as 0. The page can mark and click the cells.

    Args:
        label: what a value is, with its unit. largest: the value of the strongest colour; None for the largest value.
        named: whether a cell tells its neuron on hover.
    """
    drawn = np.asarray(values)[fold.first : fold.first + fold.layers]
    cells = fold.laid_out(drawn)
    top = largest if largest is not None else max(float(np.nanmax(cells)), 1e-9)
    trace = go.Heatmap(z=cells, zmin=0, zmax=top, colorscale=HEAT, colorbar=_bar(label), hoverongaps=False, hoverinfo="skip")
    if named:
        neurons, value_label = "neuron %{customdata[1]}", html.escape(label)
        if fold.per > 1:
            neurons = "neurons %{customdata[1]} to %{customdata[2]}"
            value_label = f"highest: neuron %{{customdata[3]}}, {value_label}"
        hover = f"layer %{{customdata[0]}}, {neurons}<br>{value_label} %{{z:.4g}}<extra></extra>"
        trace.update(customdata=fold.names(drawn), hovertemplate=hover, hoverinfo=None)
    return neuron_figure(trace, fold, height)


def neuron_figure(trace: go.Heatmap, fold: HeatmapLayout, height: int) -> go.Figure:
    """A picture of the cells of `trace`, with axes, lines between the layers, and the `meta` by which the page finds a neuron's
    cell. Made in one go, since plotly takes six times as long to bring a figure up to date piece by piece.
    """
    single = fold.layers == 1
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "line": {"width": 3}}
    boundaries = [layer * fold.rows - 0.5 for layer in range(1, fold.layers)]
    cell = "neuron" if fold.per == 1 else f"bins of {fold.per} neurons; a click opens the layer"
    band = f"each layer is {fold.rows} rows of {fold.columns}" if not single else f"rows of {fold.columns}"
    layout = {
        "template": "none",
        "height": height,
        "margin": {"l": 48, "r": 8, "t": 34, "b": 46},
        "shapes": [{**line, "y0": y, "y1": y} for y in boundaries],
        "showlegend": False,
        "dragmode": "pan",
        "xaxis": {
            "range": [-0.5, fold.columns - 0.5],
            "title": {"text": f"{cell} ({band})" if fold.rows > 1 else cell},
            "showgrid": False,
            "zeroline": False,
        },
        "yaxis": {
            "range": [fold.layers * fold.rows - 0.5, -0.5],
            "title": {"text": "row" if single else "layer"},
            "showgrid": False,
            "zeroline": False,
            **({} if single else _layer_ticks(fold)),
        },
        "meta": {
            "first": fold.first,
            "layers": fold.layers,
            "rows": fold.rows,
            "columns": fold.columns,
            "width": fold.width,
            "per": fold.per,
            "marker": 13 if single else 9,
        },
    }
    return go.Figure(trace, layout)


def _layer_ticks(fold: HeatmapLayout) -> dict[str, object]:
    """A number in the middle of a layer's band, of sixteen layers at most."""
    numbered = range(0, fold.layers, math.ceil(fold.layers / 16))
    middles = [(layer + 0.5) * fold.rows - 0.5 for layer in numbered]
    return {"tickvals": middles, "ticktext": [str(layer) for layer in numbered]}


def live_gates(step: LocalizationStep, sufficient: bool = False) -> go.Figure:
    """How far every gate is closed at this step (sufficient: how far it is still open), 0..1. Rounded, so that less is sent."""
    gates = np.asarray(step.gates)
    values = np.round(gates if sufficient else 1 - gates, 2)
    label = "how far open (0 closed, 1 open)" if sufficient else "how far closed (0 open, 1 closed)"
    return heatmap(values, all_layers_layout(values.shape), label, largest=1.0, named=False)


INKS: tuple[tuple[float, str | None], ...] = ((0.7, "#ffffff"), (0.3, "#000000"), (-math.inf, None))
"""Readable text colours by the minimum share of the strongest colour: white on crimson, black on pink, else the page's own."""


def write_cell_texts(fig: go.Figure, values: Array, texts: Sequence[Sequence[str]], top: float, size: int) -> None:
    """Writes a text into every cell of [rows, columns] values, in a colour readable on the cell's; `top` has the strongest."""
    groups: dict[str | None, list[tuple[int, int, str]]] = {}
    for (y, x), value in np.ndenumerate(np.nan_to_num(np.asarray(values))):
        if texts[y][x]:
            ink = next(color for share, color in INKS if value / top >= share)
            groups.setdefault(ink, []).append((x, y, texts[y][x]))
    for ink, cells in groups.items():
        xs, ys, cell_texts = zip(*cells, strict=True)
        font = {"size": size, **({"color": ink} if ink else {})}
        fig.add_scatter(x=xs, y=ys, text=cell_texts, mode="text", hoverinfo="skip", showlegend=False, textfont=font)


def wrapped_title(text: str) -> str:
    """A title, escaped, broken into lines of at most LINE characters."""
    return "<br>".join(map(html.escape, textwrap.wrap(text, LINE)))


def _bar(label: str) -> dict[str, object]:
    title = {"text": wrapped_title(label), "side": "top"}
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
