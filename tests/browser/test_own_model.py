"""What a visitor brings along: another model, an own list; and the long measurements, to their end and cancelled."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from privlens.deactivation import compare, sweep_ks
from privlens.outcomes import ComparisonStep
from tests.browser.steps import FACTS, Visit, bring, choose_example, localize, open_tab, press_check, told, unfold
from tests.helpers import TAUGHT


def test_the_whole_way_with_an_own_model_and_list(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    bring(page, taught_folder)
    press_check(page)
    page.wait_for_function(FACTS.format("check-facts"))
    assert "emorized" in page.inner_text("#check-verdict")
    localize(page, "random")
    page.click("#to-deactivate")
    page.click("#sweep-start")
    points = "document.querySelector('#sweep .plot')?.data?.[1]?.x.length"
    page.wait_for_function(f"{points} === {len(sweep_ks(128))}")
    page.click("#measure-start")
    page.wait_for_function(FACTS.format("measure-facts"))
    listed = page.locator("#others").inner_text()
    assert all(secret.value in listed for secret in TAUGHT[1:])
    assert not visit.errors


def test_attention_coordinates_are_localized_and_switched_off(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    bring(page, taught_folder)
    open_tab(page, "Localize")
    unfold(page, "Settings: what to protect")
    page.locator("#site input").click()
    page.get_by_role("option", name="attention (output coordinates)").click()
    localize(page, "gradient")
    assert "of 64" in page.inner_text("#choice-facts"), "2 layers of 32"
    page.click("#to-deactivate")
    page.click("#sweep-start")
    points = "document.querySelector('#sweep .plot')?.data?.[1]?.x.length"
    page.wait_for_function(f"{points} === {len(sweep_ks(64))}")
    page.click("#measure-start")
    page.wait_for_function(FACTS.format("measure-facts"))
    written = str(page.text_content("#effect-facts"))
    assert page.locator("#measure-facts .fact", has_text="secret's NLL").locator(".fact-value").inner_text() in written
    assert not visit.errors


def test_neurons_of_one_model_are_not_used_in_another(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    choose_example(page)
    localize(page, "random")
    bring(page, taught_folder)
    page.get_by_role("tab", name="Localize").click()
    page.wait_for_function("document.querySelectorAll('#neuron-toggles input').length === 0")
    page.get_by_role("tab", name="Switch off").click()
    page.click("#sweep-start")
    page.wait_for_selector("text=No neurons have been localized yet")


def test_a_list_that_cannot_be_read_leaves_the_one_that_was_there(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    before = page.locator("#examples label").all_inner_texts()
    (tmp_path / "broken.csv").write_text("who,what\nMira,555\n")
    unfold(page, "Your own list and reference text")
    page.locator("#own-list input[type=file]").set_input_files(tmp_path / "broken.csv")
    assert "/broken.csv" not in told(page, "broken.csv has no column prompt")
    assert page.locator("#examples label").all_inner_texts() == before


def test_a_measurement_that_is_cancelled_shows_nothing_and_can_be_started_again(
    visit: Visit, taught_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*given: Any) -> Iterator[ComparisonStep]:
        while True:
            for step in compare(*given):
                time.sleep(0.05)  # so that it leaves the browser some of the machine
                if step.result is None:
                    yield step

    page = visit.page
    bring(page, taught_folder)
    localize(page, "random")
    page.click("#to-deactivate")
    with monkeypatch.context() as patch:
        patch.setattr("privlens.ui.tabs.deactivate.tab.compare", endless)
        page.click("#measure-start")
        page.wait_for_function("document.querySelector('#measure-progress .run span').textContent.includes('left')")
        page.click("#measure-cancel")
        page.wait_for_function("!document.querySelector('#measure-start').disabled")
    assert page.locator("#measure-facts .fact").count() == 0
    page.click("#measure-start")
    page.wait_for_function(FACTS.format("measure-facts"))
