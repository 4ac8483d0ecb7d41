"""Forms: values by name from what gradio gives by component, and every run of the page pressed once, on a tiny model."""

import ast
import asyncio
import gc
import inspect
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from privlens.resources import SECRETS
from privlens.secret_lists import read_secrets
from privlens.ui import build_cache, build_ui
from privlens.ui.components.form import Form
from privlens.ui.state.edits import EditList
from privlens.ui.text import en
from tests.helpers import TAUGHT

MOST = 8
"""Values that a listener takes by position: more of them cannot be told apart by who reads it."""


@dataclass(frozen=True)
class Inner:
    text: str
    number: int


@dataclass(frozen=True)
class Outer:
    inner: Inner
    mark: bool


def test_a_form_reads_its_own_values_of_a_listeners_and_forms_nest() -> None:
    text, number, mark, other = gr.State(), gr.State(), gr.State(), gr.State()
    inner = Form(Inner, text=text, number=number)
    outer = Form(Outer, inner=inner, mark=mark)
    given = {other: None, number: 3, mark: True, text: "x"}
    assert outer.inputs == {text, number, mark}
    assert outer.read(given) == Outer(Inner("x", 3), True)
    assert outer.reading(inner=inner.reading(number=other)).read(given) == Outer(Inner("x", None), True)  # type: ignore[arg-type]
    assert inner["text"] is text
    for controls in ({"text": text}, {"text": text, "number": number, "more": mark}):
        with pytest.raises(TypeError, match=r"Inner and its controls differ in \['(number|more)'\]"):
            Form(Inner, **controls)


class Pressed:
    """A page whose listeners are called in this process, as gradio would for one visitor."""

    def __init__(self, page: gr.Blocks) -> None:
        self.page, self.state = page, SessionState(page)
        self.parts = {part.elem_id: part for part in page.blocks.values() if getattr(part, "elem_id", None)}
        self.values: dict[int, Any] = {}
        self.answers: list[dict[str, Any]] = []
        """What the latest call told of each part, by elem_id, step by step."""

    def listeners_of(self, button: str) -> tuple[Any, Any]:
        """What follows a click on Start: the listener that begins the run, and the run."""
        target = (self.parts[button]._id, "click")
        began = next(fn for fn in self.page.fns.values() if target in fn.targets)
        return began, next(fn for fn in self.page.fns.values() if fn.trigger_after == began._id)

    def call(self, fn: Any) -> int:
        """Calls a listener to its end; returns in how many steps it answered."""
        inputs = [None if part.stateful else self.values.get(part._id, getattr(part, "value", None)) for part in fn.inputs]
        iterator, n_steps, finished, self.answers = None, 0, False, []
        while not finished:
            with ThreadPoolExecutor(1) as pool:  # the thread of a test has a loop already where a browser was open before
                step = self.page.process_api(fn, inputs, state=self.state, iterator=iterator)
                answer = pool.submit(asyncio.run, step).result()
            iterator, n_steps = answer["iterator"], n_steps + 1
            finished = not answer["is_generating"]
            told = zip(fn.outputs, answer["data"], strict=True)
            self.answers.append({part.elem_id: value for part, value in told if getattr(part, "elem_id", None)})
        return n_steps

    def press(self, button: str, **typed: Any) -> int:
        """Presses a Start with something typed, by elem_id."""
        self.values |= {self.parts[name.replace("_", "-")]._id: value for name, value in typed.items()}
        began, run = self.listeners_of(button)
        self.call(began)
        return self.call(run)

    def kept(self, kind: str) -> list[Any]:
        """The visitor's values of a type, by its name."""
        return [value for value in self.state.state_data.values() if type(value).__name__ == kind]


@pytest.fixture(scope="module")
def pressed(taught_folder: str) -> Iterator[Pressed]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradio.blocks.App.create_app", lambda *_, **__: None)  # it opens event loops and never closes them
        page = build_ui(build_cache(taught_folder, "cpu"))
    yield Pressed(page)
    gc.collect()  # as in tests/ui/conftest.py


def test_no_listener_takes_many_values_by_position(pressed: Pressed) -> None:
    many = {fn.api_name: len(fn.inputs) for fn in pressed.page.fns.values() if not fn.inputs_as_dict and len(fn.inputs) > MOST}
    assert many == {}


def test_progress_that_is_hidden_is_kept_for_no_part(pressed: Pressed) -> None:
    hidden = [fn for fn in pressed.page.fns.values() if fn.show_progress == "hidden"]
    assert hidden and {fn.api_name: fn.show_progress_on for fn in hidden if fn.show_progress_on != []} == {}


def test_no_two_parts_of_the_page_have_the_same_id(pressed: Pressed) -> None:
    ids = Counter(part.elem_id for part in pressed.page.blocks.values() if getattr(part, "elem_id", None))
    assert [name for name, count in ids.items() if count > 1] == []


def test_no_sentence_of_the_page_replaces_another() -> None:
    body = ast.parse(inspect.getsource(en)).body
    constants = [
        target.id for line in body if isinstance(line, ast.Assign) for target in line.targets if isinstance(target, ast.Name)
    ]
    names = Counter([*constants, *(line.name for line in body if isinstance(line, ast.FunctionDef))])
    assert [name for name, count in names.items() if count > 1] == []


SECRET = {"prompt": TAUGHT[0].prompt, "value": TAUGHT[0].value}


def test_every_run_of_the_page_goes_through(pressed: Pressed) -> None:
    assert pressed.press("check-start", **SECRET) > 3
    assert pressed.press("localize-start", method="gradient") >= 2
    [located] = pressed.kept("Localization")
    assert located.target.value == TAUGHT[0].value
    assert pressed.press("measure-start") > 2
    assert pressed.press("sweep-start") > 2
    assert pressed.press("compare-start", compare_methods=["gradient"]) > 2
    assert [[one.method for one in found.scores] for found in pressed.kept("Compared")] == [["gradient", "random"]]
    assert pressed.press("many-start", many_method="gradient", many_secrets=[0, 1]) > 1
    assert [len(found.targets) for found in pressed.kept("Many")] == [2]
    assert pressed.press("audit-start", audit_methods=["gradient"], audit_at_most=1) > 3
    [audited] = pressed.kept("Finished")
    assert [finding.row for finding in audited.audit.findings] == list(range(len(read_secrets(SECRETS))))
    assert pressed.press("erase-start", erase_steps=2, erase_every=1) > 3
    [erased] = pressed.kept("Erased")
    assert erased.last.step == 2 and erased.kept.targets[0].value == TAUGHT[0].value
    assert pressed.press("erase-compare-start", erase_methods=["emso"]) > 3
    assert [found.rows[-1]["method"] for found in pressed.kept("Compared") if hasattr(found, "rows")] == ["emso"]
    assert pressed.press("plant-start", plant_ratio=0.01) > 3
    [plant] = pressed.kept("Plant")
    assert plant.secret.value != TAUGHT[0].value


def test_attacks_on_an_edit_go_through(pressed: Pressed) -> None:
    """An edit on the list is attacked, and the neurons are looked at last."""
    pressed.press("erase-start", **SECRET, erase_steps=2, erase_every=1)
    [listed] = [part for part in pressed.page.blocks.values() if isinstance(getattr(part, "value", None), EditList)]
    pressed.state.state_data[listed._id] = EditList().added(pressed.kept("Erased")[-1].kept)
    pressed.parts["edit-which"].choices = [("the edit", 0)]  # which a change of the list tells the browser
    unlisted = {"sampling", "near copies", "logit lens", "quantization"}  # those that need no other secrets
    assert pressed.press("attack-start", edit_which=0) > len(unlisted)
    [attacked] = pressed.kept("Attacked")
    assert {attack.name for attack in attacked.found} >= unlisted
    assert attacked.shifts[0].random is not None and not attacked.shift_note


def test_a_browser_that_is_behind_is_brought_to_what_the_session_holds(pressed: Pressed) -> None:
    """It sends the values of before: k = 500 and layer 99 are of a larger model, and "mask" was compared before."""
    pressed.press("localize-start", **SECRET, method="gradient", layer=99)
    pressed.press("compare-start", compare_methods=["gradient"], compare_k=500, compare_which="mask")
    pressed.press("many-start", many_method="gradient", many_secrets=[0, 1], many_k=500)
    held: dict[str, tuple[str, Any]] = {"layer": ("square", 0), "compare-k": ("compare-heat-0", 1), "many-k": ("many-heatmap", 1)}
    for control, (picture, value) in held.items():
        part = pressed.parts[control]
        redraws = [fn for fn in pressed.page.fns.values() if part in fn.inputs and part in fn.outputs]
        assert redraws, control
        for fn in redraws:
            pressed.call(fn)
            [answer] = pressed.answers
            assert answer[control]["value"] == value and answer[picture]["value"]
            assert answer.get("compare-which", {"value": "gradient"})["value"] == "gradient"


def test_strips_are_told_of_another_secret_whatever_the_browser_still_shows(pressed: Pressed) -> None:
    """A choice that is no longer offered, in any tab, is no reason to leave a result undimmed."""
    pressed.press("localize-start", **SECRET, method="gradient")
    made = [part for name, part in pressed.parts.items() if name.endswith("-made")]
    [telling] = [fn for fn in pressed.page.fns.values() if set(made) <= set(fn.outputs)]
    pressed.values[pressed.parts["edit-which"]._id] = 7
    for value, kind in ((SECRET["value"], "current"), ("another", "stale")):
        pressed.values[pressed.parts["value"]._id] = value
        pressed.call(telling)
        assert pressed.answers[-1]["localize-made"]["value"]["kind"] == kind
