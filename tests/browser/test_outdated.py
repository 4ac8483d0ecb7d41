"""What was asked of one secret is not shown of another: answers that come late, and pictures that stood there."""

import threading
from typing import Any

import pytest

from privlens.deactivation import sweep
from privlens.memorization.check import check
from tests.browser.steps import IDLE, Visit, choose_example, localize, open_tab, press_check, told, value_of

STOPPED = "Stopped: you changed the secret, the neurons or the model."


def another_example(visit: Visit) -> str:
    """Chooses the second example; returns its value."""
    before = value_of(visit.page)
    visit.page.locator("#examples label", has_text="-").nth(1).click()
    visit.page.wait_for_function(f"document.querySelector('#value input, #value textarea').value !== {before!r}")
    return value_of(visit.page)


def test_an_answer_that_comes_after_another_secret_was_chosen_is_not_shown(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def waits(*given: Any, **named: Any) -> Any:
        asked.set()
        assert go_on.wait(60)
        return check(*given, **named)

    page = visit.page
    choose_example(page)
    with monkeypatch.context() as patch:
        patch.setattr("privlens.ui.tabs.memorized.tab.check", waits)
        press_check(page)
        assert asked.wait(60)
        value = another_example(visit)
        told(page, STOPPED)
        go_on.set()
        page.wait_for_function(IDLE.format("check"))
        assert page.locator("#true-value").locator("input, textarea").input_value() == ""
    press_check(page)
    page.wait_for_function(f"document.querySelector('#true-value input, #true-value textarea').value === {value!r}")
    page.wait_for_function(IDLE.format("check"))
    assert value_of(page) == value
    assert not visit.errors


def test_a_sweep_ends_with_the_neurons_it_was_about(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*given: Any) -> Any:
        while True:
            yield from sweep(*given)

    page = visit.page
    choose_example(page)
    localize(page, "contrastive-gradient")
    open_tab(page, "Switch off")
    monkeypatch.setattr("privlens.ui.tabs.deactivate.tab.sweep", endless)
    page.click("#sweep-start")
    page.wait_for_selector("#sweep .main-svg")
    localize(page, "random")
    told(page, STOPPED)
    open_tab(page, "Switch off")
    page.wait_for_function(IDLE.format("sweep"))
    page.wait_for_function("!document.querySelector('#sweep .main-svg')")
    page.click("#sweep-start")
    page.wait_for_selector("#sweep .main-svg")
    page.click("#sweep-cancel")
    told(page, "Cancelled. What you had is unchanged.")
    page.wait_for_function(IDLE.format("sweep"))
    assert not visit.errors
