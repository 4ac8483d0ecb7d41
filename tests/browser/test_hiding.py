"""Private values hidden by one switch, on the page and in files; the address that restores a visit and holds none of them."""

import json
from pathlib import Path

from playwright.sync_api import Page

from privlens.secret_lists import read_secrets
from tests.browser.steps import (
    FACTS,
    STOPPED,
    Visit,
    bring,
    check,
    choose_example,
    localize,
    neurons_off,
    open_tab,
    show_tokens,
    unfold,
    value_of,
)
from tests.browser.test_taking import saved
from tests.helpers import TAUGHT

SEEN = "document.body.innerText"
HIDDEN = "document.documentElement.classList.contains('masked')"


def hidden(value: str) -> str:
    """A value with its first and last two letters or digits left, worked out apart from the page."""
    places = [place for place, sign in enumerate(value) if sign.isalnum()]
    keep = min(2, len(places) // 4)
    middle = places[keep : len(places) - keep]
    return "".join("•" if place in middle else sign for place, sign in enumerate(value))


def drawn(page: Page, plot: str) -> str:
    return str(page.evaluate(f"JSON.stringify(document.querySelector('#{plot} .plot').layout)"))


def test_one_switch_hides_values_on_the_page_and_in_files_and_holding_shows_them(visit: Visit) -> None:
    page = visit.page
    value = choose_example(page)
    check(page)
    assert value in page.evaluate(SEEN)
    page.click("#mask")
    page.wait_for_function(HIDDEN)
    shown = page.evaluate(SEEN)
    assert value not in shown
    assert hidden(value) in shown
    listed = [row.secret.value for row in read_secrets("assets/secrets.csv")]
    assert not [other for other in listed if len(other) > 4 and other in shown]
    assert page.evaluate("getComputedStyle(document.querySelector('#value input, #value textarea')).webkitTextSecurity") == "disc"
    assert value_of(page) == value, "it can still be asked about"
    report = json.loads(saved(page, "#check-json").read_text())
    assert report["value"] == hidden(value)
    assert value not in json.dumps(report)
    assert not any(sign.isdigit() for token in report["tokens"] for sign in token["token"])
    show_tokens(page)
    cells = [line.split(",")[0] for line in saved(page, "#own-tokens-csv").read_text("utf-8-sig").splitlines()[1:]]
    assert cells
    assert not any(sign.isdigit() for cell in cells for sign in cell)
    page.locator("#reveal").focus()
    page.keyboard.down("Space")
    page.wait_for_function(f"{SEEN}.includes({value!r})")
    page.keyboard.up("Space")
    page.wait_for_function(f"!{SEEN}.includes({value!r})")
    localize(page, "activations")
    page.click("#to-deactivate")
    page.wait_for_selector("#effect-bars .main-svg")
    assert value not in page.evaluate(SEEN)
    assert not any(sign.isdigit() for sign in json.loads(drawn(page, "effect-bars"))["xaxis"]["ticktext"][0])
    page.click("#mask")
    page.wait_for_function(f"{SEEN}.includes({value!r})")
    assert not visit.errors


def test_a_list_of_ones_own_is_hidden_until_its_owner_says_otherwise(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    assert not page.evaluate(HIDDEN)
    page.get_by_role("button", name="Your own list and reference text").click()
    page.locator("#own-list input[type=file]").set_input_files(Path(taught_folder) / "secrets.csv")
    page.wait_for_function(HIDDEN)
    page.wait_for_function(f"document.querySelector('#examples').innerText.includes({hidden(TAUGHT[0].value)!r})")
    assert TAUGHT[0].value not in page.evaluate(SEEN)
    page.click("#mask")
    page.wait_for_function(f"{SEEN}.includes({TAUGHT[0].value!r})")
    assert not visit.errors


def test_the_address_restores_a_visit_and_holds_no_text(visit: Visit, address: str) -> None:
    page, row = visit.page, 9
    secret = read_secrets("assets/secrets.csv")[row].secret
    page.goto("about:blank")
    page.goto(f"{address}#model=demo&row={row}&method=activations&seed=3&k=25&tab=localize")
    page.wait_for_function("document.querySelector('#value input, #value textarea')?.value")
    assert value_of(page) == secret.value
    page.wait_for_function("document.querySelector('#method input')?.value === 'activations'")
    unfold(page, "Settings: what to protect")
    page.wait_for_function("document.querySelector('#seed input')?.value === '3'")
    page.click("#localize-start")
    page.wait_for_function(STOPPED)
    page.wait_for_function(FACTS.format("quick-facts"))
    page.wait_for_function("document.querySelector('#choice-facts .fact-value').textContent === '25'")
    page.wait_for_function("location.hash.includes('k=25')")
    open_tab(page, "Check")
    page.wait_for_function("location.hash.includes('tab=memorized')")
    fragment = page.url.partition("#")[2]
    assert fragment == f"model=demo&row={row}&method=activations&seed=3&k=25&tab=memorized"
    assert neurons_off(page) == 25
    assert not visit.errors


def test_the_address_says_nothing_of_a_list_of_ones_own(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    bring(page, taught_folder)
    page.wait_for_function("location.hash.includes('method')")
    assert "row=" not in page.url


def test_a_presenter_has_large_type_and_no_sidebar(visit: Visit, address: str) -> None:
    page = visit.page
    page.goto(f"{address}?present")
    page.wait_for_selector("#tabs [role=tab]")
    assert not page.locator("#sidebar").is_visible()
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('.gradio-container')).fontSize)") >= 20
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
