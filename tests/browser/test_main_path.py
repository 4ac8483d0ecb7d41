"""The whole way through the page in Chromium: choose, check, localize, click, undo, cancel; and text that stays text."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from privlens.localization import METHODS, Task
from privlens.localization.hard_concrete import hard_concrete
from privlens.memorization.check import exposure_of
from privlens.types import LocalizationStep
from privlens.ui.tabs.localize.selection import view
from tests.browser.steps import (
    FACTS,
    STOPPED,
    Visit,
    another_model,
    answer,
    cell_of,
    choose_example,
    localize,
    neurons_off,
    press_check,
    show_tokens,
    told,
    wait_for_off,
)

HOSTILE = "<img src=x onerror=alert(1)>${1+1}{{x}}"


def nll_after(page: Page) -> str:
    return str(page.locator("#quick-facts .fact", has_text="NLL").locator(".fact-value").text_content())


def test_check_tells_whether_the_secret_is_memorized(visit: Visit) -> None:
    page = visit.page
    value = choose_example(page)
    press_check(page)
    page.wait_for_function(FACTS.format("check-facts"))
    page.wait_for_function(f"document.querySelector('#true-value input, #true-value textarea').value === {json.dumps(value)}")
    assert "emorized" in answer(page)
    assert page.locator("#check-facts .fact").count() == 9
    assert page.locator("#check-facts .fact:visible").count() == 3, "the rest is folded"
    page.locator("#check-facts summary").click()
    assert page.locator("#check-facts .fact:visible").count() == 9
    chips = page.locator("#check-tokens .token").all()
    assert "".join(str(chip.text_content()) for chip in chips).strip() == value
    assert "rank 1" in str(chips[0].get_attribute("title"))
    show_tokens(page)
    page.wait_for_selector("#own-tokens")
    assert not visit.errors


def test_a_click_on_a_cell_switches_that_neuron_and_can_be_undone(visit: Visit) -> None:
    page = visit.page
    choose_example(page)
    localize(page, "contrastive-gradient")
    before, nll = neurons_off(page), nll_after(page)
    meta = page.evaluate("document.querySelector('#square .plot').layout.meta")
    marks = "document.querySelector('#square .plot').data.slice(1)"
    taken = page.evaluate(marks + ".flatMap(trace => trace.x.map((x, i) => `${x},${trace.y[i]}`))")
    x = next(x for x in range(meta["columns"]) if f"{x},0" not in taken)
    page.mouse.click(*cell_of(page, "square", x, 0))
    wait_for_off(page, before + 1)
    listed = page.locator("#neuron-toggles").inner_text()
    assert f"layer 0, neuron {x}," in listed
    page.click("#undo")
    wait_for_off(page, before)
    page.click("#redo")
    wait_for_off(page, before + 1)

    page.locator("#neuron-toggles input").first.focus()
    page.keyboard.press("Space")
    wait_for_off(page, before)
    for off in (before + 1, before):
        page.locator("#neuron-toggles input").first.focus()
        page.keyboard.press("Enter")
        wait_for_off(page, off)
        page.wait_for_function(f"document.querySelectorAll('#neuron-toggles input:checked').length === {off}")

    slider = page.locator("#top-k input[type=range]")
    slider.focus()
    page.keyboard.press("End")
    wait_for_off(page, int(slider.get_attribute("max") or 0))
    page.wait_for_function(f"!document.querySelector('#quick-facts').textContent.includes('{nll}nats')")
    text = "document.querySelector('#quick-{} .marked')?.innerText"
    page.wait_for_function(f"{text.format('before')} !== {text.format('after')}")
    page.click("#reset")
    wait_for_off(page, before)
    assert not visit.errors


def test_boxes_that_are_clicked_in_haste_all_count(visit: Visit) -> None:
    page = visit.page
    choose_example(page)
    localize(page, "contrastive-gradient")
    before = neurons_off(page)
    for box in page.locator("#neuron-toggles input").all()[:6]:
        box.click()
    wait_for_off(page, before - 6)
    assert page.locator("#neuron-toggles input:checked").count() == before - 6
    assert not visit.errors


def test_a_layer_clicked_before_the_answer_to_the_one_before_counts(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the first click comes after the second: for a moment the second box looks as if it had not been clicked."""
    page = visit.page
    choose_example(page)
    localize(page, "contrastive-gradient")
    boxes, ticked = page.locator("#layer-toggles input"), "document.querySelectorAll('#layer-toggles input:checked').length"
    page.locator("#top-k input[type=range]").press("End")
    page.wait_for_function("document.querySelectorAll('#layer-toggles input').length > 2")
    n = boxes.count()
    answers = threading.Semaphore(0)

    def waits(*given: Any) -> Any:
        assert answers.acquire(timeout=60)
        return view(*given)

    with monkeypatch.context() as patch:
        patch.setattr("privlens.ui.tabs.localize.selection.view", waits)
        boxes.nth(0).click()
        boxes.nth(1).click()
        page.wait_for_function(f"{ticked} === {n - 2}")
        answers.release()
        page.wait_for_function(f"{ticked} === {n - 1}")
        for at in range(2, n):
            boxes.nth(at).click()
        answers.release(100)
        wait_for_off(page, 0)
        page.wait_for_function(f"{ticked} === 0")
    assert not visit.errors


def test_enter_in_the_private_value_checks_it(visit: Visit) -> None:
    page = visit.page
    value = choose_example(page)
    page.locator("#value").locator("input, textarea").press("Enter")
    page.wait_for_selector("#true-value", state="attached")  # it is on a tab that Enter opens
    page.wait_for_function(f"document.querySelector('#true-value input, #true-value textarea').value === {value!r}")
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("!document.querySelector('#check-start').disabled")
    shown = "document.querySelector('.sidebar').classList.contains('open')"
    if not page.evaluate(shown):
        page.click(".sidebar .toggle-button")
        page.wait_for_function(shown)
    page.locator("#value").locator("input, textarea").fill(value + "0")
    page.locator("#value").locator("input, textarea").press("Enter")
    page.wait_for_function(f"!{shown}")
    page.wait_for_function(f"document.querySelector('#true-value input, #true-value textarea').value === {value + '0'!r}")
    assert not visit.errors


def test_that_exposure_is_being_measured_is_said_until_it_is_there(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def waits(*given: Any, **named: Any) -> Any:
        assert go_on.wait(60)
        return exposure_of(*given, **named)

    monkeypatch.setattr("privlens.memorization.states.exposure_of", waits)
    page = visit.page
    choose_example(page)
    localize(page, "contrastive-gradient")
    page.wait_for_selector("#quick-verdict em:has-text('measuring exposure')")
    exposure = page.locator("#quick-facts .fact", has=page.get_by_text("exposure", exact=True)).locator(".fact-value")
    assert exposure.text_content() == "-"
    go_on.set()
    page.wait_for_selector("#quick-verdict em", state="hidden")
    assert exposure.text_content() != "-"
    assert not visit.errors


def test_a_click_on_the_heatmap_of_all_layers_hits_the_neuron_under_it(visit: Visit) -> None:
    page = visit.page
    choose_example(page)
    localize(page, "random")
    before = neurons_off(page)
    meta = page.evaluate("document.querySelector('#heatmap .plot').layout.meta")
    layer, x = meta["layers"] - 1, meta["columns"] // 2
    page.mouse.click(*cell_of(page, "heatmap", x, layer * meta["rows"]))
    page.wait_for_function(f"document.querySelector('#choice-facts .fact-value').textContent !== '{before:,}'")
    assert f"layer {layer}, neuron {x}," in page.locator("#neuron-toggles").inner_text()


def test_gates_train_before_ones_eyes_and_cancel_keeps_what_was_there(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def endless(task: Task) -> Iterator[LocalizationStep]:
        """The real training over and over, so that it cannot be over before Cancel is pressed."""
        try:
            while True:
                yield from (step for step in hard_concrete(task) if step.result is None)
        finally:
            ended.set()

    monkeypatch.setitem(METHODS, "hard-concrete", endless)
    page = visit.page
    choose_example(page)
    localize(page, "contrastive-gradient")
    kept = page.locator("#neuron-toggles").inner_text()
    page.locator("#method input").click()
    page.get_by_role("option", name="hard-concrete", exact=True).click()
    page.click("#localize-start")
    page.wait_for_function("document.querySelector('#localize-progress .run span').textContent.includes('left')")
    picture = "JSON.stringify(document.querySelector('#heatmap .plot').data[0].z)"
    first = page.evaluate(picture)
    page.wait_for_function(f"{picture} !== {json.dumps(first)}")
    page.click("#localize-cancel")
    page.wait_for_function(STOPPED)
    assert ended.wait(60)
    page.wait_for_function("document.querySelector('#heatmap .plot').data[0].customdata !== undefined")
    assert page.locator("#neuron-toggles").inner_text() == kept
    assert not visit.errors


def test_everything_is_measured_beside_random_neurons(visit: Visit) -> None:
    page = visit.page
    choose_example(page)
    localize(page, "contrastive-gradient")
    page.click("#to-deactivate")
    page.wait_for_function(FACTS.format("effect-facts"))
    page.wait_for_selector("#effect-bars .main-svg")
    page.click("#measure-start")
    page.wait_for_function(FACTS.format("measure-facts"))
    assert "random" in page.locator("#measure-facts").inner_text()
    page.wait_for_selector("#others table")


def test_a_secret_is_shown_as_it_was_typed(visit: Visit) -> None:
    page = visit.page
    images = page.locator("img").count()
    page.locator("#prompt textarea").fill(f"The note of Mira Holt {HOSTILE} reads")
    page.locator("#value").locator("input, textarea").fill(HOSTILE)
    press_check(page)
    page.wait_for_function(FACTS.format("check-facts"))
    assert page.locator("#true-value").locator("input, textarea").input_value() == HOSTILE
    show_tokens(page)
    localize(page, "random")
    page.click("#to-deactivate")
    page.wait_for_selector("#effect-bars .main-svg")
    labels = page.locator("#effect-bars .xaxislayer-above text").all_text_contents()
    assert "".join(labels).replace("\u00b7", " ").strip() == HOSTILE
    assert page.locator("img").count() == images
    assert visit.dialogs == []
    assert visit.errors == []


def test_an_error_is_told_in_words_and_nothing_is_lost(visit: Visit) -> None:
    page = visit.page
    press_check(page)
    told(page, "The prompt is empty")
    another_model(page, "/no/such/<b>folder</b>")
    page.click("#load-model")
    told(page, "No model is loaded from there")
    assert page.locator("#model-facts .fact").count() == 3
    choose_example(page)
    press_check(page)
    page.wait_for_function(FACTS.format("check-facts"))


def test_no_request_leaves_the_machine(visit: Visit, outward: list[str]) -> None:
    page = visit.page
    choose_example(page)
    press_check(page)
    page.wait_for_function(FACTS.format("check-facts"))
    localize(page, "random")
    assert visit.hosts <= {"127.0.0.1", "localhost", ""}
    assert outward == []
