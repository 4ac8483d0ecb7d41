"""Which neurons are off: clicks on the heatmap, one layer as a square, top k, toggles, whole layers, undo.

Every control makes a new Selection, and one view draws the current one; no control refers to another.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
import numpy as np
from gradio.components import Component

from privlens import plots
from privlens.localization import unit_of
from privlens.types import Neuron, NeuronScores
from privlens.ui.components.parts import facts, with_box
from privlens.ui.components.plot import bin_of, marks, picked, plot
from privlens.ui.state.freshness import Telling
from privlens.ui.state.jobs import QUICK, Redraw, show_errors
from privlens.ui.state.session import Localization, ModelCache, ModelName, Selection, best, fitting
from privlens.ui.tabs.deactivate.effect import effect_part
from privlens.ui.tabs.localize.card import Card, Pointed, card_part
from privlens.ui.text import en, wording

LISTED = 60
"""Neurons that are listed with a toggle; all others can still be clicked in the picture."""
CLICK: dict[str, Any] = {**QUICK, "trigger_mode": "multiple", "concurrency_limit": 1, "concurrency_id": "choose"}
"""Clicks are answered one after the other, and none is dropped."""
DEFAULT_K = 10
"""Top k where the method itself closed none, or suggests no number."""


@dataclass(frozen=True)
class Chosen:
    """What the other tabs read.

    Attributes:
        located: a Localization or None. selection: a Selection. quick: the part that answers every toggle.
        redraw: draws all of a localization, for a new one and where another was streamed over it.
        told: events, handler and inputs by which a strip says of what the localization was made.
        settings: the controls of how neurons are looked for, by name.
        pointed: the maps and the card of the neuron that is pointed at on them.
    """

    located: gr.State
    selection: gr.State
    quick: list[Component]
    redraw: Redraw
    pointed: Pointed
    told: Telling = ((), lambda _: {}, set())
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """Cause and effect in one view: the map with the slider and the buttons below it, and at its right what that does.

    `live` and `lines` are what is told and drawn of the run itself.
    """

    heat: gr.HTML
    card: Card
    k: gr.Slider
    undo: gr.Button
    redo: gr.Button
    reset: gr.Button
    quick: list[Component]
    live: gr.HTML
    lines: gr.HTML


def stage() -> Stage:
    """Builds it."""
    with gr.Row(elem_classes="cause-and-effect"):
        with gr.Column(scale=6, min_width=320):
            heat = plot("heatmap", en.HEATMAP_EMPTY, 400)
            gr.Markdown(en.MAP_CAPTION, elem_classes="small")
            card = card_part()
            k = gr.Slider(0, 100, value=0, step=1, label=en.TOP_K, elem_id="top-k")
            with gr.Row():
                undo = gr.Button(en.UNDO, interactive=False, elem_id="undo", min_width=80)
                redo = gr.Button(en.REDO, interactive=False, elem_id="redo", min_width=80)
                reset = gr.Button(en.RESET, elem_id="reset", min_width=80)
        with gr.Column(scale=5, min_width=300, elem_classes="effect-beside"):
            quick = effect_part("quick")
    live = facts("localize-facts")
    with gr.Accordion(en.LOCALIZE_TRAINED, open=False):
        lines = plot("curves", en.LOSS_EMPTY, 380)
    return Stage(heat, card, k, undo, redo, reset, quick, live, lines)


def choosing(shelf: ModelCache, model: gr.State, shown: Stage) -> Chosen:
    """Builds the other controls below and wires all of them."""
    located, selection = gr.State(None), gr.State(Selection())
    heat, k, undo, redo, quick = shown.heat, shown.k, shown.undo, shown.redo, shown.quick
    about = facts("choice-facts")
    with gr.Row():
        with gr.Column(min_width=300):
            neurons = gr.CheckboxGroup(
                [],
                label=en.TOP_NEURONS,
                elem_id="neuron-toggles",
                interactive=True,
            )
            layers = gr.CheckboxGroup([], label=en.WHOLE_LAYERS, elem_id="layer-toggles", interactive=True)
            bars = plot("layer-bars", en.LAYER_BARS_EMPTY, 280)
        with gr.Column(min_width=300):
            layer = gr.Dropdown([0], value=0, label=en.ONE_LAYER, elem_id="layer")
            square = plot("square", en.SQUARE_EMPTY, 460)

    def pick(name: ModelName, localization: Localization | None, chosen: Selection, event: gr.EventData) -> tuple[Any, Any]:
        scores, opened_layer = fitting(localization, shelf.get(name)).scores.scores, bin_of(event)
        if opened_layer is not None:  # too many neurons for one picture: the layer is opened, and there they can be switched
            return gr.skip(), opened_layer
        neuron = picked(event)
        return gr.skip() if np.isnan(scores[neuron]) else chosen.toggled(neuron), gr.skip()

    def top(name: ModelName, localization: Localization | None, chosen: Selection, k: int) -> Selection:
        return chosen.to(best(fitting(localization, shelf.get(name)).scores, int(k)))

    def start_over(localization: Localization | None, chosen: Selection) -> Selection:
        return chosen if localization is None else chosen.to(best(localization.scores, default_k(localization)))

    def folded(localization: Localization | None, layer_index: int) -> Any:
        return gr.update(value="" if localization is None else square_of(localization, layer_index))

    for picture in (heat, square):
        picture.pick(show_errors(pick), [model, located, selection], [selection, layer], **CLICK)
    k.input(show_errors(top), [model, located, selection, k], selection, **{**CLICK, "trigger_mode": "always_last"})
    neurons.select(ticked, selection, selection, **CLICK)  # which box, not all of them: others may have been clicked since
    layers.select(layer_ticked, selection, selection, **CLICK)
    undo.click(Selection.undo, selection, selection, **CLICK)
    redo.click(Selection.redo, selection, selection, **CLICK)
    shown.reset.click(start_over, [located, selection], selection, **CLICK)
    layer.change(folded, [located, layer], square, **QUICK)
    outputs = [heat, square, k, undo, redo, about, neurons, layers, bars]
    inputs = [model, located, selection]
    # The same neurons may be chosen of another localization, with other scores.
    gr.on(
        [selection.change, located.change],
        lambda name, *given: view(shelf.get(name).widths(), *given),
        inputs,
        outputs,
        trigger_mode="always_last",
        **QUICK,
    )

    def redraw(name: ModelName, localization: Localization | None, chosen: Selection, layer_index: int) -> tuple[Any, ...]:
        if localization is None:
            layers = gr.update(choices=list(range(shelf.get(name).n_layers)), value=0)
            return gr.update(value=[]), *(gr.update(value="") for _ in range(3)), layers, gr.update(maximum=100)
        scores = localization.scores.scores
        n_layers = scores.shape[0]
        layer_index = layer_index if layer_index in range(n_layers) else 0
        label, top = f"score ({unit_of(localization.scores.method)})", top_of(localization)
        whole = plots.heatmap(scores, plots.all_layers_layout(scores.shape), label, largest=top)
        most = max(2 * default_k(localization), round(0.05 * localization.scores.n_neurons))
        return (
            gr.update(value=list(localization.facts) or [wording.time_of(localization.scores)]),
            gr.update(value=whole.to_json(), **marks(chosen.now)),
            gr.update(value=localization.curves),
            gr.update(value=square_of(localization, layer_index), **marks(chosen.now)),
            gr.update(choices=list(range(n_layers)), value=layer_index),
            gr.update(maximum=most),
        )

    drawn = [shown.live, heat, shown.lines, square, layer, k]
    drawing = Redraw(redraw, [model, located, selection, layer], drawn, as_sent=True)
    return Chosen(located, selection, quick, drawing, Pointed((heat, square), located, selection, shown.card))


def default_k(located: Localization) -> int:
    """As many as the method itself would close, where it closed any."""
    return located.scores.suggested_k or DEFAULT_K


def top_of(located: Localization) -> float:
    """The score of the strongest colour of a localization."""
    return top_of_scores(located.scores)


def top_of_scores(scores: NeuronScores) -> float:
    """The score of the strongest colour: the end of the scale where the unit names one, else the highest there is."""
    highest = max(float(np.nanmax(scores.scores)), 1e-9)
    return max(1.0, highest) if re.search(r"\b0\b.*\b1\b", unit_of(scores.method)) else highest


def square_of(located: Localization, layer: int) -> str:
    """One layer's scores as a square, on the colour scale of the whole model."""
    scores = located.scores.scores
    label = f"score ({unit_of(located.scores.method)})"
    return str(plots.heatmap(scores, plots.one_layer_layout(scores.shape, layer), label, largest=top_of(located)).to_json())


def key_of(neuron: Neuron) -> str:
    """A neuron as the value of a checkbox."""
    return f"{neuron.layer}:{neuron.index}"


def ticked(chosen: Selection, event: gr.SelectData) -> Selection:
    """The listed neuron whose box was ticked is off; where its tick was taken away it is on."""
    clicked = frozenset(neuron for neuron in chosen.now.neurons if key_of(neuron) == event.value)
    return chosen.with_off(clicked, clicked if event.selected else frozenset())


def layer_ticked(chosen: Selection, event: gr.SelectData) -> Selection:
    """The layer whose box was ticked is off; where its tick was taken away it is on. The others stay."""
    return chosen.with_layers_off(with_box(chosen.layers_off, event))


def view(widths: tuple[int, ...], located: Localization | None, selection: Selection) -> tuple[Any, ...]:
    """What the controls show of a selection; the widths are those of the model's MLPs, for when nothing was localized."""
    now = selection.now
    n_layers = len(widths if located is None else located.scores.scores)
    n_neurons = sum(widths) if located is None else located.scores.n_neurons

    def label(neuron: Neuron) -> str:
        return en.neuron_label(*neuron, float(located.scores.scores[neuron]) if located else None)

    shown = now.neurons[:LISTED]
    counts = {layer: sum(neuron.layer == layer for neuron in now.neurons) for layer in range(n_layers)}
    layers = [(en.layer_label(layer, count), layer) for layer, count in counts.items() if count]
    return (
        gr.update(**marks(now)),
        gr.update(**marks(now)),
        gr.update(value=len(now.neurons)),
        gr.update(interactive=bool(selection.past)),
        gr.update(interactive=bool(selection.future)),
        gr.update(value=wording.of_choice(now, located, n_neurons)),
        gr.update(
            choices=[(label(neuron), key_of(neuron)) for neuron in shown], value=[key_of(n) for n in shown if n in now.off]
        ),
        gr.update(choices=layers, value=sorted(selection.layers_off)),
        gr.update(value=plots.per_layer(now.switched_off, now.switched_on, n_layers).to_json() if now.neurons else ""),
    )
