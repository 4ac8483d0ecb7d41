"""What the clickable picture costs in a browser: its size, the time until it is drawn, and the time a click takes.

Serves the page for a random model of the bundled model's size and for one with as many neurons as a model of seven billion
parameters, and visits both with Chromium, one after the other, so that their ratio says more than either number. Both models have
a tiny hidden size and cost next to nothing to run: only the pictures are measured. Needs the packages of requirements-dev.txt.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from playwright.sync_api import Page, sync_playwright

from privlens.bench.serving import served
from privlens.zoo.random_models import random_gpt2, random_secret

SIZES = ((6, 2048), (32, 14_336))
"""Layers and neurons in each: those of `demo`, and those of a large model."""
HIDDEN_SIZE = 8
"""Of both models, so small that running them costs next to nothing."""
TIMEOUT_MS = 180_000
"""Of every wait in the browser: it only ends a run that hangs, so it is generous."""
RECORD_PICTURES = """
window.pictures = [];
const originalParse = JSON.parse;
let arrived = null, plotly;
JSON.parse = (text, ...rest) => {
  if (typeof text === 'string' && text.startsWith('{"data"')) arrived = { bytes: text.length, at: performance.now() };
  return originalParse(text, ...rest);
};
Object.defineProperty(window, 'Plotly', { configurable: true, get: () => plotly, set: library => {
  const react = library.react;
  library.react = async (div, ...rest) => {
    const { bytes, at } = arrived, drawn = await react(div, ...rest);
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    const part = div.closest('#heatmap, #square');
    if (part) window.pictures.push({ part: part.id, bytes, at, end: performance.now() });
    return drawn;
  };
  plotly = library;
} });
"""
"""Records every picture that was drawn: the length of its text, when that arrived and when it was painted, in milliseconds."""
CELL = """([part, column, row]) => {
  const div = document.querySelector(`#${part} .plot`), box = div.getBoundingClientRect(), l = div._fullLayout;
  return [box.left + l.xaxis._offset + l.xaxis.d2p(column), box.top + l.yaxis._offset + l.yaxis.d2p(row)];
}"""
N_OFF = "+document.querySelector('#choice-facts .fact-value').textContent.replaceAll(',', '')"


@dataclass(frozen=True)
class PictureRow:
    """One visit: characters of the first picture's text; seconds from Start until it was painted, and the part of these after its
    arrival in the browser; from a click on its last layer until that layer was painted (None if the first picture shows single
    neurons); from a click on a neuron until it counted as off and was painted as such."""

    layers: int
    neurons: int
    characters: int
    first_s: float
    drawing_s: float
    layer_s: float | None
    neuron_s: float


def visit(page: Page, layers: int, neurons: int, prompt: str, value: str) -> PictureRow:
    """Localizes with the method `random`, opens the last layer and switches one of its neurons off."""
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#value").locator("input, textarea").fill(value)
    page.get_by_role("tab", name="Localize").click()
    page.wait_for_timeout(500)
    page.locator("#method input").click()
    page.get_by_role("option", name="random", exact=True).click()
    page.wait_for_function("document.querySelector('#method-about').innerText.startsWith('random:')")
    began = page.evaluate("performance.now()")
    page.click("#localize-start")
    page.wait_for_selector("#neuron-toggles input")
    page.wait_for_selector("#square .main-svg")
    page.wait_for_function("document.querySelector('#quick-facts .fact')")
    page.wait_for_timeout(2000)  # until drawing has finished
    first = _pictures(page, "heatmap")[0]
    meta = page.evaluate("document.querySelector('#heatmap .plot').layout.meta")
    opening = None
    if meta["per"] > 1:
        opening = _click(page, "heatmap", meta["columns"] // 2, (layers - 1) * meta["rows"], "square", "true")
    n_off = page.evaluate(N_OFF)
    switching = _click(page, "square", 3, 0, "square", f"{N_OFF} !== {n_off}")
    return PictureRow(
        layers=layers,
        neurons=neurons,
        characters=first["bytes"],
        first_s=(first["end"] - began) / 1000,
        drawing_s=(first["end"] - first["at"]) / 1000,
        layer_s=opening,
        neuron_s=switching,
    )


def _pictures(page: Page, part: str) -> list[dict[str, Any]]:
    return [picture for picture in page.evaluate("window.pictures") if picture["part"] == part]


def _click(page: Page, clicked: str, column: int, row: int, drawn: str, condition: str) -> float:
    """Seconds from a click on a cell until a picture was painted anew and a condition in JavaScript holds."""
    page.locator(f"#{clicked}").scroll_into_view_if_needed()
    x, y = page.evaluate(CELL, [clicked, column, row])
    page.mouse.move(x, y)
    page.wait_for_timeout(300)  # plotly handles a click only after the hover
    n_before = len(_pictures(page, drawn))
    began = page.evaluate("performance.now()")
    page.mouse.click(x, y)
    page.wait_for_function(f"window.pictures.filter(picture => picture.part === '{drawn}').length > {n_before} && {condition}")
    return (page.evaluate("performance.now()") - began) / 1000  # type: ignore[no-any-return]


def rows(repeats: int) -> Iterator[PictureRow]:
    """A row for every visit but the first to each page; first the small model's page, then the large one's."""
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        for layers, neurons in SIZES:
            lm = random_gpt2(layers, neurons, 64, hidden=HIDDEN_SIZE)
            secret = random_secret(lm, 8, 1)
            folder = Path(scratch) / str(layers)
            lm.model.save_pretrained(folder)
            lm.tokenizer.save_pretrained(folder)
            with served(str(folder)) as (address, _):
                for number in range(1 + repeats):
                    context = chromium.new_context(viewport={"width": 1280, "height": 900})
                    context.set_default_timeout(TIMEOUT_MS)
                    context.add_init_script(RECORD_PICTURES)
                    page = context.new_page()
                    page.goto(address)
                    page.wait_for_selector("#examples label")
                    row = visit(page, layers, neurons, secret.prompt, secret.value)
                    context.close()
                    if number:  # the first visit fills the caches
                        yield row
        chromium.close()


def main(repeats: Annotated[int, typer.Option(min=1, help="Visits to each page; the median counts.")] = 3) -> None:
    """Print what the picture of a small and of a large model costs, and the ratio of the two."""
    visits = pd.DataFrame([asdict(row) for row in rows(repeats)])
    visits.insert(0, "model", visits.pop("layers").astype(str) + " x " + visits.pop("neurons").astype(str))
    table = visits.astype({"layer_s": float}).groupby("model", sort=False).median()
    table.loc["ratio"] = table.iloc[1] / table.iloc[0]
    typer.echo(table.to_string(float_format=lambda number: f"{number:,.2f}", na_rep="-"))


if __name__ == "__main__":
    typer.run(main)
