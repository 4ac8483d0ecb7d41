"""The page for everybody: axe-core finds nothing serious in any tab and state, keys reach everything and show where they are."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, TimeoutError

from privlens.localization import METHODS, Task
from privlens.localization.hard_concrete import hard_concrete
from privlens.types import LocalizationStep
from tests.browser.steps import (
    FACTS,
    MOUNTED,
    STOPPED,
    Visit,
    bring,
    check,
    choose_example,
    finished,
    localize,
    open_tab,
    told,
    vote,
)
from tests.browser.test_comparing import choose_methods, compare
from tests.browser.test_erasing import quick_settings
from tests.helpers import TAUGHT

ALL = [(look, width) for width in (1280, 1024, 390) for look in ("light", "dark")]
LOOKS = {
    "empty": [("light", 1280), ("dark", 390)],
    "with results": [("dark", 1024), ("light", 390)],
    "while it runs": [("dark", 1280), ("light", 1024)],
}
"""The looks of each state, because axe takes seconds in each; PRIVLENS_AXE=all takes all six in every state."""
SEEN = ["color-contrast", "aria-hidden-focus", "scrollable-region-focusable", "target-size", "link-in-text-block"]
"""Rules whose answer depends on colours or on the width; the others are asked in the first look of each state alone."""
AXE = """rules => axe.run({
    resultTypes: ['violations'], preload: false, iframes: false, ...(rules ? {runOnly: rules} : {})
}).then(found => found.violations
    .filter(rule => ['serious', 'critical'].includes(rule.impact))
    .flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.target.join(' ')}: ${node.failureSummary}`)))"""
FOCUSED = """() => {
    const at = document.activeElement, of = getComputedStyle(at), box = at.getBoundingClientRect();
    const outlined = element => { const style = getComputedStyle(element);
        return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2; };
    const rings = [at, at.closest('.wrap'), at.closest('label'), at.parentElement].filter(Boolean);
    return {
        where: [box.x, box.y, box.width, box.height, scrollY].map(Math.round).join(" "),
        name: `${at.tagName}#${at.id || at.closest('[id]')?.id}.${at.type || at.getAttribute('role') || ''}`,
        body: at === document.body,
        shown: at.checkVisibility() && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
        ring: rings.some(outlined) || of.boxShadow !== 'none' || at.closest('.wrap, .container') && rings.some(element =>
            getComputedStyle(element).boxShadow !== 'none'),
        lists: document.querySelectorAll('[role=listbox]').length,
    };
}"""
TABS = "[...document.querySelectorAll('#tabs [role=tab]')].filter(tab => tab.checkVisibility()).map(tab => tab.innerText)"


def tabs(page: Page) -> list[str]:
    """The names of the tabs, in their order."""
    return list(dict.fromkeys(page.evaluate(TABS)))


def findings(page: Page, tab: str, state: str) -> list[str]:
    """What axe-core calls serious or critical, in the looks of a state."""
    found = []
    looks = ALL if os.environ.get("PRIVLENS_AXE") == "all" else LOOKS[state]
    for look, width in looks:
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate(f"document.body.classList.toggle('dark', {str(look == 'dark').lower()})")
        page.evaluate(MOUNTED)
        page.wait_for_timeout(300)  # colours and the sidebar move into place
        rules = None if (look, width) == looks[0] else SEEN
        found += [f"{tab}, {state}, {look}, {width}: {finding}" for finding in page.evaluate(AXE, rules)]
    page.evaluate("document.body.classList.remove('dark')")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate(MOUNTED)
    return found


def results(page: Page) -> None:
    """Lets every tab show something; the last one that ran is open."""
    check(page)
    localize(page, "gradient")
    open_tab(page, "Switch off")
    page.click("#measure-start")
    page.wait_for_function(FACTS.format("measure-facts"))
    finished(page, "measure")
    page.click("#sweep-start")
    page.wait_for_selector("#sweep .main-svg")
    finished(page, "sweep")
    choose_methods(page, "gradient")
    compare(page)
    vote(page, TAUGHT[0].value)
    quick_settings(page, 3)
    page.click("#erase-start")
    page.wait_for_selector("#erase-places .main-svg")
    finished(page, "erase")


def test_axe_finds_nothing_serious_in_any_tab_as_it_opens(visit: Visit) -> None:
    page, found = visit.page, []
    page.evaluate(AXE_SCRIPT)
    for tab in tabs(page):
        open_tab(page, tab)
        found += findings(page, tab, "empty")
    assert found == []
    assert page.locator("h1").count() == 1
    assert not visit.errors


@pytest.mark.skipif(os.environ.get("PRIVLENS_AXE") != "all", reason="takes a quarter of an hour: PRIVLENS_AXE=all runs it")
def test_axe_finds_nothing_serious_with_results_and_while_it_runs(
    visit: Visit, taught_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def endless(task: Task) -> Iterator[LocalizationStep]:
        while not go_on.is_set():
            for step in hard_concrete(task):
                time.sleep(0.3)
                if step.result is None:
                    yield step
                task.go_on()

    page = visit.page
    page.evaluate(AXE_SCRIPT)
    found = []
    bring(page, taught_folder)
    results(page)
    for tab in tabs(page):
        open_tab(page, tab)
        found += findings(page, tab, "with results")
    monkeypatch.setitem(METHODS, "hard-concrete", endless)
    open_tab(page, "Localize")
    page.locator("#method input").click()
    page.get_by_role("option", name="hard-concrete", exact=True).click()
    page.click("#localize-start")
    page.wait_for_function("!document.querySelector('#localize-progress .run').hidden")
    found += findings(page, "Localize", "while it runs")
    go_on.set()
    page.click("#localize-cancel")
    page.wait_for_function(STOPPED)
    assert found == []
    assert not visit.errors


def test_a_toast_holds_no_button_in_a_button_and_is_closed_by_keys(visit: Visit) -> None:
    page = visit.page
    page.evaluate(AXE_SCRIPT)
    open_tab(page, "Check")
    page.click("#check-start")
    told(page, "The prompt is empty")
    assert [finding for finding in page.evaluate(AXE) if "toast" in finding] == []
    page.focus(".toast-close")
    page.keyboard.press("Enter")
    page.wait_for_selector(".toast-body", state="detached")
    assert not visit.errors


def walk(page: Page, most: int = 250) -> Iterator[dict[str, Any]]:
    """Presses Tab from where the focus is until it leaves the page; where it is after each."""
    for _ in range(most):
        page.keyboard.press("Tab")
        now = page.evaluate(FOCUSED)
        if now["body"]:
            return
        if not now["shown"]:  # a picture above it may have been drawn just now, and moved it
            with suppress(TimeoutError):
                page.wait_for_function(f"({FOCUSED})().shown", timeout=10_000)
            now = page.evaluate(FOCUSED)
        if now["lists"] > 1:  # the one before fades away
            page.wait_for_function("document.querySelectorAll('[role=listbox]').length <= 1", timeout=10_000)
        yield now
    raise AssertionError("the focus never leaves the page")


def test_tab_visits_every_part_and_shows_where_it_is(visit: Visit) -> None:
    page = visit.page
    for tab in tabs(page):
        open_tab(page, tab)
        if tab == tabs(page)[0]:  # the sidebar is the same beside every tab
            page.focus("#skip a")
        stops = list(walk(page))
        assert len(stops) > 4
        assert [stop["name"] for stop in stops if not stop["ring"]] == [], f"{tab}: no visible focus"
        assert [(stop["name"], stop["where"]) for stop in stops if not stop["shown"]] == [], f"{tab}: focus out of sight"
        page.wait_for_function("!document.querySelector('[role=listbox]')")
    assert not visit.errors


def test_whoever_leaves_the_page_by_the_tab_key_is_not_called_back(visit: Visit) -> None:
    page = visit.page
    open_tab(page, "Audit")
    list(walk(page))
    page.wait_for_timeout(4_000)  # a tab that was opened looks after the focus for three seconds
    assert page.evaluate("document.activeElement === document.body")
    open_tab(page, "Check")
    page.evaluate("document.activeElement.blur()")
    page.wait_for_function("document.activeElement.getAttribute('role') === 'tab'")
    assert not visit.errors


def test_the_first_useful_act_is_within_ten_keys(visit: Visit) -> None:
    page = visit.page
    for key in ("Tab", "Enter"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.matches('#tabs [role=tab][aria-selected=true]')")
    assert page.url.count("#") == 0, "the address stays"
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#tabs [role=tabpanel] button:not([role=tab])')"):
            break
    else:
        raise AssertionError("no button of the open tab within ten keys")
    page.keyboard.press("Enter")
    assert not page.evaluate(FOCUSED)["body"]
    assert not visit.errors


def test_arrows_lead_along_the_tabs_and_the_tab_key_past_them(visit: Visit) -> None:
    page, names = visit.page, tabs(visit.page)
    page.focus("#skip a")
    page.keyboard.press("Enter")
    for key, expected in (("ArrowRight", 1), ("ArrowRight", 2), ("Home", 0), ("ArrowLeft", -1), ("ArrowRight", 0), ("End", -1)):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.innerText") == names[expected]
    page.keyboard.press("Enter")
    page.wait_for_selector("#audit-start")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('#help-audit a')")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.innerText") == names[-1], "the open one is the stop before"
    assert not visit.errors


def test_the_whole_way_goes_by_keys_and_the_focus_never_falls_to_the_page(visit: Visit) -> None:
    page = visit.page
    choose_example(page)
    page.get_by_role("tab", name="Check").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#check-start")
    page.evaluate(MOUNTED)
    reach(page, "check-start")
    page.keyboard.press("Enter")
    page.wait_for_function(FACTS.format("check-facts"))
    reach(page, "to-localize")
    page.keyboard.press("Enter")
    page.wait_for_selector("#method")
    page.evaluate(MOUNTED)
    reach(page, "method")
    page.keyboard.type("gradient")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")  # gradio's list lets go of the focus at Enter; Tab goes on from where it was
    reach(page, "localize-start")
    page.keyboard.press("Enter")
    page.wait_for_function(STOPPED)
    page.wait_for_selector("#neuron-toggles input")
    reach(page, "neuron-toggles")
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('#choice-facts').innerText.includes('1 switched back on')")
    page.wait_for_function("!document.querySelector('#undo').disabled")
    reach(page, "undo", "Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("!document.querySelector('#choice-facts').innerText.includes('1 switched back on')")
    assert not visit.errors


def reach(page: Page, part: str, key: str = "Tab") -> None:
    """Goes on by Tab, from where the last key left the focus, until it is in a part; or back by Shift and Tab."""
    page.wait_for_timeout(300)  # what the key changed is on the page, and a button that it disabled has passed the focus on
    page.wait_for_function("document.activeElement !== document.body", timeout=20_000)  # else it fell to the page for good
    for _ in range(80):
        if page.evaluate("part => Boolean(document.activeElement.closest(`#${part}`))", part):
            return
        page.keyboard.press(key)
    raise AssertionError(f"#{part} is not reached by {key}")


def test_nothing_moves_where_the_visitor_asks_for_that(visit: Visit) -> None:
    page = visit.page
    moving = """[...document.querySelectorAll('*')].filter(element => [null, '::before', '::after'].some(pseudo => {
        const style = getComputedStyle(element, pseudo);
        return `${style.transitionDuration},${style.animationDuration}`.split(',').some(time => parseFloat(time) > .01);
    })).map(element => `${element.tagName}#${element.id}.${element.getAttribute('class')}`)"""
    assert page.evaluate(moving)
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == []
