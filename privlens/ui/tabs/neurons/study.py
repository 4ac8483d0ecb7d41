"""A study of a secret, of the list or of the model: Start, what it shows, what it was made with, and what can be taken along.

Each study gives its form, its steps and how a result is drawn; all run and are redrawn alike.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import gradio as gr
from gradio.components import Component

from privlens.lm.model import LanguageModel, Stop
from privlens.neurons.reports import Json
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Given, Update
from privlens.ui.components.parts import Clock, progress
from privlens.ui.sidebar.panel import Sidebar, SidebarValues
from privlens.ui.state.freshness import Asked, Made, strip, told
from privlens.ui.state.jobs import Redraw, run_buttons, wire
from privlens.ui.state.session import ModelCache
from privlens.ui.text import en

Result = TypeVar("Result")


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


@dataclass(frozen=True, eq=False)
class StudyStep(Generic[Result]):
    """The progress of a study that is made of others; `known` is what is there, `result` the whole, on the last step only."""

    step: int
    n_steps: int
    stage: str
    known: Result | None = None
    result: Result | None = None


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


@dataclass(frozen=True)
class Study:
    """What tells one study from another.

    Attributes:
        form: what it is asked with, a form of a Question. steps: from the form's values, the model and what stops them.
        command: the command that makes it, from the form's values. report: the JSON that this command prints, of a result.
        parts: what shows a result. drawn: their values for a result; nothing: without one.
        events: after which the question may differ. known: what is known of the result at a step, to be drawn; None for nothing.
        heavy: whether runs wait in line.
    """

    form: Form[Any]
    steps: Callable[[Any, LanguageModel, Stop], Iterator[Step]]
    command: Callable[[Any], str]
    report: Callable[[Any], Json]
    parts: Sequence[Component]
    drawn: Callable[[Any], tuple[Any, ...]]
    nothing: tuple[Any, ...]
    events: Sequence[Any]
    known: Callable[[Any], Any] = lambda step: step.result
    heavy: bool = True


@contextmanager
def study_controls(elem_id: str, label: str = en.START) -> Iterator[Controls]:
    """Builds them. The parts that show the result are built inside, which dims them once they are outdated; then `wire_study`."""
    start, cancel = run_buttons(label, elem_id)
    bar = progress(f"{elem_id}-progress")
    with gr.Column(elem_classes="results"):
        yield Controls(start, cancel, bar, strip(f"{elem_id}-made"), gr.State(None))


def wire_study(elem_id: str, shelf: ModelCache, side: Sidebar, controls: Controls, study: Study) -> None:
    """Start takes the steps and draws the result in the parts; below them it can be taken along."""
    shown, parts = controls.shown, list(study.parts)
    exports(elem_id, shown, lambda studied: study.report(studied.result))

    def run(question: Question, stop: threading.Event) -> Iterator[Update]:
        lm, clock = shelf.get(question.side.model), Clock()
        for step in study.steps(question, lm, stop.is_set):
            update: Update = {controls.bar: gr.update(value=clock.at(step.step, step.n_steps, step.stage))}
            known = study.known(step)
            if known is not None:
                update |= dict(zip(parts, study.drawn(known), strict=True))
            if step.result is not None:
                made = Made(lm.fingerprint, question.asked, len(question.side.model.edits))
                update[shown] = Studied(step.result, made, partial(study.command, question))
            yield update

    def tell(given: Given) -> dict[str, str]:
        question = study.form.read(given)
        return told(shelf, question.side.model, given[shown].made if given[shown] else None, question.asked)

    def redraw(studied: Studied | None) -> tuple[Any, ...]:
        return study.drawn(studied.result) if studied else study.nothing

    outputs, drawing = [*parts, shown], Redraw(redraw, [shown], parts)
    wire(controls.start, controls.cancel, controls.bar, run, study.form, outputs, redraw=drawing, heavy=study.heavy)
    side.strips.watch(([shown.change, *study.events], tell, {*study.form.inputs, shown}), controls.made)
