"""One neuron: what it writes, where it is active, what happens as it is dimmed, and which secrets fall when it alone is off."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens import validation
from privlens.lm.model import LanguageModel, Stop
from privlens.neurons.links import parse_neuron
from privlens.neurons.page import PageRequest, page
from privlens.neurons.page_records import PageStep
from privlens.types import to_object
from privlens.ui.components.form import Form
from privlens.ui.components.parts import facts, part, press_when_seen, results_table
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues, all_of
from privlens.ui.state.freshness import Asked, of_secret
from privlens.ui.state.jobs import QUICK
from privlens.ui.state.profiles import ProfileCache
from privlens.ui.state.session import Localization, ModelCache, Selection
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.neurons import view as show
from privlens.ui.tabs.neurons.study import Study, study_controls, wire_study
from privlens.ui.text import en
from privlens.ui.traces.typed import UNKEPT

SHOW_NEURON = press_when_seen("neuron-start")
"""Shows the neuron that is named, once the tab is open."""
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


@dataclass(frozen=True)
class OneNeuron:
    """What others fill and read: the neuron's name, and a Studied with its NeuronPage, or None."""

    name: gr.Dropdown
    shown: gr.State


@dataclass(frozen=True)
class Parts:
    """What shows a neuron: the numbers, and a column of all the rest, which is hidden without one."""

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
    numbers = facts("neuron-facts", en.NEURON_EMPTY)
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
        alone = results_table("neuron-alone", en.NEURON_ALONE, ["200px", "180px", "115px", "110px", "105px", "100px"])
        near = results_table("neuron-near", en.NEURON_NEIGHBORS, ["150px", "110px"])
    return Parts(numbers, rest, tokens, readings, histogram, lines, alone, near, gate, dimmed)


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
    with study_controls("neuron", en.NEURON_START) as controls:
        parts = _results()

    def steps(form: NeuronForm, lm: LanguageModel, stop: Stop) -> Iterator[PageStep]:
        neuron, request = parse_neuron(form.name or "", lm.widths(), lm.fingerprint), request_of(form)
        for reading in profiles.steps(lm, form.reference, stop):
            if reading.result is None:
                yield PageStep(reading.step, reading.n_steps, reading.stage)
        yield from page(lm, neuron, request, profiled=reading.result, stop=stop)

    form = Form(
        NeuronForm,
        side=Form(SidebarValues, **side.controls),
        reference=side.reference,
        name=name,
        text=text,
        located=chosen.located,
    )
    study = Study(
        form,
        steps,
        command,
        to_object,
        parts=parts.drawn,
        drawn=show.of_page,
        nothing=show.nothing(),
        events=[control.change for control in (side.model, side.secret, name)],
        known=lambda step: step.page,
        heavy=False,
    )
    wire_study("neuron", shelf, side, controls, study)
    shown = controls.shown
    gr.on(
        [parts.gate.change, shown.change],
        lambda studied, at: gr.update(value=show.dimmed(studied.result.dimmer if studied else None, at)),
        [shown, parts.gate],
        parts.dimmed,
        trigger_mode="always_last",
        **QUICK,
    )
    chosen.selection.change(named, chosen.selection, name, **QUICK)
    parts.near.select(_chosen_neighbor, None, name, **QUICK)
    return OneNeuron(name, shown)


def command(form: NeuronForm) -> str:
    """The command that makes it."""
    return commands.neuron(form.side, (form.name or "").strip(), form.text, form.reference)


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
