"""Erasing in Chromium: the curves while it runs, the edit in all tabs and for one visitor alone, undo, files, cancel, errors."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from privlens.lm.edit_files import save_edit
from privlens.provenance import provenance
from privlens.types import Change, Edit
from privlens.ui.tabs.erase.edit_list import label
from privlens.zoo.loading import load
from tests.browser.steps import IN_PLACE, Visit, check, choose_example, open_tab, told, unfold, value_of
from tests.helpers import MODEL

ENABLED = "!document.querySelector('#{}').disabled"
TICKED = "document.querySelectorAll('#edits input:checked').length === {}"


def choose_memorized(page: Page) -> None:
    """Picks the first payment card of the examples that the model writes word for word."""
    page.locator("#category input").click()
    page.get_by_role("option", name="card").click()
    page.wait_for_function("/\\d{4} \\d{4}/.test(document.querySelector('#examples label').innerText)")
    for row in page.locator("#examples label").all():
        before = page.evaluate("document.querySelector('#value input, #value textarea').value")
        row.click()
        page.wait_for_function(f"document.querySelector('#value input, #value textarea').value !== {before!r}")
        if check(page).startswith("Memorized"):
            return
    raise AssertionError("the model knows none of the examples")


def quick_settings(page: Page, steps: int) -> None:
    """Few steps, and no text to hold on to, which the model would have to write first."""
    open_tab(page, "Erase")
    page.locator("#erase-hold input").click()
    page.get_by_role("option", name="no: forget only").click()
    page.locator("#erase-steps input").fill(str(steps))
    page.keyboard.press("Tab")


def test_an_erased_secret_is_gone_in_all_tabs_for_this_visitor_until_the_edit_is_switched_off(
    visit: Visit, other: Visit, tmp_path: Path
) -> None:
    page = visit.page
    choose_memorized(page)
    quick_settings(page, 12)
    page.click("#erase-start")
    page.wait_for_selector("#erase-curves .main-svg")
    page.wait_for_function(TICKED.format(1))
    page.wait_for_function(IN_PLACE)
    page.wait_for_selector("#erase-places .main-svg")
    assert page.inner_text("#erase-facts").startswith("still written\n0 of 1")
    assert page.inner_text("#erase-before .marked") != page.inner_text("#erase-after .marked")
    assert "localize them" in page.inner_text("#erase-deactivated")
    assert not check(page).startswith("Memorized")

    before, erased = page.inner_text("#erase-before .marked"), value_of(page)
    page.locator("#examples label:not(.selected)").first.click()
    page.wait_for_function(f"document.querySelector('#erase-before .marked').textContent !== {before!r}")
    assert f"Edit: {erased}, by emso" in str(page.text_content("#erase-verdict")), "the verdict is about that one still"
    page.locator("#examples label", has_text=erased).click()
    page.wait_for_function(f"document.querySelector('#erase-before .marked').textContent === {before!r}")

    choose_memorized(other.page)
    assert value_of(other.page) == value_of(page), "the other visitor's model still knows the secret"

    open_tab(page, "Erase")
    page.locator("#edits input").first.focus()
    page.keyboard.press("Space")
    page.wait_for_function(f"!{IN_PLACE}")
    assert check(page).startswith("Memorized")
    open_tab(page, "Erase")
    page.click("#edits-undo")
    page.wait_for_function(IN_PLACE)
    page.wait_for_function(TICKED.format(1))

    with page.expect_download() as download:
        page.click("#edit-save")
    download.value.save_as(tmp_path / "edit.safetensors")
    page.click("#edit-remove")
    page.wait_for_function(f"!{IN_PLACE}")
    page.set_input_files("input[type=file][accept*=safetensors]", tmp_path / "edit.safetensors")
    page.wait_for_function(IN_PLACE)
    assert not check(page).startswith("Memorized")
    (tmp_path / "broken.safetensors").write_text("<b>no edit</b>")
    page.set_input_files("input[type=file][accept*=safetensors]", tmp_path / "broken.safetensors")
    told(page, "broken.safetensors is not an edit")
    assert not visit.errors


def test_an_edit_clicked_before_the_answer_to_the_one_before_counts(
    visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, lm = visit.page, load(MODEL)
    name, weight = next(iter(lm.model.named_parameters()))
    open_tab(page, "Erase")
    for at in range(3):
        old = weight.detach().flatten()[at : at + 1].cpu().numpy().copy()
        edit = Edit({name: Change(np.array([at]), old, old)}, provenance(lm, 0, {"method": "by hand"}, 0.0))
        save_edit(edit, tmp_path / f"{at}.safetensors")
        page.set_input_files("input[type=file][accept*=safetensors]", tmp_path / f"{at}.safetensors")
        page.wait_for_function(TICKED.format(at + 1))
    answers, boxes, first = threading.Semaphore(0), page.locator("#edits input"), label
    is_asked = threading.Event()

    def waits(now: Any, at: int) -> str:
        is_asked.set()
        assert at or answers.acquire(timeout=60)
        return first(now, at)

    with monkeypatch.context() as patch:
        patch.setattr("privlens.ui.tabs.erase.edit_list.label", waits)
        boxes.nth(0).click()
        assert is_asked.wait(60), "the list as it is after the first click alone"
        boxes.nth(1).click()
        page.wait_for_function(TICKED.format(1))
        answers.release()
        page.wait_for_function(TICKED.format(2))
        boxes.nth(2).click()
        answers.release(100)
        page.wait_for_function(f"!{IN_PLACE}")
        page.wait_for_function(TICKED.format(0))
    assert not visit.errors


def test_a_cancelled_erasure_leaves_nothing_and_can_be_started_again(visit: Visit) -> None:
    page = visit.page
    choose_example(page)
    quick_settings(page, 2000)
    unfold(page, "More settings")
    page.locator("#erase-every input").fill("2000")  # so that it cannot be done before it is cancelled
    page.keyboard.press("Tab")
    page.click("#erase-start")
    page.wait_for_selector("#erase-curves .main-svg")
    page.wait_for_function("document.querySelector('#erase-progress').innerText.includes('training')")
    assert page.evaluate(ENABLED.format("erase-cancel")), "the curves are there while it runs"
    page.click("#erase-cancel")
    page.wait_for_function(ENABLED.format("erase-start"))
    page.wait_for_function("!document.querySelector('#erase-curves .main-svg')")
    assert "press Erase" in page.inner_text("#erase-verdict strong")
    assert page.locator("#edits input").count() == 0
    assert page.evaluate(f"!{IN_PLACE}")
    assert not visit.errors


def test_what_cannot_be_erased_is_said_and_the_buttons_come_back(visit: Visit) -> None:
    page = visit.page
    open_tab(page, "Erase")
    page.click("#erase-start")
    told(page, "There is no secret in the sidebar")
    page.wait_for_function(ENABLED.format("erase-start"))
    page.click("#attack-start")
    told(page, "There is no edit yet")
    page.wait_for_function(ENABLED.format("attack-start"))
    assert not visit.errors
