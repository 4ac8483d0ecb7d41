"""A study of the list or of the model: Start, what it shows, what it was made with, and what can be taken along.

Each study gives its form, its steps and how a result is drawn; all run and are redrawn alike.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import gradio as gr
from gradio.components import Component

from privlens.lm.model import LanguageModel, Stop
from privlens.types import to_json
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Given, Update
from privlens.ui.components.parts import Clock, progress
from privlens.ui.sidebar.panel import SidebarValues
from privlens.ui.state.freshness import Asked, Made, strip, told, watch
from privlens.ui.state.jobs import run_buttons, wire
from privlens.ui.state.session import ModelCache
from privlens.ui.text import en


class Question(Protocol):
    """What a study is asked with."""

    @property
    def side(self) -> SidebarValues:
        """The model and the list."""

    @property
    def asked(self) -> Asked:
        """The question by name, for the strip."""


class Step(Protocol):
    """Progress of a study; the result is set on the last step only."""

    @property
    def step(self) -> int: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def stage(self) -> str: ...
    @property
    def result(self) -> Any: ...


QuestionT = TypeVar("QuestionT", bound=Question)


@dataclass(frozen=True, eq=False)
class Studied:
    """A result, what it was made with, and the command that makes it."""

    result: Any
    made: Made
    command: Callable[[], str]


@dataclass(frozen=True)
class Controls:
    """The buttons, the bar, the strip and the result of a study; its parts stand between the strip and the exports."""

    start: gr.Button
    cancel: gr.Button
    bar: gr.HTML
    made: gr.HTML
    shown: gr.State


def study_controls(elem_id: str) -> Controls:
    """Builds them; the parts that show the result come next, then `wire_study`."""
    start, cancel = run_buttons(en.START, elem_id)
    return Controls(start, cancel, progress(f"{elem_id}-progress"), strip(f"{elem_id}-made"), gr.State(None))


def wire_study(
    elem_id: str,
    shelf: ModelCache,
    controls: Controls,
    form: Form[QuestionT],
    steps: Callable[[QuestionT, LanguageModel, Stop], Iterator[Step]],
    command: Callable[[QuestionT], str],
    parts: Sequence[Component],
    drawn: Callable[[Any], tuple[Any, ...]],
    nothing: tuple[Any, ...],
    events: Sequence[Any],
) -> None:
    """Start takes the steps and draws the result in the parts.

    Args:
        drawn: values of the parts for a result. nothing: their values without one. events: after which the question may differ.
    """
    shown = controls.shown
    exports(elem_id, shown, lambda studied: json.loads(to_json(studied.result)))

    def run(question: QuestionT, stop: threading.Event) -> Iterator[Update]:
        lm, clock = shelf.get(question.side.model), Clock()
        for step in steps(question, lm, stop.is_set):
            update: Update = {controls.bar: gr.update(value=clock.at(step.step, step.n_steps, step.stage))}
            if step.result is not None:
                made = Made(lm.fingerprint, question.asked, len(question.side.model.edits))
                update |= dict(zip(parts, drawn(step.result), strict=True))
                update[shown] = Studied(step.result, made, partial(command, question))
            yield update

    def tell(given: Given) -> dict[str, str]:
        question = form.read(given)
        return told(shelf, question.side.model, given[shown].made if given[shown] else None, question.asked)

    def redraw(studied: Studied | None) -> tuple[Any, ...]:
        return drawn(studied.result) if studied else nothing

    outputs = [*parts, shown]
    wire(controls.start, controls.cancel, controls.bar, run, form, outputs, redraw=(redraw, [shown], list(parts)))
    watch(([shown.change, *events], tell, {*form.inputs, shown}), [controls.made])
