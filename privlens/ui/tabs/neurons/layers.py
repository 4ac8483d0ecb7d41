"""What each layer would say if it were the last, and which words of the prompt call the value."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens import plots
from privlens.lm.model import LanguageModel, Stop
from privlens.localization.prompt_salience import prompt_salience
from privlens.neurons.lens import lens
from privlens.neurons.lens_records import LensReading, LensResult
from privlens.outcomes import PromptSalience
from privlens.types import to_object
from privlens.ui.components.form import Form
from privlens.ui.components.parts import facts
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues
from privlens.ui.state.freshness import Asked, of_secret
from privlens.ui.state.session import Localization, ModelCache, Selection
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.neurons.study import Study, StudyStep, study_controls, wire_study
from privlens.ui.text import en, wording
from privlens.ui.text.wording import Fact, fact

FIRST = 1
"""A token is visible where it is a layer's first choice. Among the first ten, which `privlens lens` tells too, is every digit:
there are no more of them."""


@dataclass(frozen=True)
class LayersForm:
    """The secret, and the neurons that are off on Localize."""

    side: SidebarValues
    located: Localization | None
    selection: Selection

    @property
    def asked(self) -> Asked:
        """The question by name, for the strip."""
        return *of_secret(self.side.prompt, self.side.value), ("neurons off", str(len(self.off)))

    @property
    def off(self) -> tuple[Any, ...]:
        """The MLP neurons that are off."""
        is_mlp = self.located is None or self.located.scores.site == "mlp"
        return self.selection.now.switched_off if is_mlp else ()


@dataclass(frozen=True, eq=False)
class Layers:
    """The lens and the salience of one secret; the salience is None until it is there."""

    lens: LensResult
    salience: PromptSalience | None = None


def layers_part(shelf: ModelCache, side: Sidebar, chosen: Chosen) -> None:
    """Builds the part."""
    gr.Markdown(en.LAYERS_INTRO)
    with study_controls("layers") as controls:
        numbers = facts("layers-facts", en.LAYERS_EMPTY)
        picture = plot("layers-lens", en.LAYERS_LENS_EMPTY, 360)
        bars = plot("layers-salience", en.LAYERS_SALIENCE_EMPTY, 340)
    study = Study(
        Form(LayersForm, side=Form(SidebarValues, **side.controls), located=chosen.located, selection=chosen.selection),
        steps,
        lambda form: commands.lens(form.side, bool(form.off)),
        to_object,
        parts=[numbers, picture, bars],
        drawn=drawn,
        nothing=(gr.update(value=[]), gr.update(value=""), gr.update(value="")),
        events=[control.change for control in (side.model, side.secret, chosen.selection)],
        known=lambda step: step.known,
        heavy=False,
    )
    wire_study("layers", shelf, side, controls, study)


def steps(form: LayersForm, lm: LanguageModel, stop: Stop) -> Iterator[StudyStep[Layers]]:
    """The lens, then the salience."""
    secret = form.side.target
    for step in lens(lm, secret, off=form.off, stop=stop):
        yield StudyStep(step.step, step.n_steps + 1, step.stage, Layers(step.result) if step.result else None)
    assert step.result, "the lens ends with its result"
    whole = Layers(step.result, prompt_salience(lm, secret, stop=stop))
    yield StudyStep(1, 1, en.DONE, whole, whole)


def drawn(known: Layers) -> tuple[Any, ...]:
    """Facts, the lens before, and after where neurons are off, and the salience."""
    heatmap = plots.lens_heatmap(known.lens.before, known.lens.after).to_json()
    bars = plots.salience_bars(known.salience).to_json() if known.salience else ""
    return gr.update(value=facts_of(known.lens)), gr.update(value=heatmap), gr.update(value=bars)


def facts_of(result: LensResult) -> list[Fact]:
    """Where the value becomes visible, and whether it is still underneath."""
    before, after = result.before, result.after
    last = after or before
    beside = en.control(visible_from(result.control)) if result.control else ""
    numbers = [fact("visible from", visible_from(before), "", en.NOTE_VISIBLE, beside)]
    if after:
        random = en.random(visible_from(result.random)) if result.random else ""
        numbers.append(fact("visible from, neurons off", visible_from(after), "", en.NOTE_VISIBLE, random))
    n_tokens = last.value_ranks.shape[1]
    numbers.append(fact("still underneath", f"{last.underneath(FIRST)} of {n_tokens}", "tokens", en.NOTE_UNDERNEATH))
    return [*numbers, wording.time_of(result)]


def visible_from(reading: LensReading) -> str:
    """The lowest layer from which on half of the value's tokens are the first choice, in words."""
    shares = reading.visible(FIRST)
    first = next((layer - 1 for layer, share in enumerate(shares) if share >= 0.5), None)
    return en.NEVER_VISIBLE if first is None else en.after_layer(first)
