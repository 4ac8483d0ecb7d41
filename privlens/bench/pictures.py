"""What the clickable picture costs in a browser: its size, the time until it stands there, and the answer to a click.

Serves the page for a random model of the bundled model's size and for one with as many neurons as seven billion parameters have,
and visits both with Chromium, one after the other, so that their ratio says more than either number. Both models are next to
nothing on a thin residual stream: only the pictures are measured. Needs what requirements-dev.txt names.
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
"""Layers and neurons in each: those of `demo`, and of a large model."""
THIN = 8
PATIENCE = 180_000
"""Milliseconds."""
WATCH = """
window.pictures = [];
const own = JSON.parse;
let arrived = null, plotly;
JSON.parse = (text, ...rest) => {
  if (typeof text === 'string' && text.startsWith('{"data"')) arrived = { bytes: text.length, at: performance.now() };
  return own(text, ...rest);
};
Object.defineProperty(window, 'Plotly', { configurable: true, get: () => plotly, set: given => {
  const react = given.react;
  given.react = async (div, ...rest) => {
    const { bytes, at } = arrived, found = await react(div, ...rest);
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    const part = div.closest('#heatmap, #square');
    if (part) window.pictures.push({ part: part.id, bytes, at, end: performance.now() });
    return found;
  };
  plotly = given;
} });
"""
"""Writes down every picture that was drawn: how long its text is, when it arrived and when it was painted, in milliseconds."""
CELL = """([part, column, row]) => {
  const div = document.querySelector(`#${part} .plot`), box = div.getBoundingClientRect(), l = div._fullLayout;
  return [box.left + l.xaxis._offset + l.xaxis.d2p(column), box.top + l.yaxis._offset + l.yaxis.d2p(row)];
}"""
OFF = "+document.querySelector('#choice-facts .fact-value').textContent.replaceAll(',', '')"


@dataclass(frozen=True)
class PictureRow:
    """One visit: characters of the first picture's text; seconds from Start until it was painted, and of these from its arrival
    in the browser on; from a click on its last layer until that layer was painted (None where single neurons are drawn at once);
    from a click on a neuron until it counted as off and was painted so."""

    layers: int
    neurons: int
    characters: int
    first_s: float
    drawing_s: float
    layer_s: float | None
    neuron_s: float


def visit(page: Page, layers: int, neurons: int, prompt: str, value: str) -> PictureRow:
    """Localizes by chance, opens the last layer, switches one of its neurons off."""
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
    page.wait_for_timeout(2000)  # until nothing is drawn any more
    first = _pictures(page, "heatmap")[0]
    meta = page.evaluate("document.querySelector('#heatmap .plot').layout.meta")
    opening = None
    if meta["per"] > 1:
        opening = _click(page, "heatmap", meta["columns"] // 2, (layers - 1) * meta["rows"], "square", "true")
    off = page.evaluate(OFF)
    switching = _click(page, "square", 3, 0, "square", f"{OFF} !== {off}")
    return PictureRow(
        layers, neurons, first["bytes"], (first["end"] - began) / 1000, (first["end"] - first["at"]) / 1000, opening, switching
    )


def _pictures(page: Page, part: str) -> list[dict[str, Any]]:
    return [one for one in page.evaluate("window.pictures") if one["part"] == part]


def _click(page: Page, clicked: str, column: int, row: int, drawn: str, then: str) -> float:
    """Seconds from a click on a cell until a picture was painted anew and `then` holds."""
    page.locator(f"#{clicked}").scroll_into_view_if_needed()
    x, y = page.evaluate(CELL, [clicked, column, row])
    page.mouse.move(x, y)
    page.wait_for_timeout(300)  # plotly's hover goes before its click
    before, began = len(_pictures(page, drawn)), page.evaluate("performance.now()")
    page.mouse.click(x, y)
    page.wait_for_function(f"window.pictures.filter(one => one.part === '{drawn}').length > {before} && {then}")
    return (page.evaluate("performance.now()") - began) / 1000  # type: ignore[no-any-return]


def rows(repeats: int) -> Iterator[PictureRow]:
    """Every visit but the first to each page, the small one's before the large one's."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        for layers, neurons in SIZES:
            lm = random_gpt2(layers, neurons, 64, hidden=THIN)
            secret = random_secret(lm, 8, 1)
            lm.model.save_pretrained(Path(place) / str(layers))
            lm.tokenizer.save_pretrained(Path(place) / str(layers))
            with served(str(Path(place) / str(layers))) as (address, _):
                for at in range(1 + repeats):
                    context = chromium.new_context(viewport={"width": 1280, "height": 900})
                    context.set_default_timeout(PATIENCE)
                    context.add_init_script(WATCH)
                    page = context.new_page()
                    page.goto(address)
                    page.wait_for_selector("#examples label")
                    seen = visit(page, layers, neurons, secret.prompt, secret.value)
                    context.close()
                    if at:  # the first visit finds nothing in any cache
                        yield seen
        chromium.close()


def main(repeats: Annotated[int, typer.Option(min=1, help="Visits to each page; the median counts.")] = 3) -> None:
    """Print what the picture of a small and of a large model costs, and how many times as much the large one does."""
    found = pd.DataFrame([asdict(row) for row in rows(repeats)])
    found.insert(0, "model", found.pop("layers").astype(str) + " x " + found.pop("neurons").astype(str))
    table = found.astype({"layer_s": float}).groupby("model", sort=False).median()
    table.loc["ratio"] = table.iloc[1] / table.iloc[0]
    typer.echo(table.to_string(float_format=lambda number: f"{number:,.2f}", na_rep="-"))


if __name__ == "__main__":
    typer.run(main)
