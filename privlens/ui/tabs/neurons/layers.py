"""What each layer would say if it were the last, and which words of the prompt call the value."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from privlens import plots
from privlens.localization.prompt_salience import prompt_salience
from privlens.neurons.lens import lens
from privlens.neurons.lens_records import LensReading, LensResult
from privlens.outcomes import PromptSalience
from privlens.types import to_json
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Given, Update
from privlens.ui.components.parts import Clock, facts, progress
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues
from privlens.ui.state.freshness import Asked, Made, of_secret, strip, told, watch
from privlens.ui.state.jobs import run_buttons, wire
from privlens.ui.state.session import Localization, ModelCache, Selection
from privlens.ui.tabs.localize.selection import Chosen
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
    """The lens and the salience of one secret, what they were made with, and the command that makes the former."""

    lens: LensResult
    salience: PromptSalience
    made: Made
    command: Callable[[], str]


def layers_part(shelf: ModelCache, side: Sidebar, chosen: Chosen) -> None:
    """Builds the part."""
    gr.Markdown(en.LAYERS_INTRO)
    start, cancel = run_buttons(en.START, "layers")
    bar = progress("layers-progress")
    shown = gr.State(None)
    with gr.Column(elem_classes="results"):
        made_strip = strip("layers-made")
        numbers = facts("layers-facts", en.LAYERS_EMPTY)
        picture = plot("layers-lens", en.LAYERS_LENS_EMPTY, 360)
        bars = plot("layers-salience", en.LAYERS_SALIENCE_EMPTY, 340)
    exports("layers", shown, lambda made: {name: json.loads(to_json(getattr(made, name))) for name in ("lens", "salience")})

    def run(form: LayersForm, stop: threading.Event) -> Iterator[Update]:
        lm, clock, secret = shelf.get(form.side.model), Clock(), form.side.target
        for step in lens(lm, secret, off=form.off, stop=stop.is_set):
            update: Update = {bar: gr.update(value=clock.at(step.step, step.n_steps + 1, step.stage))}
            if step.result:
                update |= {numbers: gr.update(value=facts_of(step.result)), picture: gr.update(value=drawn(step.result))}
            yield update
        assert step.result, "the lens ends with its result"
        salience = prompt_salience(lm, secret, stop=stop.is_set)
        made = Made(lm.fingerprint, form.asked, len(form.side.model.edits))
        command = partial(commands.lens, form.side, bool(form.off))
        yield {
            bar: gr.update(value=clock.at(1, 1, en.DONE)),
            bars: gr.update(value=plots.salience_bars(salience).to_json()),
            shown: Layers(step.result, salience, made, command),
        }

    def tell(given: Given) -> dict[str, str]:
        asked = form.read(given)
        return told(shelf, asked.side.model, given[shown].made if given[shown] else None, asked.asked)

    def redraw(made: Layers | None) -> tuple[Any, ...]:
        if made is None:
            return gr.update(value=[]), gr.update(value=""), gr.update(value="")
        pictures = drawn(made.lens), plots.salience_bars(made.salience).to_json()
        return gr.update(value=facts_of(made.lens)), *(gr.update(value=figure) for figure in pictures)

    form = Form(LayersForm, side=Form(SidebarValues, **side.controls), located=chosen.located, selection=chosen.selection)
    outputs = [numbers, picture, bars]
    wire(start, cancel, bar, run, form, [*outputs, shown], redraw=(redraw, [shown], outputs), heavy=False)
    events = [control.change for control in (shown, side.model, side.secret, chosen.selection)]
    watch((events, tell, {*form.inputs, shown}), [made_strip])


def drawn(result: LensResult) -> str:
    """The picture of before, and of after where neurons are off."""
    return str(plots.lens_heatmap(result.before, result.after).to_json())


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
