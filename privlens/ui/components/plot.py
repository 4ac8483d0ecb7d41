"""The clickable heatmap, and every other plot of the page: a gr.HTML that draws a Plotly figure in the page's colours.

gradio's own plot cannot be clicked. Here the figure travels once; a click sends back a layer and a neuron, and a changed
choice sends the marked neurons only.
"""

import html
import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from privlens.plots import SCRIPT
from privlens.types import Neuron
from privlens.ui.components.exports import figure_menu
from privlens.ui.components.parts import part
from privlens.ui.state.session import NeuronChoice
from privlens.ui.text import en


def plot(elem_id: str, empty: str, height: int) -> gr.HTML:
    """A Plotly figure given as JSON text; `height` in pixels is kept free for it; `empty` is shown until it comes.

    A heatmap of `privlens.plots` can be clicked: it triggers `pick` with `layer`, `neuron` and `bin`. `off` and `on` are lists
    of [layer, index] that are marked on it.
    """
    note = f'<div class="plot-empty">{html.escape(empty)}</div>'
    words = f'data-label="{html.escape(en.MAP_LABEL)}" data-cell="{html.escape(en.MAP_CELL)}"'
    said = f'<div class="plot-said" role="status" {words}></div>'
    template = f'{note}<div class="plot" style="--plot-height: {int(height)}px"></div>{said}{figure_menu()}'
    return part("plot", template, ("pick", "point"), value="", off=[], on=[], elem_id=elem_id, elem_classes="plot-part")


def script() -> str:
    """Where the page finds Plotly once it needs it. The folder is made readable to browsers, nothing else in it is private."""
    gr.set_static_paths([str(SCRIPT.parent)])
    return f"<script>window.plotlySource = {json.dumps(f'/gradio_api/file={SCRIPT}')};</script>"


def marks(choice: NeuronChoice) -> dict[str, Any]:
    """The properties that mark a choice on a heatmap."""
    return {"off": pairs(choice.switched_off), "on": pairs(choice.switched_on)}


def pairs(neurons: Sequence[Neuron]) -> list[list[int]]:
    """Neurons as [layer, index]."""
    return [list(neuron) for neuron in neurons]


def bin_of(event: gr.EventData) -> int | None:
    """The layer of a click on a bin of several neurons; None for a click on a neuron."""
    return int(event.layer) if event.bin else None


def picked(event: gr.EventData) -> Neuron:
    """The neuron of a click."""
    return Neuron(int(event.layer), int(event.neuron))
