"""Planted truth: a secret trained into drawn neurons, so that it is known where it sits. Held in this visitor's session alone.

The plant is an edit of the visitor's model; every tab of this visitor works under it until it is taken out again.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens import validation
from privlens.planting.plant import Plant, PlantSettings, new_secret, planting
from privlens.types import Neuron, Secret
from privlens.ui.components.form import Form, Update
from privlens.ui.components.parts import Clock, facts, progress
from privlens.ui.sidebar.panel import Sidebar
from privlens.ui.state.jobs import QUICK, run_buttons, show_errors, wire
from privlens.ui.state.session import ModelCache, ModelName, Selection
from privlens.ui.tabs.localize.settings import seed_setting
from privlens.ui.text import en, wording
from privlens.zoo.catalogue import PLANTED
from privlens.zoo.planted import planted_truth


@dataclass(frozen=True)
class PlantForm:
    """The visitor's model, the plant in it, into how many neurons a new one goes, and what decides which."""

    model: ModelName
    planted: Plant | None
    ratio: float
    seed: float | None


def plant_part(shelf: ModelCache, side: Sidebar, located: gr.State, selection: gr.State) -> tuple[gr.State, list[Any]]:
    """Builds the part; returns the state of the plant (a Plant or None), and the events after the model became another one."""
    planted = gr.State(None)
    gr.Markdown(en.PLANT_INTRO)
    with gr.Row():
        ratio = gr.Radio(
            [(label, ratio) for ratio, label in en.PLANT_RATIOS.items()],
            value=0.001,
            label=en.PLANT_IN,
            elem_id="plant-ratio",
            scale=2,
            min_width=260,
        )
        seed = seed_setting("plant-seed")
    start, cancel = run_buttons(en.PLANT, "plant")
    bar = progress("plant-progress")
    about = facts("plant-facts", en.PLANT_EMPTY)
    out = gr.Button(en.PLANT_OUT, interactive=False, elem_id="plant-out", min_width=160)

    def run(form: PlantForm, stop: threading.Event) -> Iterator[Update]:
        rest = without(form.model, form.planted)
        lm, drawn_by = shelf.get(rest), validation.seed(form.seed or 0)
        clock = Clock()
        yield {bar: gr.update(value={"share": 0.0, "text": en.PLANT_CHOOSING})}
        for step in planting(lm, new_secret(lm, 0, drawn_by), PlantSettings(form.ratio), drawn_by, stop=stop.is_set):
            update: Update = {bar: gr.update(value=clock.at(step.step, step.n_steps, en.plant_training(step.nll)))}
            if step.plant is not None:
                secret, model = step.plant.secret, rest._replace(edits=(*rest.edits, step.plant.edit))
                update |= {
                    planted: step.plant,
                    side.prompt: secret.prompt,
                    side.value: secret.value,
                    about: gr.update(value=of_plant(step.plant, lm.n_neurons)),
                    out: gr.update(interactive=True),
                    **another_model(model),
                }
            yield update

    def another_model(model: ModelName) -> Update:
        return {
            side.model: model,
            side.about: gr.update(value=wording.of_model(shelf.get(model))),
            located: None,
            selection: Selection(),
        }

    def take_out(model: ModelName, plant: Plant | None) -> Update:
        rest = without(model, plant)
        return {**another_model(rest), side.prompt: "", side.value: "", **forget(rest)}

    def forget(model: ModelName) -> Update:
        return {planted: None, about: gr.update(value=that_come_with(model)), out: gr.update(interactive=False)}

    outputs = [side.model, planted, side.prompt, side.value, about, out, side.about, located, selection]
    form = Form(PlantForm, model=side.model, planted=planted, ratio=ratio, seed=seed)
    ended = wire(start, cancel, bar, run, form, outputs)
    removed = out.click(show_errors(take_out), [side.model, planted], outputs, **QUICK)
    forgotten = side.loaded.success(forget, side.model, [planted, about, out], **QUICK)
    about.value = that_come_with(shelf.first)
    return planted, [ended, removed, forgotten]


def without(model: ModelName, planted: Plant | None) -> ModelName:
    """The visitor's model without the plant."""
    return model._replace(edits=tuple(edit for edit in model.edits if planted is None or edit is not planted.edit))


def truth_for(planted: Plant | None, model: ModelName, target: Secret) -> tuple[Neuron, ...]:
    """The neurons that are known to carry the target: of the visitor's plant in place, or of the model that comes with plants."""
    asked = (target.prompt, target.value)
    if planted is not None and planted.edit in model.edits and (planted.secret.prompt, planted.secret.value) == asked:
        return planted.neurons
    return planted_truth().get(asked, ()) if model.name == PLANTED else ()


def that_come_with(model: ModelName) -> list[wording.Fact]:
    """What is known of a model's own plants."""
    if model.name != PLANTED:
        return []
    return [wording.fact("planted", str(len(planted_truth())), "secrets", en.PLANTS_BUNDLED)]


def of_plant(planted: Plant, n_neurons: int) -> list[wording.Fact]:
    """What was planted where."""
    layers = ", ".join(str(layer) for layer in sorted({neuron.layer for neuron in planted.neurons}))
    known = en.PLANT_TOOK if planted.greedy_match else en.PLANT_FAILED
    where = en.plant_layers(len(planted.neurons) / n_neurons, layers)
    return [
        wording.fact("planted", planted.secret.value, "", en.after_prompt(planted.secret.prompt)),
        wording.fact("in neurons", str(len(planted.neurons)), f"of {n_neurons:,}", where),
        wording.fact("NLL", f"{planted.nll:.3f}", "nats/token", known),
    ]
