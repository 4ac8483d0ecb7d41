"""Compare methods and Many secrets in Chromium: from Start to the neurons taken over, cancelled, and with a plant."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from privlens.localization import METHODS, Task
from privlens.localization.gradients import gradient
from privlens.types import LocalizationStep
from tests.browser.steps import FACTS, Visit, bring, finished, open_tab, unfold, vote
from tests.helpers import TAUGHT

HOSTILE = "<img src=x onerror=alert(1)>${1+1}{{x}}"
PICTURES = "document.querySelectorAll('.small-plots .main-svg').length >= {}"
CURVES = "document.querySelector('#compare-curves .plot')?.data?.map(trace => trace.x.length)"
MARKED = "document.querySelector('#compare-heat-0 .plot').data[1].x.length"


def choose_methods(page: Page, *names: str) -> None:
    """Ticks these methods and no other."""
    open_tab(page, "Compare methods")
    for box in page.locator("#compare-methods input").all():
        box.uncheck()
    for name in names:
        page.locator(f"#compare-methods input[name='{name}']").check()


def compare(page: Page) -> None:
    """Presses Start and waits for all curves and the end."""
    page.click("#compare-start")
    page.wait_for_function(f"{CURVES}?.length > 0")
    finished(page, "compare")


def table(page: Page) -> dict[str, list[str]]:
    """The rows of the table, by method."""
    rows = page.locator("#compare-table .virtual-row").all()
    cells = [[text.strip() for text in row.get_by_role("gridcell").all_inner_texts()] for row in rows]
    return {row[0]: row[1:] for row in cells}


def slide(page: Page, slider: str, key: str, marked: str) -> int:
    """Moves a slider by a key and waits until the marks follow; where it stands then."""
    handle = page.locator(f"#{slider} input[type=range]")
    handle.focus()
    page.keyboard.press(key)
    k = int(handle.input_value())
    page.wait_for_function(f"{marked} === {k}")
    return k


def test_from_start_to_the_neurons_taken_over(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    bring(page, taught_folder)
    choose_methods(page, "gradient", "activations")
    compare(page)
    page.wait_for_function(PICTURES.format(3))
    assert page.evaluate(CURVES) == [2] * 12, "three methods, four panels, each k that is measured"
    assert list(table(page)) == ["gradient", "activations", "random"]
    page.wait_for_function(f"{MARKED} === 1")
    at_one = table(page)["gradient"]
    k = slide(page, "compare-k", "End", MARKED)
    page.wait_for_function(f"document.querySelector('#compare-facts').textContent.includes('k{k} of 128')")
    page.wait_for_function("document.querySelector('#compare-table [data-row=\"0\"][data-col=\"7\"]')?.innerText.trim() === '3'")
    assert (at_one[6], table(page)["gradient"][6]) == ("1", "3"), "the nearest k that was measured"

    page.click("#compare-use")
    page.wait_for_function(FACTS.format("effect-facts"))
    assert page.get_by_role("tab", name="Switch off").get_attribute("aria-selected") == "true"
    open_tab(page, "Localize")
    page.wait_for_function(f"document.querySelectorAll('#neuron-toggles input:checked').length === {k}")
    page.click("#undo")
    page.wait_for_function("document.querySelectorAll('#neuron-toggles input').length === 0")
    assert not visit.errors


def test_cancel_keeps_the_comparison_that_was_there(visit: Visit, taught_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def endless(task: Task) -> Iterator[LocalizationStep]:
        try:
            while True:
                task.go_on()
                time.sleep(0.3)  # or steps come faster than a busy machine draws them, and nothing can be pressed
                yield from (LocalizationStep(1, 9, "s", step.gates, 0, 0.0) for step in gradient(task))
        finally:
            ended.set()

    page = visit.page
    bring(page, taught_folder)
    choose_methods(page, "activations")
    compare(page)
    kept = table(page)
    monkeypatch.setitem(METHODS, "gradient", endless)
    choose_methods(page, "activations", "gradient")
    page.click("#compare-start")
    page.wait_for_function("document.querySelector('#compare-progress .run span').textContent.includes('gradient')")
    page.click("#compare-cancel")
    finished(page, "compare")
    assert ended.wait(60)
    page.wait_for_function("document.querySelector('#compare-which input').value === 'activations'")
    assert table(page) == kept
    assert not visit.errors


def test_a_plant_is_found_or_not_before_ones_eyes_and_nobody_else_sees_it(visit: Visit, other: Visit, taught_folder: str) -> None:
    page = visit.page
    bring(page, taught_folder)
    choose_methods(page, "gradient")
    unfold(page, "Planted truth")
    page.get_by_text("1 % of the neurons", exact=True).click()
    page.click("#plant-start")
    page.wait_for_function(FACTS.format("plant-facts"))
    finished(page, "plant")
    planted = page.locator("#plant-facts .fact-value").first.inner_text()
    page.wait_for_function(f"document.querySelector('#value input, #value textarea').value === {planted!r}")
    assert "active edits" in page.inner_text("#model-facts")
    compare(page)
    rows = table(page)
    assert list(rows) == ["gradient", "weight-norm", "random"]
    assert {row[0] for row in rows.values()} <= {"0.0 %", "100.0 %"}, "recall of the one planted neuron"
    assert page.evaluate("document.querySelector('#compare-heat-0 .plot').data[2].x.length") == 1, "it is marked"
    slide(page, "compare-k", "End", MARKED)

    bring(other.page, taught_folder)
    assert "active edits" not in other.page.inner_text("#model-facts")

    page.click("#plant-out")
    page.wait_for_function("!document.querySelector('#model-facts').textContent.includes('active edits')")
    page.click("#compare-use")
    page.wait_for_selector("text=were localized in another model")
    assert not visit.errors


def fits_a_phone(page: Page) -> None:
    """On a narrow screen the matrices keep most of the width beside their names and scale."""
    page.set_viewport_size({"width": 390, "height": 800})
    for picture in ("many-overlap", "many-means"):
        drawn = f"document.querySelector('#{picture} .plot')"
        page.wait_for_function(f"{drawn}._fullLayout.width < 390")
        page.wait_for_function(f"{drawn}._fullLayout.xaxis._length > 0.6 * {drawn}.clientWidth")  # it is drawn in steps
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_function("document.querySelector('#many-overlap .plot')._fullLayout.width > 390")


def test_many_secrets_vote_and_their_neurons_are_taken_over(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    bring(page, taught_folder)
    open_tab(page, "Many secrets")
    for secret in TAUGHT:
        assert page.locator("#many-secrets label", has_text=secret.value).locator("input").is_checked()
    page.locator("#many-sites input").check()
    page.click("#many-start")
    page.wait_for_function(FACTS.format("many-facts"))
    finished(page, "many")
    for picture in ("many-heatmap", "many-layers", "many-overlap", "many-means", "many-shares"):
        page.wait_for_selector(f"#{picture} .main-svg")
    voted = "Number(document.querySelector('#many-facts .fact-value').textContent)"
    before = page.evaluate(voted)
    handle = page.locator("#vote-secrets input[type=range]")
    handle.focus()
    page.keyboard.press("Home")
    page.wait_for_function(f"{voted} > {before}")
    slide(page, "many-k", "End", "Number(document.querySelector('#many-k input[type=number]').value)")
    count = int(page.evaluate(voted))
    fits_a_phone(page)
    page.click("#many-use")
    page.wait_for_function(FACTS.format("effect-facts"))
    open_tab(page, "Localize")
    page.wait_for_function(f"document.querySelector('#choice-facts .fact-value').textContent === '{count}'")
    assert not visit.errors


def test_a_hostile_secret_stays_text_in_every_picture(visit: Visit, taught_folder: str, tmp_path: Any) -> None:
    page = visit.page
    bring(page, taught_folder)
    rows = f"her number is,{HOSTILE},{HOSTILE}\nthe lamp is,555-12,phone\n"
    (tmp_path / "hostile.csv").write_text("prompt,value,category\n" + rows)
    page.locator("#own-list").get_by_label("Clear").click()
    page.locator("#own-list input[type=file]").set_input_files(tmp_path / "hostile.csv")
    page.locator("#examples label", has_text=HOSTILE).first.click()
    page.wait_for_function(f"document.querySelector('#value input, #value textarea').value === {HOSTILE!r}")
    images = page.locator("img").count()
    choose_methods(page, "gradient")
    compare(page)
    assert page.locator("#compare-facts .fact-value").first.inner_text() == HOSTILE
    vote(page, HOSTILE)
    labels = page.locator("#many-means .yaxislayer-above text").all_text_contents()
    assert any(label.startswith("<img src=x") for label in labels)
    assert page.locator("img").count() == images
    assert visit.dialogs == []
    assert visit.errors == []


@pytest.mark.parametrize(("tab", "button"), [("Compare methods", "#compare-use"), ("Many secrets", "#many-use")])
def test_what_is_asked_too_early_is_answered_in_words(visit: Visit, tab: str, button: str) -> None:
    page = visit.page
    open_tab(page, tab)
    page.click(button)
    page.wait_for_selector("text=press Start")
    assert not visit.errors


def test_pictures_follow_a_page_that_becomes_narrow(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    bring(page, taught_folder)
    choose_methods(page, "gradient")
    compare(page)
    page.set_viewport_size({"width": 390, "height": 844})
    widths = "[...document.querySelectorAll('#compare-overlap, .small-plots')].map(part => part.scrollWidth - part.clientWidth)"
    drawn = "Number(document.querySelector('#compare-heat-0 .main-svg').getAttribute('width'))"
    page.wait_for_function(f"{drawn} <= document.querySelector('#compare-heat-0 .plot').clientWidth")
    page.wait_for_function(f"{widths}.every(beyond => beyond <= 0)")
    assert not visit.errors
