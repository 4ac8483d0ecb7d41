"""What hidden states tell of the list's secrets, layer by layer, before and after neurons are off, and once it is erased."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import gradio as gr

from privlens import plots, validation
from privlens.lm.model import LanguageModel, Stop
from privlens.neurons.kram import FEWEST_STATES, geometry, kram
from privlens.neurons.probe_records import Erased, Geometry, LayerGeometry, ProbeKind, ProbeRun, Probes, ProbeTarget
from privlens.neurons.probe_training import TrainingSettings
from privlens.neurons.probes import ProbeRequest, ProbeSettings, probe
from privlens.neurons.reports import probe_report
from privlens.neurons.share import Share
from privlens.types import Neuron, Site
from privlens.ui.components.form import Form
from privlens.ui.components.parts import facts, optional_number
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues
from privlens.ui.state.freshness import Asked
from privlens.ui.state.session import Localization, ModelCache, Selection
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.localize.settings import seed_setting
from privlens.ui.tabs.neurons.study import Study, StudyStep, study_controls, wire_study
from privlens.ui.text import en, wording
from privlens.ui.text.wording import Fact, fact

NO_MAP = gr.update(visible=False), gr.update(value=[]), gr.update(value="")


@dataclass(frozen=True)
class ProbeForm:
    """The list, what is read, by which probe, and the neurons that are off on Localize."""

    side: SidebarValues
    target: ProbeTarget
    probe_kind: ProbeKind
    located: Localization | None
    selection: Selection
    kram: str
    seed: float | None

    @property
    def asked(self) -> Asked:
        """The question by name, for the strip."""
        erased = self.kram.strip() or "none"
        numbers = ("neurons off", str(len(self.off))), ("erased from layer", erased), ("seed", f"{self.seed or 0:g}")
        return ("reading", self.target), ("probe", self.probe_kind), *numbers

    @property
    def off(self) -> tuple[Neuron, ...]:
        """The neurons that are off."""
        return self.selection.now.switched_off

    @property
    def site(self) -> Site:
        """Where they are."""
        return self.located.scores.site if self.located else "mlp"


@dataclass(frozen=True)
class Probed:
    """The probes, what stayed of the geometry, and what a map erased from one layer.

    None until it is known, where nothing is off or mapped, and where the list is too short for a geometry.
    """

    probes: Probes
    stayed: Geometry | None = None
    erased: Erased | None = None


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
        layer = optional_number(en.PROBE_KRAM, "probe-kram", info=en.PROBE_KRAM_INFO)
        seed = seed_setting("probe-seed")
    with study_controls("probe") as controls:
        numbers = facts("probe-facts", en.PROBE_EMPTY)
        picture = plot("probe-curves", "", 380)
        with gr.Column(visible=False) as of_map:
            gr.Markdown(f"#### {en.PROBE_KRAM_HEADING}")
            map_numbers = facts("kram-facts", "")
            map_picture = plot("kram-bars", "", 300)
    form = Form(
        ProbeForm,
        side=Form(SidebarValues, **side.controls),
        target=target,
        probe_kind=kind,
        located=chosen.located,
        selection=chosen.selection,
        kram=layer,
        seed=seed,
    )
    study = Study(
        form,
        steps,
        command,
        lambda found: probe_report(found.probes, found.stayed, found.erased),
        parts=[numbers, picture, of_map, map_numbers, map_picture],
        drawn=drawn,
        nothing=(gr.update(value=[]), gr.update(value=""), *NO_MAP),
        events=[control.change for control in (side.model, side.listed, target, kind, layer, seed, chosen.selection)],
        known=lambda step: step.known,
    )
    wire_study("probe", shelf, side, controls, study)


def command(form: ProbeForm) -> str:
    """The command that makes it."""
    layer = validation.typed_whole(form.kram, "layer", 0, validation.MAX_SEED)
    return commands.probe(form.side, commands.Probing(form.target, form.probe_kind, bool(form.off), layer, int(form.seed or 0)))


def steps(form: ProbeForm, lm: LanguageModel, stop: Stop) -> Iterator[StudyStep[Probed]]:
    """The probes of every layer, with all neurons on, with those off and with random ones off; then geometry and map."""
    settings = ProbeSettings(form.target, training=TrainingSettings(form.probe_kind))
    secrets = tuple(row.secret for row in form.side.listed)
    seed = validation.seed(form.seed or 0)
    request = ProbeRequest(lm, secrets, form.off, site=form.site, settings=settings, seed=seed, stop=stop)
    layer = validation.typed_whole(form.kram, "layer", 0, lm.n_layers)
    for step in probe(request):
        stage = en.PROBE_AFTERWARDS if step.result else step.stage
        yield StudyStep(step.step, step.n_steps + 1, stage, Probed(step.result) if step.result else None)
    assert step.result, "probes end with their result"
    n_states = step.result.n_train + step.result.n_test
    stayed = geometry(request) if form.off and n_states >= FEWEST_STATES else None
    whole = Probed(step.result, stayed, None if layer is None else kram(request, layer))
    yield StudyStep(1, 1, en.DONE, whole, whole)


def drawn(found: Probed) -> tuple[Any, ...]:
    """Facts and curves of the probes, and what the map did."""
    of_probes = gr.update(value=facts_of(found.probes, found.stayed)), gr.update(value=plots.probe_curves(found.probes).to_json())
    if found.erased is None:
        return *of_probes, *NO_MAP
    erased = gr.update(value=map_facts(found.erased)), gr.update(value=plots.kram_bars(found.erased).to_json())
    return *of_probes, gr.update(visible=True), *erased


def map_facts(erased: Erased) -> list[Fact]:
    """What is read before and after the map, and how much of the geometry stayed."""
    tenth = erased.geometry.tenth
    return [
        _read(en.KRAM_BEFORE, erased.before, en.note_kram_before(erased.layer - 1)),
        _read(en.KRAM_AFTER, erased.after, en.NOTE_KRAM_AFTER, en.probe_control(erased.control.k, erased.control.n)),
        fact(
            "spread within classes", f"{erased.kernel_after:.1f}", "nats", en.NOTE_KRAM_RATE, en.kram_before(erased.kernel_before)
        ),
        fact(en.KRAM_KEPT, f"{100 * tenth.score:.0f} %", "", en.NOTE_KRAM_KEPT, en.by_chance(tenth.chance)),
        wording.time_of(erased),
    ]


def _read(name: str, share: Share, note: str, beside: str = "") -> Fact:
    return fact(name, f"{share.k} of {share.n}", en.percent_interval(share.interval), note, beside)


def facts_of(result: Probes, stayed: Geometry | None) -> list[Fact]:
    """The best layer of each condition, beside its control task, and how much of the geometry stayed where the least did."""
    majority = result.majority
    return [
        *(_best(run) for run in result.runs),
        *(_least_kept(*of) for of in (zip(stayed.conditions, stayed.layers, strict=True) if stayed else ())),
        fact("most frequent class", f"{majority.k} of {majority.n}", "", en.note_probed(result.n_train, result.n_left_out)),
        wording.time_of(result),
    ]


def _best(run: ProbeRun) -> Fact:
    layer = max(range(len(run.accuracy)), key=lambda number: run.accuracy[number].k)
    control = run.control[layer]
    return _read(run.condition, run.accuracy[layer], en.note_probe_layer(layer - 1), en.probe_control(control.k, control.n))


def _least_kept(condition: str, layers: Sequence[LayerGeometry]) -> Fact:
    layer = min(range(len(layers)), key=lambda number: layers[number].tenth.score)
    tenth = layers[layer].tenth
    kept = f"{100 * tenth.score:.0f} %"
    return fact(f"{en.KRAM_KEPT}, {condition}", kept, "", en.note_least_kept(layer - 1), en.by_chance(tenth.chance))
