"""For which secrets one neuron is among the best of each method. Values are in the hover, where the page hides them."""

import html
import math
from itertools import groupby

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from privlens.neurons.place_records import NeuronPlaces, Place
from privlens.plots.charts import plain
from privlens.plots.heatmaps import HEAT

MAX_LABELLED_ROWS = 36
"""With more secrets than this categories are named instead of rows, whose names would overlap."""
ROW_HEIGHT = 15


def places_heatmap(result: NeuronPlaces) -> go.Figure:
    """Secrets against methods: the better the place, the stronger the colour; empty below the best 1 %. Right: the control."""
    names = ["L{}N{}".format(*one) for one in (result.neuron, result.random)]
    fig = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, places in enumerate((result.places, result.random_places), 1):
        fig.add_trace(_panel(result, places, column == 1), row=1, col=column)
    labels = [f"{html.escape(secret.category)} {row}" for row, secret in zip(result.rows, result.secrets, strict=True)]
    ticks = {"tickvals": list(range(len(labels))), "ticktext": labels}
    fig.update_yaxes(**(ticks if len(labels) <= MAX_LABELLED_ROWS else _categories(result)), showgrid=False, autorange="reversed")
    methods = {"tickvals": list(range(len(result.methods))), "ticktext": list(result.methods)}
    fig.update_xaxes(**methods, tickangle=-60, showgrid=False, range=[-0.5, len(result.methods) - 0.5])
    for column, title in enumerate((names[0], f"random: {names[1]}"), 1):
        fig.update_xaxes(title={"text": title, "standoff": 8}, col=column)
    return plain(fig, 220 + ROW_HEIGHT * min(len(labels), 60))


def _panel(result: NeuronPlaces, places: tuple[tuple[Place, ...], ...], has_scale: bool) -> go.Heatmap:
    """Logarithmic: from the first place to the last of the best 1 %."""
    last = max(2, result.n_best)
    strength = [
        [None if place is None else 1 - 0.85 * math.log(place) / math.log(last) for place in row]
        for row in zip(*places, strict=True)
    ]
    hover = [
        [
            f"row {row}, {html.escape(secret.category)}: {html.escape(secret.value)}<br>{method}: "
            + (f"place {place:,}" if place else "below the best 1 %")
            for method, place in zip(result.methods, of_secret, strict=True)
        ]
        for row, secret, of_secret in zip(result.rows, result.secrets, zip(*places, strict=True), strict=True)
    ]
    ends = [1, round(last**0.5), last]
    return go.Heatmap(
        z=strength,
        zmin=0,
        zmax=1,
        colorscale=HEAT,
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        hoverongaps=True,
        xgap=1,
        ygap=1,
        showscale=has_scale,
        colorbar={
            "thickness": 8,
            "title": {"text": f"place of {result.n_neurons:,}", "side": "right"},
            "tickvals": [1 - 0.85 * math.log(end) / math.log(last) for end in ends],
            "ticktext": [f"{end:,}" for end in ends],
        },
    )


def _categories(result: NeuronPlaces) -> dict[str, list[object]]:
    """Each category at the middle of its rows."""
    middles: list[object] = []
    names: list[object] = []
    for name, members in groupby(enumerate(result.secrets), lambda entry: entry[1].category):
        places = [place for place, _ in members]
        middles.append(sum(places) / len(places))
        names.append(html.escape(name))
    return {"tickvals": middles, "ticktext": names}
