"""What stands on the page is what the visitor has: after Cancel and errors, another choice, under edits, on leaving."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from privlens.deactivation import effect_steps, sweep
from privlens.errors import BadInput
from privlens.lm.edit_files import save_edit
from privlens.localization import METHODS, Task
from privlens.localization.hard_concrete import hard_concrete
from privlens.provenance import provenance
from privlens.types import Change, Edit, LocalizationStep
from privlens.zoo.loading import load
from tests.browser.steps import (
    FACTS,
    IDLE,
    IN_PLACE,
    STOPPED,
    TEXT,
    Visit,
    bring,
    choose_example,
    localize,
    neurons_off,
    open_tab,
    press_check,
    text_of,
    unfold,
)
from tests.helpers import TAUGHT

DRAWN = "JSON.stringify((document.querySelector('#{} .plot').data || []).map(trace => [trace.x, trace.y, trace.z]))"
STALE = "document.querySelector('#{} .strip').dataset.kind === 'stale'"
CURRENT = "document.querySelector('#{} .strip').dataset.kind === 'current'"
HATCHED = "getComputedStyle(document.querySelector('#{}')).backgroundImage"
OPACITY = "getComputedStyle(document.querySelector('#{}')).opacity"


def localization(page: Page) -> dict[str, str]:
    """All that the tab Localize shows of a localization."""
    shown = {plot: page.evaluate(DRAWN.format(plot)) for plot in ("heatmap", "square", "curves")}
    texts = ("localize-facts", "localize-made", "choice-facts", "neuron-toggles", "quick-verdict")
    return {**shown, **{part: text_of(page, part) for part in texts}}


def settle(page: Page, wanted: str) -> None:
    """Waits until a condition holds, and for what is drawn along with it: pictures are drawn one after the other, with pauses."""
    page.wait_for_function(wanted)
    page.wait_for_timeout(300)
    page.wait_for_function("!document.querySelector('.plot[aria-busy=true]')")


def another_secret(page: Page, secret: int = 1) -> None:
    value = page.locator("#value").locator("input, textarea").input_value()
    page.locator("#examples label").nth(secret).click()
    page.wait_for_function(f"document.querySelector('#value input, #value textarea').value !== {value!r}")


@pytest.mark.parametrize("ending", ["cancel", "error"])
def test_a_run_that_did_not_end_well_gives_back_all_that_stood_there(
    visit: Visit, taught_folder: str, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    go_on = threading.Event()

    def unfinished(task: Task) -> Iterator[LocalizationStep]:
        while True:
            for step in hard_concrete(task):
                time.sleep(0.3)  # or pictures come faster than a busy machine draws them, and nothing can be pressed
                if step.result is None:
                    yield step
                if go_on.is_set() and ending == "error":
                    raise BadInput("No more of this.")
                task.go_on()

    page = visit.page
    bring(page, taught_folder)
    open_tab(page, "Localize")
    unfold(page, "How it trained")
    localize(page, "activations")
    page.locator("#neuron-toggles input").first.click()
    settle(page, "document.querySelectorAll('#neuron-toggles input:not(:checked)').length === 1")
    page.wait_for_selector("#quick-verdict em", state="hidden")
    monkeypatch.setitem(METHODS, "hard-concrete", unfinished)
    page.locator("#method input").click()
    page.get_by_role("option", name="hard-concrete", exact=True).click()
    settle(page, STALE.format("localize-made"))
    stood = localization(page)
    assert "method activations" in stood["localize-made"], "the method of the map is named where it stands"
    page.click("#localize-start")
    page.wait_for_function(f"{DRAWN.format('heatmap')} !== {stood['heatmap']!r}")
    page.wait_for_function("document.querySelector('#curves .main-svg')")
    if ending == "cancel":
        page.click("#localize-cancel")
    go_on.set()
    page.wait_for_function(STOPPED)
    settle(page, f"{DRAWN.format('heatmap')} === {stood['heatmap']!r}")
    page.wait_for_function("document.querySelector('#quick-verdict').textContent.trim()")
    assert localization(page) == stood
    page.locator("#method input").click()
    page.get_by_role("option", name="activations", exact=True).click()
    page.wait_for_function(CURRENT.format("localize-made"))
    assert not visit.errors


def test_a_cancelled_sweep_gives_back_the_curve_before(visit: Visit, taught_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(lm: Any, target: Any, scores: Any, ks: Any, around: Any) -> Any:
        while True:
            for step in sweep(lm, target, scores, ks[:2], around):
                time.sleep(0.3)
                yield replace(step, n_steps=9)

    page = visit.page
    bring(page, taught_folder)
    localize(page, "activations")
    page.click("#to-deactivate")
    page.click("#sweep-start")
    page.wait_for_selector("#sweep .main-svg")
    settle(page, IDLE.format("sweep"))
    stood = page.evaluate(DRAWN.format("sweep"))
    monkeypatch.setattr("privlens.ui.tabs.deactivate.tab.sweep", endless)
    page.click("#sweep-start")
    page.wait_for_function(f"{DRAWN.format('sweep')} !== {stood!r}")
    page.click("#sweep-cancel")
    page.wait_for_function(f"{DRAWN.format('sweep')} === {stood!r}")
    assert not visit.errors


def test_results_of_something_else_say_so_and_are_dimmed(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    bring(page, taught_folder)
    page.locator("#category input").click()
    page.get_by_role("option", name="all categories").click()
    page.wait_for_function("document.querySelectorAll('#examples label').length > 2")
    localize(page, "activations")
    page.wait_for_function(CURRENT.format("localize-made"))
    assert page.evaluate(OPACITY.format("heatmap .plot")) == "1"
    another_secret(page)
    page.wait_for_function(STALE.format("localize-made"))
    assert float(page.evaluate(OPACITY.format("heatmap .plot"))) < 0.6
    said = page.inner_text("#localize-made")
    assert TAUGHT[0].value in said.split("Now:")[0]
    assert TAUGHT[1].value in said.split("Now:")[1]
    open_tab(page, "Switch off")
    page.wait_for_function(STALE.format("deactivate-made"))
    another_secret(page, 0)
    page.wait_for_function(CURRENT.format("deactivate-made"))
    open_tab(page, "Localize")
    unfold(page, "Settings: what to protect")
    page.locator("#seed input").fill("1")
    page.keyboard.press("Tab")
    page.wait_for_function(STALE.format("localize-made"))
    assert "Now: seed 1." in page.inner_text("#localize-made")

    open_tab(page, "Many secrets")
    page.locator("#many-method input").click()
    page.get_by_role("option", name="gradient", exact=True).click()
    page.click("#many-start")
    page.wait_for_function(FACTS.format("many-facts"))
    page.wait_for_function(CURRENT.format("many-made"))
    assert "gradient" not in page.evaluate(HATCHED.format("many-facts .fact"))
    page.locator("#many-secrets input:checked").first.uncheck()
    page.wait_for_function(STALE.format("many-made"))
    assert "repeating-linear-gradient" in page.evaluate(HATCHED.format("many-facts .fact"))
    assert page.evaluate(OPACITY.format("many-facts .facts")) == "1", "words keep their contrast"
    assert not visit.errors


def harmless_edit(folder: str, path: Path) -> None:
    """An edit that changes one weight by a hair, as a file."""
    lm = load(folder)
    name, weight = next(iter(lm.model.named_parameters()))
    old = weight.detach().flatten()[:1].cpu().numpy().copy()
    edit = Edit({name: Change(np.array([0]), old, old + 1e-3)}, provenance(lm, 0, {"method": "by hand"}, 0.0))
    save_edit(edit, path)


def test_an_edit_in_place_is_said_above_every_tab_and_results_name_their_weights(
    visit: Visit, taught_folder: str, tmp_path: Path
) -> None:
    page, path = visit.page, tmp_path / "hair.safetensors"
    harmless_edit(taught_folder, path)
    bring(page, taught_folder)
    localize(page, "activations")
    page.wait_for_function(f"{TEXT.format('localize-made')}.includes('without edits')")
    assert "no edits" in page.inner_text("#header")
    assert not page.locator("#edits-off").is_visible()
    open_tab(page, "Erase")
    page.set_input_files("input[type=file][accept*=safetensors]", path)
    page.wait_for_function(IN_PLACE)
    for tab in ("Check", "Localize", "Switch off", "Erase", "Compare methods", "Many secrets"):
        open_tab(page, tab)
        page.wait_for_function(f"{TEXT.format('header')}.includes('1 edit active (hair')")
        assert page.locator("#edits-off").is_visible()
    open_tab(page, "Localize")
    page.wait_for_function(STALE.format("localize-made"))
    stood = page.evaluate(DRAWN.format("heatmap"))
    assert stood != "[]", "the map stands, dimmed, and says that it is of other weights"
    localize(page, "activations")
    page.wait_for_function(f"{TEXT.format('localize-made')}.includes('with 1 edit in place')")
    page.click("#edits-off")
    page.wait_for_function(f"!{IN_PLACE}")
    page.wait_for_function(STALE.format("localize-made"))
    assert "with 1 edit that is not in place" in page.inner_text("#localize-made")
    open_tab(page, "Erase")
    page.click("#edits-undo")
    page.wait_for_function(IN_PLACE)
    open_tab(page, "Localize")
    page.wait_for_function(CURRENT.format("localize-made"))
    assert not visit.errors


def leaves(visit: Visit) -> bool:
    """Whether the browser asks before it leaves the page; the visitor says no."""
    asked, page = len(visit.dialogs), visit.page
    page.close(run_before_unload=True)
    page.wait_for_timeout(700)
    return len(visit.dialogs) > asked


def test_the_browser_asks_before_a_localization_is_lost_and_only_then(visit: Visit, other: Visit) -> None:
    choose_example(visit.page)
    localize(visit.page, "random")
    visit.page.wait_for_timeout(500)
    assert leaves(visit)
    assert neurons_off(visit.page), "they stayed"
    choose_example(other.page)
    press_check(other.page)
    other.page.wait_for_function(FACTS.format("check-facts"))
    other.page.reload()
    other.page.wait_for_selector("#examples label")
    assert other.dialogs == []


def test_a_list_of_choices_closes_with_tab_and_the_focus_stays_with_a_pressed_button(visit: Visit) -> None:
    page, lists = visit.page, "document.querySelectorAll('[role=listbox]').length"
    open_tab(page, "Localize")
    page.locator("#method input").focus()
    page.wait_for_function(f"{lists} === 1")
    page.keyboard.press("Tab")
    page.wait_for_function(f"{lists} === 0")
    page.keyboard.press("Shift+Tab")
    page.wait_for_function(f"{lists} === 1")
    page.set_viewport_size({"width": 1000, "height": 800})
    page.wait_for_function(f"{lists} === 0")
    assert page.locator("#method input").input_value() == "hard-concrete"

    choose_example(page)
    page.locator("#localize-start").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'localize-cancel'")
    page.keyboard.press("Enter")
    page.wait_for_function(STOPPED)
    page.wait_for_function("document.activeElement.id === 'localize-start'")
    assert not visit.errors


def test_another_persons_data_in_place_of_the_secret_is_said(
    visit: Visit, taught_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = f" {TAUGHT[1].value[:-1]}9"

    def swapped(*given: Any) -> Iterator[Any]:
        for effect in effect_steps(*given):
            yield replace(effect, after=replace(effect.after, greedy_match=False, text=theirs))

    monkeypatch.setattr("privlens.ui.tabs.deactivate.effect.effect_steps", swapped)
    page = visit.page
    bring(page, taught_folder)
    localize(page, "activations")
    page.wait_for_function("document.querySelector('#quick-verdict b').textContent !== ''")
    said = page.inner_text("#quick-verdict b")
    assert said.startswith("Another person's data")
    assert f"row 1 of the list (rows count from 0), {TAUGHT[1].value}" in said
    assert not visit.errors
