"""Two categories of the list, or two texts: the neurons that both need and ordinary text does not, and what they do when off."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import gradio as gr

from privlens import intervals, plots, validation
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop
from privlens.neurons.coupled import CoupledRequest, coupled
from privlens.neurons.coupled_records import CoupledStep, Coupling, Shift, SwitchEffect
from privlens.neurons.reports import coupled_report
from privlens.neurons.texts import Text
from privlens.secret_lists import ListedSecret, paragraphs, trained_on
from privlens.ui.components.form import Form
from privlens.ui.components.parts import facts, results_table
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues, categories_of
from privlens.ui.state.freshness import TEXTS, Asked
from privlens.ui.state.jobs import QUICK
from privlens.ui.state.session import ModelCache
from privlens.ui.tabs.neurons.study import Study, study_controls, wire_study
from privlens.ui.tabs.neurons.view import table
from privlens.ui.text import en, wording
from privlens.ui.text.wording import Fact, fact
from privlens.ui.traces.typed import UNKEPT

WIDTHS = ["150px", "95px", "230px", "230px", "140px"]


Source = Literal["list", "texts"]


@dataclass(frozen=True)
class CouplingForm:
    """The list and two of its categories, or two texts of the visitor's own."""

    side: SidebarValues
    reference: tuple[str, ...]
    source: Source
    first: str | None
    second: str | None
    first_text: str
    second_text: str

    @property
    def asked(self) -> Asked:
        """The question by name, for the strip."""
        if self.source == "list":
            return ("first", self.first or ""), ("second", self.second or "")
        return *zip(("first", "second"), en.COUPLING_OWN_NAMES, strict=True), (TEXTS, f"{self.first_text}\n\n{self.second_text}")

    @property
    def names(self) -> tuple[str, str]:
        """What the two concepts are called. Raises BadInput for categories that are missing or the same."""
        if self.source == "texts":
            return en.COUPLING_OWN_NAMES
        known = {row.secret.category for row in self.side.listed} - {""}
        if not self.first or not self.second or self.first == self.second or not {self.first, self.second} <= known:
            raise BadInput(en.COUPLING_NEEDS_TWO)
        return self.first, self.second

    @property
    def concepts(self) -> tuple[tuple[Text, ...], ...]:
        """The texts of both. Raises BadInput as `names` does, and for texts that are too long."""
        if self.source == "texts":
            return paragraphs(self.first_text), paragraphs(self.second_text)
        return tuple(trained_on(self.side.listed, name) for name in self.names)


def coupling_part(shelf: ModelCache, side: Sidebar) -> None:
    """Builds the part."""
    gr.Markdown(en.COUPLING_INTRO)
    asked = _concepts(categories_of(side.listed.value))
    with study_controls("coupling") as controls:
        numbers = facts("coupling-facts", en.COUPLING_EMPTY)
        with gr.Row():
            with gr.Column(min_width=300):
                circles = plot("coupling-venn", "", 320)
            with gr.Column(min_width=300):
                colors = plot("coupling-map", "", 400)
        effects = results_table("coupling-effects", en.COUPLING_EFFECTS, WIDTHS)
    form = Form(CouplingForm, side=Form(SidebarValues, **side.controls), reference=side.reference, **asked)
    nothing = (gr.update(value=[]), gr.update(value=""), gr.update(value=""), gr.update(visible=False))
    events = [control.change for control in (side.model, side.listed, *asked.values())]
    parts = [numbers, circles, colors, effects]
    study = Study(form, steps, command, coupled_report, parts=parts, drawn=drawn, nothing=nothing, events=events)
    wire_study("coupling", shelf, side, controls, study)
    side.listed.change(_categories, side.listed, [asked["first"], asked["second"]], **QUICK)


def _concepts(names: Sequence[str]) -> dict[str, Any]:
    """Where the two concepts come from: categories, or texts with an example."""
    source = gr.Radio(
        [(en.COUPLING_SOURCES[name], name) for name in get_args(Source)],
        value="list",
        label=en.COUPLING_SOURCE,
        elem_id="coupling-source",
    )
    # gradio refuses a value that is no choice any more, and events of a new list arrive before its categories do
    choose = partial(gr.Dropdown, names, allow_custom_value=True, min_width=200)
    with gr.Row() as of_list:
        first = choose(value=names[0], label=en.COUPLING_FIRST, elem_id="coupling-first")
        second = choose(value=names[1], label=en.COUPLING_SECOND, elem_id="coupling-second")
    write = partial(gr.Textbox, "", lines=6, max_lines=12, max_length=validation.MAX_TEXT, min_width=260, **UNKEPT)
    with gr.Column(visible=False) as of_texts:
        gr.Markdown(en.COUPLING_TEXTS_INTRO)
        with gr.Row():
            first_text = write(label=en.COUPLING_FIRST_TEXT, elem_id="coupling-first-text")
            second_text = write(label=en.COUPLING_SECOND_TEXT, elem_id="coupling-second-text")
        example = gr.Button(en.COUPLING_EXAMPLE, elem_id="coupling-example", size="sm", min_width=220)
    example.click(lambda: en.COUPLING_EXAMPLES, None, [first_text, second_text], **QUICK)
    source.change(lambda name: [gr.update(visible=name == own) for own in get_args(Source)], source, [of_list, of_texts], **QUICK)
    return {"source": source, "first": first, "second": second, "first_text": first_text, "second_text": second_text}


def _categories(listed: tuple[ListedSecret, ...]) -> tuple[Any, Any]:
    names = [*categories_of(listed), "", ""]
    choices = [name for name in names if name]
    return gr.update(choices=choices, value=names[0] or None), gr.update(choices=choices, value=names[1] or None)


def command(form: CouplingForm) -> str:
    """The command that makes it."""
    if form.source == "texts":
        return commands.coupled_texts(form.side, form.reference)
    return commands.coupled(form.side, form.first or "", form.second or "", form.reference)


def steps(form: CouplingForm, lm: LanguageModel, stop: Stop) -> Iterator[CoupledStep]:
    """The search. Raises BadInput for categories that are missing or the same."""
    first, second = form.concepts
    return coupled(CoupledRequest(lm, first, second, form.reference, form.names, stop=stop))


def drawn(result: Coupling) -> tuple[Any, ...]:
    """Facts, circles, map and table."""
    layout = plots.all_layers_layout(result.colors.shape)
    return (
        gr.update(value=facts_of(result)),
        gr.update(value=plots.venn(result).to_json()),
        gr.update(value=plots.coupled_map(result, layout).to_json()),
        table([*en.COUPLING_COLUMNS[:2], *result.names, en.COUPLING_COLUMNS[2]], rows_of(result)),
    )


def facts_of(result: Coupling) -> list[Fact]:
    """How many neurons are coupled, beside chance and beside lists whose texts were mixed."""
    overlap = result.overlap
    mixed = ""
    if overlap.regrouped:
        ordered = sorted(overlap.regrouped)
        mixed = en.coupling_mixed(sum(ordered) / len(ordered), ordered[0], ordered[-1])
    return [
        fact(
            "coupled neurons", f"{overlap.observed:,}", "", en.NOTE_COUPLED, en.coupling_chance(overlap.expected, overlap.p_value)
        ),
        fact("lists mixed at random", mixed or "-", "", en.NOTE_MIXED),
        *[
            fact(f"of {name}", f"{len(neurons):,}", "neurons", en.NOTE_CONCEPT)
            for name, neurons in zip(result.names, (result.first, result.second), strict=True)
        ],
        wording.time_of(result),
    ]


def rows_of(result: Coupling) -> list[tuple[str, ...]]:
    """Each set that was switched off; the random ones in one row."""
    named = [_row(effect) for effect in result.effects if effect.set_name != "random"]
    random = [effect for effect in result.effects if effect.set_name == "random"]
    return [*named, _random_row(random)] if random else named


def _row(effect: SwitchEffect) -> tuple[str, ...]:
    ratio = effect.perplexity_ratio
    return effect.set_name, str(effect.k), _rise(effect.first), _rise(effect.second), "-" if ratio is None else f"x{ratio:.4f}"


def _rise(shift: Shift) -> str:
    ends = f" [{shift.interval[0]:+.3f}, {shift.interval[1]:+.3f}]" if shift.interval else ""
    return f"{shift.after - shift.before:+.3f}{ends}"


def _random_row(effects: Sequence[SwitchEffect]) -> tuple[str, ...]:
    """The mean of the random sets with its interval over them."""

    def mean(rises: Sequence[float]) -> str:
        ends = intervals.mean(rises)
        return f"{sum(rises) / len(rises):+.3f}" + (f" [{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else "")

    sides = [[getattr(effect, side).after - getattr(effect, side).before for effect in effects] for side in ("first", "second")]
    ratios = [effect.perplexity_ratio for effect in effects if effect.perplexity_ratio is not None]
    ordinary = f"x{sum(ratios) / len(ratios):.4f}" if ratios else "-"
    return en.coupling_random(len(effects)), str(effects[0].k), *map(mean, sides), ordinary
