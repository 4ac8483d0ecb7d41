"""What a visitor does on the page again and again."""

from playwright.sync_api import Page

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
