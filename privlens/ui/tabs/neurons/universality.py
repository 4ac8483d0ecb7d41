"""Which neurons another model of the same tokenizer has too, and whether those of a secret are less universal than others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens import plots, validation
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop
from privlens.neurons.reports import universal_report
from privlens.neurons.universal import UniversalRequest, universal
from privlens.neurons.universal_records import Universality, UniversalStep
from privlens.types import Neuron
from privlens.ui.components.form import Form
from privlens.ui.components.parts import facts
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues
from privlens.ui.state.freshness import Asked
from privlens.ui.state.session import Localization, ModelCache, ModelName, Selection
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.localize.settings import seed_setting
from privlens.ui.tabs.neurons.study import Study, study_controls, wire_study
from privlens.ui.text import en, wording
from privlens.ui.text.wording import Fact, fact
from privlens.ui.traces.typed import UNKEPT
from privlens.zoo.catalogue import TWIN


@dataclass(frozen=True)
class UniversalForm:
    """The model, another one by name, and the neurons that are chosen on Localize."""

    side: SidebarValues
    reference: tuple[str, ...]
    other: str
    located: Localization | None
    selection: Selection
    seed: float | None

    @property
    def asked(self) -> Asked:
        """The question by name, for the strip."""
        return ("other", self.other.strip()), ("neurons", str(len(self.chosen))), ("seed", f"{self.seed or 0:g}")

    @property
    def chosen(self) -> tuple[Neuron, ...]:
        """The chosen MLP neurons."""
        is_mlp = self.located is not None and self.located.scores.site == "mlp"
        return self.selection.now.neurons if is_mlp else ()


def universal_part(shelf: ModelCache, side: Sidebar, chosen: Chosen) -> None:
    """Builds the part."""
    gr.Markdown(en.UNIVERSAL_INTRO)
    with gr.Row():
        other = gr.Textbox(TWIN, label=en.UNIVERSAL_OTHER, info=en.UNIVERSAL_OTHER_INFO, elem_id="universal-other", **UNKEPT)
        seed = seed_setting("universal-seed")
    with study_controls("universal") as controls:
        numbers = facts("universal-facts", en.UNIVERSAL_EMPTY)
        picture = plot("universal-histogram", "", 320)
    form = Form(
        UniversalForm,
        side=Form(SidebarValues, **side.controls),
        reference=side.reference,
        other=other,
        located=chosen.located,
        selection=chosen.selection,
        seed=seed,
    )

    def steps(form: UniversalForm, lm: LanguageModel, stop: Stop) -> Iterator[UniversalStep]:
        if not form.other.strip():
            raise BadInput(en.UNIVERSAL_NEEDS_OTHER)
        model = form.side.model
        second = shelf.get(ModelName(form.other.strip(), model.device, model.dtype), stop)
        return universal(
            UniversalRequest(lm, second, form.reference, form.chosen, seed=validation.seed(form.seed or 0), stop=stop)
        )

    nothing = gr.update(value=[]), gr.update(value="")
    events = [control.change for control in (side.model, other, seed, chosen.selection)]
    study = Study(form, steps, command, universal_report, parts=[numbers, picture], drawn=drawn, nothing=nothing, events=events)
    wire_study("universal", shelf, side, controls, study)


def command(form: UniversalForm) -> str:
    """The command that makes it."""
    return commands.universal(form.side, form.other.strip(), bool(form.chosen), int(form.seed or 0), form.reference)


def drawn(result: Universality) -> tuple[Any, ...]:
    """Facts and picture."""
    return gr.update(value=facts_of(result)), gr.update(value=plots.excess_histogram(result).to_json())


def facts_of(result: Universality) -> list[Fact]:
    """How many neurons are universal, whether the chosen ones are less so, and what ordinary text loses without either."""
    share = result.universal
    rate = "-" if share.rate is None else f"{100 * share.rate:.1f} %"
    numbers = [fact("universal neurons", rate, en.percent_interval(share.interval), en.note_universal(result.threshold, share.n))]
    if result.contrast:
        between = result.contrast
        ends = f" [{between.interval[0]:.2f}, {between.interval[1]:.2f}]" if between.interval else ""
        beside = en.universal_means(between.chosen_mean, between.others_mean)
        numbers.append(
            fact("chosen against others", f"{between.auc:.2f}{ends}", "AUC", en.note_contrast(between.n_silent), beside)
        )
    if result.ablation:
        lost = result.ablation
        ends = f" [{lost.interval[0]:+.4f}, {lost.interval[1]:+.4f}]" if lost.interval else ""
        numbers.append(fact("cost to ordinary text", f"{lost.difference:+.4f}{ends}", "nats/token", en.note_ablation(lost.k)))
    return [*numbers, wording.time_of(result)]
