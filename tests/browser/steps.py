"""What a visitor does on the page again and again."""

from pathlib import Path

from conftest import TAUGHT
from playwright.sync_api import Page, TimeoutError

STOPPED = "document.querySelector('#localize-cancel').disabled && !document.querySelector('#localize-start').disabled"
FACTS = "document.querySelectorAll('#{} .fact').length > 0"


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def choose_example(page: Page) -> str:
    """Picks the most repeated phone number; returns its value once both boxes hold it."""
    page.locator("#category input").click()
    page.get_by_role("option", name="phone").click()
    page.locator("#examples label", has_text="-").first.click()
    page.wait_for_function("document.querySelector('#value input, #value textarea').value !== ''")
    return str(page.locator("#value").locator("input, textarea").input_value())


def localize(page: Page, method: str) -> None:
    """Localizes with a method and waits for its neurons and the answer to them."""
    open_tab(page, "Localize")
    page.locator("#method input").click()
    page.get_by_role("option", name=method, exact=True).click()
    page.wait_for_function(f"document.querySelector('#method-about').innerText.startsWith('{method}:')")
    page.click("#localize-start")
    page.wait_for_function(STOPPED)
    page.wait_for_selector("#neuron-toggles input")
    page.wait_for_function(FACTS.format("quick-facts"))
    page.wait_for_selector("#square .main-svg")


def bring(page: Page, folder: str) -> None:
    """Loads the taught model and its own list of secrets, and chooses the first of them."""
    page.get_by_text("Another model").click()
    page.locator("#model-name").locator("input, textarea").fill(folder)
    loaded = "document.querySelector('#model-facts').textContent.includes('2 x 64')"
    page.click("#load-model")
    try:
        page.wait_for_function(loaded, timeout=30_000)
    except TimeoutError:  # seen once in many runs, on a page that had just come up: a person would press again
        page.click("#load-model")
        page.wait_for_function(loaded)
    page.get_by_text("Your own list and reference text").click()
    page.locator("#own-list input[type=file]").set_input_files(Path(folder) / "secrets.csv")
    page.locator("#examples label", has_text=TAUGHT[0].value).click()
    page.wait_for_function(f"document.querySelector('#prompt textarea').value === {TAUGHT[0].prompt!r}")
