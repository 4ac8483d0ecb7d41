"""What hidden states tell of the list's secrets, layer by layer, before and after neurons are off."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import gradio as gr

from privlens import plots
from privlens.lm.model import LanguageModel, Stop
from privlens.neurons.probe_records import ProbeKind, ProbeRun, Probes, ProbeStep, ProbeTarget
from privlens.neurons.probe_training import TrainingSettings
from privlens.neurons.probes import ProbeRequest, ProbeSettings, probe
from privlens.neurons.reports import probe_report
from privlens.types import Neuron, Site
from privlens.ui.components.form import Form
from privlens.ui.components.parts import facts
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues
from privlens.ui.state.freshness import Asked
from privlens.ui.state.session import Localization, ModelCache, Selection
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.neurons.study import Study, study_controls, wire_study
from privlens.ui.text import en, wording
from privlens.ui.text.wording import Fact, fact


@dataclass(frozen=True)
class ProbeForm:
    """The list, what is read, by which probe, and the neurons that are off on Localize."""

    side: SidebarValues
    target: ProbeTarget
    probe_kind: ProbeKind
    located: Localization | None
    selection: Selection

    @property
    def asked(self) -> Asked:
        """The question by name, for the strip."""
        return ("reading", self.target), ("probe", self.probe_kind), ("neurons off", str(len(self.off)))

    @property
    def off(self) -> tuple[Neuron, ...]:
        """The neurons that are off."""
        return self.selection.now.switched_off

    @property
    def site(self) -> Site:
        """Where they are."""
        return self.located.scores.site if self.located else "mlp"


def probe_part(shelf: ModelCache, side: Sidebar, chosen: Chosen) -> None:
    """Builds the part."""
    gr.Markdown(en.PROBE_INTRO)
    with gr.Row():
        target = gr.Dropdown(
            [(en.PROBE_TARGETS[name], name) for name in get_args(ProbeTarget)],
            value="category",
            label=en.PROBE_TARGET,
            elem_id="probe-target",
            min_width=240,
        )
        kind = gr.Radio([(en.PROBE_KINDS[name], name) for name in get_args(ProbeKind)], value="linear", label=en.PROBE_KIND)
    with study_controls("probe") as controls:
        numbers = facts("probe-facts", en.PROBE_EMPTY)
        picture = plot("probe-curves", "", 380)
    form = Form(
        ProbeForm,
        side=Form(SidebarValues, **side.controls),
        target=target,
        probe_kind=kind,
        located=chosen.located,
        selection=chosen.selection,
    )
    nothing = gr.update(value=[]), gr.update(value="")
    events = [control.change for control in (side.model, side.listed, target, kind, chosen.selection)]
    study = Study(form, steps, command, probe_report, parts=[numbers, picture], drawn=drawn, nothing=nothing, events=events)
    wire_study("probe", shelf, controls, study)


def command(form: ProbeForm) -> str:
    """The command that makes it."""
    return commands.probe(form.side, form.target, form.probe_kind, bool(form.off))


def steps(form: ProbeForm, lm: LanguageModel, stop: Stop) -> Iterator[ProbeStep]:
    """The probes of every layer, with all neurons on, then with those off and with random ones off."""
    settings = ProbeSettings(form.target, training=TrainingSettings(form.probe_kind))
    secrets = tuple(row.secret for row in form.side.listed)
    return probe(ProbeRequest(lm, secrets, form.off, site=form.site, settings=settings, stop=stop))


def drawn(result: Probes) -> tuple[Any, ...]:
    """Facts and curves."""
    return gr.update(value=facts_of(result)), gr.update(value=plots.probe_curves(result).to_json())


def facts_of(result: Probes) -> list[Fact]:
    """The best layer of each condition, beside its control task."""
    majority = result.majority
    return [
        *(_best(run) for run in result.runs),
        fact("most frequent class", f"{majority.k} of {majority.n}", "", en.note_probed(result.n_train, result.n_left_out)),
        wording.time_of(result),
    ]


def _best(run: ProbeRun) -> Fact:
    layer = max(range(len(run.accuracy)), key=lambda number: run.accuracy[number].k)
    share, control = run.accuracy[layer], run.control[layer]
    ends = en.percent_interval(share.interval)
    beside = en.probe_control(control.k, control.n)
    return fact(run.condition, f"{share.k} of {share.n}", ends, en.note_probe_layer(layer - 1), beside)
