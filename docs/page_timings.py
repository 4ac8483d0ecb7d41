"""How fast the page is in Chromium: .venv/bin/python docs/page_timings.py [--visits 5] > page.json

Serves the app on the bundled model in a process of its own and visits it with an empty cache each time. Prints one JSON object.
Seconds are those of one machine with software rendering; the bytes and the hosts are not.
"""

import argparse
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright
from screenshot import MINUTES_AT_MOST, SIZE, SWITCHES

from privlens.bench.serving import served
from privlens.recorded import read_example
from privlens.resources import RECORDED

SETTLED = 3000
"""Milliseconds after the page has opened, in which it fetches what it did not need for the first picture."""

USEFUL = """
window.useful = new Promise(done => {
  const look = () => {
    const sentence = document.querySelector('#overview [data-part=sentence]');
    const map = document.querySelector('#overview canvas'), toggle = document.querySelector('#overview-switch');
    const there = sentence && sentence.textContent.includes(window.secret) && map && map.height > 0 && toggle.offsetHeight > 0;
    there ? requestAnimationFrame(() => done(performance.now())) : requestAnimationFrame(look);
  };
  look();
});
"""
"""When sentence, map and switch of the recorded example have been drawn: milliseconds since the visit began."""

SWITCHED = """() => new Promise(done => {
  const began = performance.now(), after = document.querySelector('#overview [data-part=off]');
  const before = after.textContent;
  document.querySelector('#overview-switch').click();
  const look = () => after.textContent !== before ? requestAnimationFrame(() => done(performance.now() - began))
    : requestAnimationFrame(look);
  look();
})"""
"""Milliseconds from the click on the switch until what is written without the neurons is drawn."""

WATCHED = """() => {
  window.told = {bar: [], map: []}; window.waits = []; window.steps = [];
  const watch = (name, part) => new MutationObserver(() => window.told[name].push(performance.now()))
    .observe(document.querySelector(part), {subtree: true, childList: true, characterData: true, attributes: true});
  watch('bar', '#localize-progress'); watch('map', '#heatmap');
  const bar = document.querySelector('#localize-progress span');
  new MutationObserver(() => window.steps.push(bar.textContent))
    .observe(bar, {subtree: true, childList: true, characterData: true});
  let last = performance.now();
  const tick = () => { const now = performance.now(); window.waits.push(now - last); last = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}"""
"""Notes when the progress and the map of a run change, what it says of its steps, and how long a frame took."""

STEP = re.compile(r"step (\d+) of")
FRAME = 40
"""Milliseconds: changes that follow each other faster belong to one frame."""


@contextmanager
def visit(browser: Browser) -> Iterator[tuple[Page, dict[str, int]]]:
    """A page with an empty cache, and the bytes that came over the wire by host."""
    page = browser.new_context(viewport=SIZE).new_page()
    page.set_default_timeout(60_000 * MINUTES_AT_MOST)
    page.add_init_script(f"window.secret = {json.dumps(read_example(RECORDED).secret.value)};{USEFUL}")
    sizes: dict[str, int] = {}
    hosts: dict[str, str] = {}
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")

    def finished(event: dict[str, Any]) -> None:
        host = hosts.get(event["requestId"], "")
        sizes[host] = sizes.get(host, 0) + int(event["encodedDataLength"])

    network.on(
        "Network.requestWillBeSent", lambda event: hosts.update({event["requestId"]: urlsplit(event["request"]["url"]).netloc})
    )
    network.on("Network.loadingFinished", finished)
    yield page, sizes
    page.context.close()


def opened(browser: Browser, address: str) -> dict[str, Any]:
    """One visit: seconds to the first paint, from there to the useful picture, and from the switch to before and after."""
    with visit(browser) as (page, sizes):
        page.goto(address, wait_until="commit")
        useful = page.evaluate("window.useful")
        painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        page.wait_for_timeout(SETTLED)
        own = urlsplit(address).netloc
        return {
            "first_paint_s": painted / 1000,
            "useful_after_paint_s": (useful - painted) / 1000,
            "switched_s": page.evaluate(SWITCHED) / 1000,
            "megabytes": sizes[own] / 1e6,
            "from_elsewhere": sorted(host for host in sizes if host and host != own),
        }


def live(browser: Browser, address: str) -> dict[str, float]:
    """A run of the mask that is watched: how often the page is told of it, and how long the page stood still at most."""
    with visit(browser) as (page, _):
        page.goto(address)
        page.locator("#examples label").nth(2).click()
        page.wait_for_timeout(SETTLED)
        page.get_by_role("tab", name="Localize").click()
        page.wait_for_timeout(SETTLED)
        page.evaluate(WATCHED)
        page.click("#localize-start")
        page.wait_for_function("!document.querySelector('#localize-cancel').disabled")
        page.evaluate("window.waits.length = 0")
        page.wait_for_function("document.querySelector('#localize-cancel').disabled")
        told, waits, bars = page.evaluate("[window.told, window.waits, window.steps]")
        steps = [int(found[1]) for found in map(STEP.search, bars) if found]
        return {
            "bar_a_second": a_second(told["bar"]),
            "map_a_second": a_second(told["map"]),
            "steps": max(steps),
            "steps_told": len(set(steps) - {0}),
            "longest_standstill_s": max(waits) / 1000,
        }


def a_second(times: list[float]) -> float:
    """How many frames a second these changes are, of which those within FRAME ms are one."""
    frames = [time for before, time in zip([-FRAME - 1.0, *times], times, strict=False) if time - before > FRAME]
    return 1000 * (len(frames) - 1) / (frames[-1] - frames[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visits", type=int, default=5)
    visits = parser.parse_args().visits
    with served("demo") as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
        each = [opened(browser, address) for _ in range(visits)]
        run = live(browser, address)
        browser.close()
    numbers = [name for name in each[0] if name != "from_elsewhere"]
    rows = [
        {"what": name, "median": median(one[name] for one in each), "worst": max(one[name] for one in each)} for name in numbers
    ]
    elsewhere = sorted({host for one in each for host in one["from_elsewhere"]})
    settings = {"visits": visits, **SIZE}
    print(json.dumps({"rows": rows, "from_elsewhere": elsewhere, "live": run, "settings": settings}, indent=1))


if __name__ == "__main__":
    main()
