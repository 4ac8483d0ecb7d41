"""The lesson in Chromium: it asks first, waits for the act, reads the page's own numbers, and keeps none of them."""

import csv
import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.browser.conftest import arrived
from tests.browser.steps import MOUNTED, Visit, choose_example, value_of

KEPT = "JSON.parse(localStorage.getItem('privlens-lesson'))"


def in_lesson(page: Page, part: str) -> Any:
    return page.locator(f"#lesson [data-part={part}]")


def begin(page: Page) -> None:
    in_lesson(page, "open").click()
    page.get_by_role("button", name="Begin").click()


def pick(page: Page, number: int) -> None:
    page.locator(".lesson-ask input").nth(number).check()


def seen(page: Page) -> dict[str, str]:
    rows = page.locator(".lesson-numbers div").all()
    return {row.locator("dt").inner_text(): row.locator("dd").inner_text() for row in rows}


def shown(page: Page, part: str, name: str) -> str:
    """A number as it stands on the page, unit and all."""
    fact = page.locator(f"#{part} .fact").filter(has=page.locator("dt", has_text=name)).first
    return " ".join(fact.locator("dd").first.inner_text().split())


def next_step(page: Page) -> None:
    page.wait_for_function("!document.querySelector('#lesson [data-part=next]').disabled")
    in_lesson(page, "next").click()


def test_a_step_asks_first_waits_for_the_act_and_reads_the_number(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    if not page.locator("#overview .overview").is_visible():
        choose_example(page)  # where nothing is recorded
    begin(page)
    tab = "document.querySelector('#tabs [role=tab][aria-selected=true]').dataset.tabId"
    opened = page.evaluate(tab)
    assert not page.locator(".lesson-do").count() and not page.locator(".lesson-numbers").count()
    assert in_lesson(page, "next").is_disabled()
    pick(page, 1)
    page.wait_for_function(f"{tab} === 'memorized' && {tab} !== {opened!r}")
    page.wait_for_selector("#check-start.lesson-pointed")
    page.evaluate(MOUNTED)
    page.wait_for_timeout(1500)
    assert in_lesson(page, "next").is_disabled(), "it waits for the act and not for a while"
    value = value_of(page)
    assert value
    page.click("#check-start")
    page.wait_for_selector(".lesson-numbers")
    tries = shown(page, "check-facts", "tries")
    assert tries and seen(page)["tries"] == tries

    next_step(page)
    pick(page, 2)
    changed = value[:-1] + ("0" if value[-1] != "0" else "1")
    page.locator("#value").locator("input, textarea").fill(changed)
    assert not page.locator(".lesson-numbers").count(), "the check before does not count"
    page.click("#check-start")
    page.wait_for_selector(".lesson-numbers")
    other = shown(page, "check-facts", "tries")
    assert seen(page)["tries for the changed value"] == other != tries

    next_step(page)
    for _ in range(6):
        in_lesson(page, "skip").click()
    page.wait_for_selector(".lesson-sheet")
    line = page.locator(".lesson-sheet tbody tr").nth(0).inner_text()
    assert tries in line and "Something of the same form, made up" in line
    with page.expect_download() as taken:
        in_lesson(page, "csv").click()
    taken.value.save_as(tmp_path / "sheet.csv")
    with (tmp_path / "sheet.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["step"], row["what"]): row["seen"].lstrip("'") for row in rows}
    assert (found["1", "tries"], found["2", "tries for the changed value"]) == (tries, other)
    assert rows[0]["expected"] == "Something of the same form, made up"

    kept = page.evaluate(KEPT)
    assert kept == {"lesson": "private-value", "step": 8, "picks": {"0": 1, "1": 2}}
    for private in (value, changed, tries):
        assert private not in json.dumps(page.evaluate("({...localStorage, ...sessionStorage})")) or len(private) < 4
    page.evaluate("void (window.print = () => { window.printed = document.querySelector('.lesson-paper').textContent; })")
    in_lesson(page, "print").click()
    assert tries in page.evaluate("window.printed") and value not in page.evaluate("window.printed")
    page.emulate_media(media="print")
    visible = "[...document.body.children].filter(one => one.checkVisibility()).map(one => one.className)"
    assert page.evaluate(visible) == ["lesson-paper"], "the worksheet alone is printed"
    page.emulate_media(media="screen")
    assert not visit.errors


def test_the_lesson_goes_by_keys_is_remembered_and_starts_over(browser: Browser, address: str) -> None:
    with arrived(browser, address) as visit:
        page = visit.page
        assert page.evaluate("localStorage.getItem('privlens-lesson')") is None, "nothing is kept of whoever takes no lesson"
        in_lesson(page, "open").focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.textContent") == "Begin"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.matches('#lesson h2')")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        page.wait_for_selector(".lesson-do")
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.dataset.part") == "open"
        page.reload()
        page.wait_for_selector("#examples label")
        in_lesson(page, "open").click()
        page.wait_for_selector(".lesson-do")
        assert page.locator(".lesson-ask input").nth(0).is_checked()
        in_lesson(page, "restart").click()
        page.get_by_role("button", name="Begin").wait_for()
        assert page.evaluate(KEPT)["picks"] == {}
        assert not visit.errors
