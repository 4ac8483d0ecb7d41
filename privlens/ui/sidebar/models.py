"""The sidebar's "Another model": by name, folder or hub id; SmolLM2 fetched on a button; unloading. The last good model stays."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from privlens.errors import BadInput
from privlens.types import FetchStep
from privlens.ui.allowed import Allowed
from privlens.ui.components.form import Form, Update
from privlens.ui.components.parts import Clock, facts, progress
from privlens.ui.state.jobs import QUICK, SLOW, run_buttons, show_errors, wire
from privlens.ui.state.session import ModelCache, ModelName, VisitorModels
from privlens.ui.text import en, wording
from privlens.ui.traces.typed import UNKEPT
from privlens.zoo.catalogue import TWIN
from privlens.zoo.loading import fetch as fetch_model
from privlens.zoo.packaged import SMOLLM2, fetch, is_ready

DEVICES = ["auto", "cpu", "cuda", "mps", "spread"]
DTYPES = ["auto", "float32", "bfloat16", "float16", "int8", "int4"]


@dataclass(frozen=True)
class LoadForm:
    """Which model is to be loaded, where, in which type, and for whom."""

    name: str
    device: str | None
    dtype: str | None
    visitor: VisitorModels


@dataclass(frozen=True)
class FetchForm:
    """For whom SmolLM2 is fetched."""

    visitor: VisitorModels


def model_part(shelf: ModelCache) -> tuple[gr.State, gr.State, gr.HTML]:
    """Builds the part; the model's name, when the last one was loaded or let go, and its facts."""
    state = gr.State(shelf.first)
    loads = gr.State(0.0)  # when the last one was loaded; the name itself changes with a visitor's edits too
    visitor = gr.State(VisitorModels())
    about = facts("model-facts")
    about.value = wording.of_model(shelf.get(shelf.first))
    with gr.Accordion(en.OTHER_MODEL, open=False):
        known = gr.Dropdown(_names(shelf), value=None, label=en.KNOWN_MODELS, elem_id="known-models")
        named = en.MODEL_NAME_OR_PATH if shelf.allowed is None or shelf.allowed.folders else en.MODEL_NAME
        name = gr.Textbox(shelf.first.name, label=named, elem_id="model-name", max_length=1000, **UNKEPT)
        with gr.Row():
            device = gr.Dropdown(DEVICES, value=shelf.first.device, allow_custom_value=True, label=en.DEVICE, min_width=120)
            dtype = gr.Dropdown(DTYPES, value=shelf.first.dtype, label=en.DTYPE, elem_id="model-dtype", min_width=120)
        with gr.Row():
            button = gr.Button(en.LOAD, elem_id="load-model", min_width=80, size="md")
            cancel = gr.Button(en.CANCEL, interactive=False, elem_id="load-cancel", min_width=80, size="md")
            unload = gr.Button(en.UNLOAD, elem_id="unload-model", min_width=80, size="md")
        bar = progress("load-bar")
        _fetching(shelf, known, visitor)
    known.input(lambda chosen: chosen or gr.skip(), known, name, **QUICK)

    def load(form: LoadForm, stop: threading.Event) -> Iterator[Update]:
        wanted = ModelName(form.name.strip(), form.device or "auto", form.dtype or "auto")
        clock, from_hub = Clock(), False
        if shelf.allowed is not None:
            shelf.allowed.check(wanted.name)
            from_hub = shelf.allowed.is_hub_id(wanted.name)
        for step in fetch_model(wanted.name, stop.is_set, from_hub):
            yield {bar: gr.update(value=_so_far(step, clock))}
        yield {bar: gr.update(value={"share": 1.0, "text": en.READING_WEIGHTS})}
        lm = shelf.get(wanted, stop.is_set)
        if stop.is_set():
            return
        shelf.choose(form.visitor, wanted)
        yield {
            state: wanted,
            about: gr.update(value=wording.of_model(lm)),
            known: gr.update(choices=_names(shelf, form.visitor), value=None),
            loads: time.monotonic(),
        }

    def let_go(now: ModelName, visitor: VisitorModels) -> tuple[Any, ...]:
        if now.plain == shelf.first:
            raise BadInput(en.FIRST_MODEL_STAYS)
        shelf.leave(visitor, now)
        return shelf.first, gr.update(value=wording.of_model(shelf.get(shelf.first))), shelf.first.name, time.monotonic()

    unload.click(show_errors(let_go), [state, visitor], [state, about, name, loads], **SLOW)
    form = Form(LoadForm, name=name, device=device, dtype=dtype, visitor=visitor)
    wire(button, cancel, bar, load, form, [state, about, known, loads], heavy=False)
    return state, loads, about


def _fetching(shelf: ModelCache, known: gr.Dropdown, visitor: gr.State) -> None:
    """The button that fetches SmolLM2, with its progress and its Cancel; without them where it was fetched already."""
    here = is_ready(SMOLLM2)
    note = gr.Markdown(en.SMOLLM2_READY if here else SMOLLM2.about, elem_id="smollm2-note")
    with gr.Column(visible=not here) as offer:
        start, cancel = run_buttons(en.get_smollm2(SMOLLM2.n_bytes), "smollm2")
    bar = progress("smollm2-bar")

    def get(form: FetchForm, stop: threading.Event) -> Iterator[Update]:
        clock = Clock()
        for step in fetch(SMOLLM2, stop=stop.is_set):
            yield {bar: gr.update(value=_so_far(step, clock))}
        yield {note: en.SMOLLM2_READY, known: gr.update(choices=_names(shelf, form.visitor)), offer: gr.update(visible=False)}

    wire(start, cancel, bar, get, Form(FetchForm, visitor=visitor), [note, known, offer], heavy=False)


def _so_far(step: FetchStep, clock: Clock) -> dict[str, Any]:
    """The value of a progress part."""
    size = en.downloaded(step.done, step.n_bytes) if step.stage == "downloading" else ""
    return {"share": step.done / step.n_bytes, "text": f"{step.stage}{size}, {clock.spent():.0f} s"}


def _names(shelf: ModelCache, visitor: VisitorModels | None = None) -> list[str]:
    """What everybody may load by name, then what this visitor loaded; nothing of what others did."""
    ready = (shelf.allowed or Allowed((shelf.first.name,))).ready
    return list(dict.fromkeys([*ready, *(visitor.loaded if visitor else ())]))


def own_list(name: ModelName, folder: Path) -> Path | None:
    """The list of secrets that belongs to a model by its name, where there is one."""
    demo = folder / "secrets.csv"
    return {"demo": demo, TWIN: demo, "smollm2+planted": folder / "planted" / "secrets.csv"}.get(name.name)
