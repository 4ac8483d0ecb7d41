"""The tab Neurons, as a table of contents."""

from typing import Any

import gradio as gr

from privlens.ui.sidebar.panel import Sidebar
from privlens.ui.state.jobs import QUICK
from privlens.ui.state.profiles import ProfileCache
from privlens.ui.state.session import ModelCache
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.neurons.coupling import coupling_part
from privlens.ui.tabs.neurons.entropy import entropy_part
from privlens.ui.tabs.neurons.layers import layers_part
from privlens.ui.tabs.neurons.one import SHOW_NEURON, OneNeuron, neuron_part
from privlens.ui.tabs.neurons.probing import probe_part
from privlens.ui.tabs.neurons.scoring import scoring_part
from privlens.ui.tabs.neurons.universality import universal_part
from privlens.ui.text import en


def neurons_tab(shelf: ModelCache, side: Sidebar, chosen: Chosen, profiles: ProfileCache) -> OneNeuron:
    """Builds the tab; `wire_neurons` connects the map with it."""
    gr.Markdown(en.NEURONS_INTRO)
    one = neuron_part(shelf, side, chosen, profiles)
    with gr.Accordion(en.SCORING_HEADING, open=False, elem_id="scoring-part"):
        scoring_part(shelf, side, one.name)
    with gr.Accordion(en.LAYERS_HEADING, open=False, elem_id="layers-part"):
        layers_part(shelf, side, chosen)
    with gr.Accordion(en.COUPLING_HEADING, open=False, elem_id="coupling-part"):
        coupling_part(shelf, side)
    with gr.Accordion(en.PROBE_HEADING, open=False, elem_id="probes-part"):
        probe_part(shelf, side, chosen)
    with gr.Accordion(en.ENTROPY_HEADING, open=False, elem_id="entropy-law-part"):
        entropy_part(shelf, side)
    with gr.Accordion(en.UNIVERSAL_HEADING, open=False, elem_id="universality-part"):
        universal_part(shelf, side, chosen)
    return one


def wire_neurons(chosen: Chosen, one: OneNeuron, tabs: gr.Tabs) -> None:
    """The card's button opens the page of the neuron that was pointed at."""
    card = chosen.pointed.card

    def opened(name: str) -> tuple[Any, ...]:
        return name, gr.Tabs(selected="neurons")

    card.open.click(opened, card.name, [one.name, tabs], **QUICK).success(None, None, None, js=SHOW_NEURON, **QUICK)
