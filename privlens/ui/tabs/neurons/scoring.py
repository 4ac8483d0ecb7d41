"""For which secrets of the list, and which categories, one neuron is among the best of each quick method."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens import plots, validation
from privlens.lm.model import LanguageModel, Stop
from privlens.localization import METHOD_INFO, QUICK_METHODS
from privlens.neuron_places import DEFAULT_METHODS, N_SECRETS, PlacesRequest, places_of
from privlens.neurons.links import parse_neuron
from privlens.neurons.place_records import NeuronPlaces, PlaceSummary
from privlens.types import to_object
from privlens.ui.components.form import Form
from privlens.ui.components.parts import facts, results_table
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues, bundled_lists
from privlens.ui.state.freshness import Asked
from privlens.ui.state.places import PlacesCache
from privlens.ui.state.session import ModelCache
from privlens.ui.tabs.localize.settings import seed_setting
from privlens.ui.tabs.neurons.study import Study, StudyStep, study_controls, wire_study
from privlens.ui.tabs.neurons.view import table
from privlens.ui.text import en, wording
from privlens.ui.text.wording import Fact, fact

WIDTHS = ["185px", "110px", "95px", "130px", "85px", "85px", "80px"]


@dataclass(frozen=True)
class ScoringForm:
    """The list, the neuron, by which methods and for how many secrets."""

    side: SidebarValues
    name: str | None
    methods: list[str]
    n_secrets: float | None
    seed: float | None

    @property
    def asked(self) -> Asked:
        """The question by name, for the strip."""
        numbers = ("secrets", f"{self.n_secrets or 0:g}"), ("seed", f"{self.seed or 0:g}")
        return ("neuron", (self.name or "").strip()), ("methods", ", ".join(self.in_order)), *numbers

    @property
    def in_order(self) -> tuple[str, ...]:
        """The methods in the order of the registry."""
        return tuple(name for name in QUICK_METHODS if name in self.methods)


def scoring_part(shelf: ModelCache, side: Sidebar, name: gr.Dropdown) -> None:
    """Builds the part; `name` is where the neuron is named."""
    gr.Markdown(en.SCORING_INTRO)
    methods = gr.CheckboxGroup(
        [(en.method_label(name, METHOD_INFO[name].meaning, METHOD_INFO[name].cost), name) for name in QUICK_METHODS],
        value=list(DEFAULT_METHODS),
        label=en.SCORING_METHODS,
        elem_id="scoring-methods",
    )
    with gr.Row():
        n_secrets = gr.Number(
            N_SECRETS, label=en.SCORING_SECRETS, info=en.SCORING_SECRETS_INFO, precision=0, minimum=1, elem_id="scoring-n"
        )
        seed = seed_setting("scoring-seed")
    with study_controls("scoring") as controls:
        numbers = facts("scoring-facts", en.SCORING_EMPTY)
        picture = plot("scoring-map", "", 620)
        rows = results_table("scoring-table", en.SCORING_TABLE, WIDTHS)
    places = PlacesCache()

    def steps(form: ScoringForm, lm: LanguageModel, stop: Stop) -> Iterator[StudyStep[NeuronPlaces]]:
        neuron, seed = parse_neuron(form.name or "", lm.widths(), lm.fingerprint), validation.seed(form.seed or 0)
        request = PlacesRequest(lm, form.side.listed, form.in_order, int(form.n_secrets or 0), seed, stop)
        for step in places.steps(request, form.side.listed in bundled_lists()):
            if step.result is None:
                yield StudyStep(step.step, step.n_steps, step.stage)
        assert step.result, "the places of a list end with their result"
        yield StudyStep(1, 1, en.DONE, result=places_of(step.result, form.side.listed, neuron, seed))

    form = Form(
        ScoringForm, side=Form(SidebarValues, **side.controls), name=name, methods=methods, n_secrets=n_secrets, seed=seed
    )
    nothing = gr.update(value=[]), gr.update(value=""), gr.update(visible=False)
    events = [control.change for control in (side.model, side.listed, name, methods, n_secrets, seed)]
    study = Study(form, steps, command, to_object, parts=[numbers, picture, rows], drawn=drawn, nothing=nothing, events=events)
    wire_study("scoring", shelf, side, controls, study)


def command(form: ScoringForm) -> str:
    """The command that makes it, with the rest of a neuron's page."""
    return commands.places(form.side, (form.name or "").strip(), form.in_order, int(form.n_secrets or 0), int(form.seed or 0))


def drawn(result: NeuronPlaces) -> tuple[Any, ...]:
    """Facts, picture and table."""
    rows = [_row(summary) for summary in result.summaries if summary.category]
    return (
        gr.update(value=facts_of(result)),
        gr.update(value=plots.places_heatmap(result).to_json()),
        table(en.SCORING_COLUMNS, rows),
    )


def facts_of(result: NeuronPlaces) -> list[Fact]:
    """For how many secrets the neuron is among the best, by method, beside the random one."""
    name, rival = en.neuron_name(*result.neuron), en.neuron_name(*result.random)
    return [
        fact("neuron", name, "", en.note_scoring(result.n_best, result.n_neurons, result.chance)),
        *(_fact(summary, rival) for summary in result.summaries if not summary.category),
        wording.time_of(result),
    ]


def _fact(summary: PlaceSummary, rival: str) -> Fact:
    share = summary.share
    beside = en.scoring_beside(rival, summary.random_share.k, summary.random_share.n, summary.layer_share)
    median = en.note_median_place(summary.median_place)
    return fact(f"by {summary.method}", f"{share.k} of {share.n}", en.percent_interval(share.interval), median, beside)


def _row(summary: PlaceSummary) -> tuple[str, ...]:
    share, random = summary.share, summary.random_share
    return (
        summary.method,
        summary.category,
        f"{share.k} of {share.n}",
        en.percent_interval(share.interval),
        "-" if summary.median_place is None else f"{summary.median_place:g}",
        f"{random.k} of {random.n}",
        f"{100 * summary.layer_share:.1f} %",
    )
