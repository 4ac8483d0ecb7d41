"""One neuron: what it writes, where it is active, what happens as it is dimmed, and which secrets fall when it alone is off."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from privlens import validation
from privlens.neurons.links import parse_neuron
from privlens.neurons.page import PageRequest, page
from privlens.neurons.page_records import NeuronPage
from privlens.types import to_json
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Given, Update
from privlens.ui.components.parts import Clock, facts, part, progress, results_table
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues, all_of
from privlens.ui.state.freshness import Asked, Made, of_secret, strip, told, watch
from privlens.ui.state.jobs import QUICK, run_buttons, wire
from privlens.ui.state.profiles import ProfileCache
from privlens.ui.state.session import Localization, ModelCache, Selection
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.neurons import view as show
from privlens.ui.text import en
from privlens.ui.traces.typed import UNKEPT

LISTED_MOST = 120
"""Listed secrets that are measured with the neuron off: six times each, so that a longer list takes minutes."""


@dataclass(frozen=True)
class NeuronForm:
    """The neuron, and what it is looked at on."""

    side: SidebarValues
    reference: tuple[str, ...]
    name: str | None
    text: str
    located: Localization | None

    @property
    def asked(self) -> Asked:
        """The question by name, for the strip."""
        return ("neuron", (self.name or "").strip()), *of_secret(self.side.prompt, self.side.value)


@dataclass(frozen=True, eq=False)
class Shown:
    """A neuron's page, what it was made with, and the command that makes it."""

    page: NeuronPage
    made: Made
    command: Callable[[], str]


@dataclass(frozen=True)
class OneNeuron:
    """What others press and fill: the neuron's name and Start. `shown` is a Shown or None."""

    name: gr.Dropdown
    start: gr.Button
    shown: gr.State


@dataclass(frozen=True)
class Parts:
    """What shows a neuron: the strip and the numbers, and a column of all the rest, which is hidden without one."""

    made: gr.HTML
    numbers: gr.HTML
    rest: gr.Column
    tokens: gr.Dataframe
    readings: gr.HTML
    histogram: gr.HTML
    lines: gr.HTML
    alone: gr.Dataframe
    near: gr.Dataframe
    gate: gr.Slider
    dimmed: gr.HTML

    @property
    def drawn(self) -> list[Any]:
        """In the order of `view.of_page`."""
        return [
            self.numbers,
            self.rest,
            self.tokens,
            self.readings,
            self.histogram,
            self.lines,
            self.alone,
            self.near,
        ]


def _results() -> Parts:
    made, numbers = strip("neuron-made"), facts("neuron-facts", en.NEURON_EMPTY)
    with gr.Column(visible=False) as rest:
        with gr.Row():
            with gr.Column(min_width=300):
                tokens = results_table("neuron-tokens", en.NEURON_TOKENS, ["115px", "90px", "115px", "90px"])
            with gr.Column(min_width=300):
                histogram = plot("neuron-histogram", en.NEURON_HISTOGRAM_EMPTY, 280)
        readings = readings_part()
        with gr.Row():
            with gr.Column(min_width=300):
                lines = plot("neuron-dimmer", en.NEURON_DIMMER_EMPTY, 560)
            with gr.Column(min_width=300):
                gate = gr.Slider(0, 2, value=1, step=0.25, label=en.NEURON_DIMMER, elem_id="neuron-gate")
                dimmed = facts("neuron-dimmed", en.NEURON_DIMMED)
        alone = results_table("neuron-alone", en.NEURON_ALONE, ["300px", "190px", "115px", "110px", "105px", "100px"])
        near = results_table("neuron-near", en.NEURON_NEIGHBORS, ["150px", "110px"])
    return Parts(made, numbers, rest, tokens, readings, histogram, lines, alone, near, gate, dimmed)


def neuron_part(shelf: ModelCache, side: Sidebar, chosen: Chosen, profiles: ProfileCache) -> OneNeuron:
    """Builds the part."""
    with gr.Row(elem_classes="run-line"):
        name = gr.Dropdown(
            [],
            value=None,
            allow_custom_value=True,
            label=en.NEURON_NAME,
            info=en.NEURON_NAME_INFO,
            elem_id="neuron-name",
            min_width=260,
            scale=2,
        )
        text = gr.Textbox(
            "", label=en.NEURON_TEXT, lines=1, elem_id="neuron-text", max_length=validation.MAX_TEXT, scale=3, **UNKEPT
        )
    start, cancel = run_buttons(en.NEURON_START, "neuron")
    bar = progress("neuron-progress")
    shown = gr.State(None)
    with gr.Column(elem_classes="results"):
        parts = _results()
    exports("neuron", shown, lambda made: json.loads(to_json(made.page)))

    def run(form: NeuronForm, stop: threading.Event) -> Iterator[Update]:
        lm, clock = shelf.get(form.side.model), Clock()
        neuron = parse_neuron(form.name or "", lm.widths(), lm.fingerprint)
        request = request_of(form)
        for reading in profiles.steps(lm, form.reference, stop.is_set):
            yield {bar: gr.update(value=clock.at(reading.step, reading.n_steps, reading.stage))}
        assert reading.result, "a profile ends with its result"
        for step in page(lm, neuron, request, profiled=reading.result, stop=stop.is_set):
            update: Update = {bar: gr.update(value=clock.at(step.step, step.n_steps, step.stage))}
            if step.page:
                update |= dict(zip(parts.drawn, show.of_page(step.page), strict=True))
            if step.result:
                made = Made(lm.fingerprint, form.asked, len(form.side.model.edits))
                command = partial(commands.neuron, form.side, en.neuron_name(*neuron), form.text, form.reference)
                update[shown] = Shown(step.result, made, command)
            yield update

    def tell(given: Given) -> dict[str, str]:
        form = fields.read(given)
        return told(shelf, form.side.model, given[shown].made if given[shown] else None, form.asked)

    def redraw(made: Shown | None) -> tuple[Any, ...]:
        return show.of_page(made.page) if made else show.nothing()

    fields = Form(
        NeuronForm,
        side=Form(SidebarValues, **side.controls),
        reference=side.reference,
        name=name,
        text=text,
        located=chosen.located,
    )
    wire(start, cancel, bar, run, fields, [*parts.drawn, shown], redraw=(redraw, [shown], parts.drawn), heavy=False)
    watch(([control.change for control in (shown, side.model, side.secret, name)], tell, {*fields.inputs, shown}), [parts.made])
    gr.on(
        [parts.gate.change, shown.change],
        lambda made, at: gr.update(value=show.dimmed(made.page.dimmer if made else None, at)),
        [shown, parts.gate],
        parts.dimmed,
        trigger_mode="always_last",
        **QUICK,
    )
    chosen.selection.change(named, chosen.selection, name, **QUICK)
    parts.near.select(_chosen_neighbor, None, name, **QUICK)
    return OneNeuron(name, start, shown)


def _chosen_neighbor(event: gr.SelectData) -> Any:
    """The neuron of the row that was clicked."""
    return event.row_value[0]


def request_of(form: NeuronForm) -> PageRequest:
    """What a page is made of: the secret where one was typed, the first listed ones, and the scores of the map."""
    target = form.side.target if form.side.value else None
    listed = tuple(dict.fromkeys((*((target,) if target else ()), *all_of(form.side.listed))))[:LISTED_MOST]
    scores = (form.located.scores,) if form.located and form.located.scores.site != "attention" else ()
    return PageRequest(form.reference, target, form.text, listed, scores)


def named(selection: Selection) -> Any:
    """The neurons that are chosen on Localize, by name."""
    names = [en.neuron_name(*neuron) for neuron in selection.now.neurons[:LISTED_MOST]]
    return gr.update(choices=names)


def readings_part() -> gr.HTML:
    """Texts whose tokens are coloured by the neuron's activation."""
    template = f'<div class="marked-label" hidden>{en.NEURON_READINGS}</div><div class="readings"></div>'
    return part("readings", template, value=[], elem_id="neuron-readings")
