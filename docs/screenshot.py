"""Makes the picture of the page in README and manual: .venv/bin/python docs/screenshot.py

Starts the app on the bundled model, localizes an invented person's phone number in Chromium, and writes assets/screenshot.png.
"""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from privlens.bench.serving import served

PICTURE = Path(__file__).parents[1] / "assets" / "screenshot.png"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
DONE = "document.querySelector('#localize-cancel').disabled && !document.querySelector('#localize-start').disabled"
MINUTES_AT_MOST = 10
METHOD = "hard-concrete-deep"


def main() -> None:
    with served("demo") as (address, _), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
        page = chromium.new_page(viewport={"width": 1280, "height": 1860})
        page.set_default_timeout(60_000 * MINUTES_AT_MOST)
        page.goto(address)
        page.wait_for_selector("#examples label")
        page.locator("#category input").click()
        page.get_by_role("option", name="phone").click()
        page.locator("#examples label", has_text="5420-3557").click()
        page.wait_for_function("document.querySelector('#value input, #value textarea').value === '5420-3557'")
        page.get_by_role("tab", name="Localize").click()
        page.wait_for_timeout(1000)
        page.locator("#method input").click()
        page.get_by_role("option", name=METHOD, exact=True).click()
        page.wait_for_function(f"document.querySelector('#method-about').innerText.startsWith('{METHOD}:')")
        page.click("#localize-start")
        page.wait_for_timeout(2000)
        page.wait_for_function(DONE)
        page.wait_for_selector("#neuron-toggles input")
        page.wait_for_timeout(5000)  # the answer with its exposure comes a moment after the neurons
        page.mouse.move(0, 0)
        page.screenshot(path=PICTURE)
        chromium.close()


if __name__ == "__main__":
    main()
