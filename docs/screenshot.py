"""Makes the pictures of the page in README and manual: .venv/bin/python docs/screenshot.py

Starts the app on the bundled model in Chromium and writes assets/screenshot.gif: the page as it opens, its neurons switched off,
and the same neurons on the live model; and of the tab Audit, docs/tutorials/audit-plan.png and audit-findings.png.
"""

import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from privlens.bench.serving import served

PICTURE = Path(__file__).parents[1] / "assets" / "screenshot.gif"
TUTORIALS = Path(__file__).parent / "tutorials"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
SIZE = {"width": 1280, "height": 800}
SECONDS = (2.5, 3.5, 4.0)
"""How long each picture is shown: long enough to read what changed."""
MINUTES_AT_MOST = 10


def main() -> None:
    with served("demo") as (address, _), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
        page = chromium.new_page(viewport=SIZE)
        page.set_default_timeout(60_000 * MINUTES_AT_MOST)
        page.goto(address)
        page.wait_for_selector("#overview-switch")
        page.wait_for_timeout(3000)  # fonts
        pictures = [taken(page)]
        page.click("#overview-switch")
        pictures.append(taken(page))
        page.click("#overview-work")
        page.wait_for_function("document.querySelectorAll('#quick-facts .fact').length > 0")
        page.wait_for_selector("#heatmap .main-svg")
        page.wait_for_selector("#quick-verdict em", state="hidden")
        page.locator("#localize-made").evaluate("part => part.scrollIntoView({block: 'start'})")
        page.mouse.wheel(0, -60)  # below the line that stays above all tabs
        page.wait_for_timeout(1000)
        pictures.append(taken(page))
        audit(page, address)
        chromium.close()
    first, *more = [picture.quantize(colors=128) for picture in pictures]
    first.save(PICTURE, save_all=True, append_images=more, duration=[round(1000 * shown) for shown in SECONDS], loop=0)


def audit(page: Page, address: str) -> None:
    """The tab Audit before and after a run on the bundled list."""
    page.goto("about:blank")  # from the page itself this would only be another fragment, at which the page opens itself anew
    page.goto(f"{address}#tab=audit")
    page.wait_for_selector("#audit-start")
    page.wait_for_timeout(3000)
    taken(page).quantize(colors=128).save(TUTORIALS / "audit-plan.png", optimize=True)
    page.click("#audit-start")
    page.wait_for_function("!document.querySelector('#audit-report').disabled")
    page.wait_for_timeout(3000)
    page.locator("#audit-verdict").evaluate("part => part.scrollIntoView({block: 'start'})")
    page.mouse.wheel(0, -60)
    page.wait_for_timeout(1000)
    taken(page).quantize(colors=128).save(TUTORIALS / "audit-findings.png", optimize=True)


def taken(page: Page) -> Image.Image:
    """The window as it is now, without the pointer over anything."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    main()
