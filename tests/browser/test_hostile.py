"""Text that would be code somewhere stays text: lists, model names, edits, toasts, tables, pictures and what hovers."""

import csv
import shutil
from pathlib import Path

import numpy as np
from playwright.sync_api import Page

from privlens.lm.edit_files import save_edit
from privlens.lm.model import LanguageModel
from privlens.provenance import provenance
from privlens.types import Change, Edit
from tests.browser.steps import (
    FACTS,
    Visit,
    another_model,
    answer,
    keep_values_shown,
    localize,
    open_tab,
    press_check,
    show_tokens,
    told,
    unfold,
    vote,
)
from tests.helpers import TAUGHT

IMAGE = "<img src=x onerror=window.__pwned=1>"
PAYLOADS = [
    f"{IMAGE}<b>bold",
    "<svg onload=window.__pwned=1>",
    "<script>window.__pwned=1</script>",
    "${window.__pwned=1}",
    "{{constructor.constructor('window.__pwned=1')()}}",
    "[here](javascript:window.__pwned=1)",
    "![x](http://pwned.example/x.png)",
    '<a href="javascript:window.__pwned=1">a',
    '<a href="http://pwned.example/">b</a>',
    '"><iframe srcdoc="<script>parent.__pwned=1</script>">',
    "\u202e\u2066dlrow\u2069",
    "$x^2$ <i>i</i> &lt;u&gt;",
]
LONG = IMAGE + "long" * 400
INJECTED = ", ".join(
    ["[onerror]", "[onload]", "a[href^='javascript']", "[src*='pwned.example']", "[*|href*='pwned.example']", "img[src='x']",
     "iframe[srcdoc]", ".main-svg a",
     *(f"{where} {what}" for where in ("label", "td") for what in ("b", "i", "a:not(.download-link)"))]
)  # fmt: skip
"""Elements that only a payload would make."""


def write_list(path: Path) -> None:
    """A list with a payload in every cell of some row, one more category that is long, and rows that are left out."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["prompt", "value", "category", "repeats"])
        rows.writerow([TAUGHT[1].prompt, PAYLOADS[0], PAYLOADS[0], 2])
        rows.writerows([f"{payload} reads", payload, payload, 1] for payload in PAYLOADS)
        rows.writerow([TAUGHT[0].prompt, TAUGHT[0].value, LONG, 1])
        rows.writerows([TAUGHT[0].prompt, "x", "", payload] for payload in PAYLOADS[:3])


def look(visit: Visit, *where: str) -> None:
    """Moves the mouse over the pictures, so that all that hovers is drawn; then asserts that nothing came of any payload."""
    page = visit.page
    for plot in where:
        page.wait_for_selector(f"#{plot} .main-svg")
        page.locator(f"#{plot}").scroll_into_view_if_needed()
        box = page.locator(f"#{plot} .nsewdrag").first.bounding_box()
        assert box
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] * 0.6)
            page.wait_for_timeout(60)
            assert page.locator(INJECTED).count() == 0
    unharmed(visit)


def unharmed(visit: Visit) -> None:
    assert visit.page.evaluate("window.__pwned") is None
    injected = visit.page.locator(INJECTED)
    assert [injected.nth(at).evaluate("part => part.outerHTML") for at in range(injected.count())] == []
    assert visit.hosts <= {"127.0.0.1", "localhost", ""}
    assert visit.dialogs == []
    assert visit.errors == []


def load_by_name(page: Page, name: str) -> None:
    page.locator("#model-name").locator("input, textarea").fill(name)
    page.click("#load-model")


def test_hostile_text_stays_text_everywhere(visit: Visit, taught: LanguageModel, taught_folder: str, tmp_path: Path) -> None:
    page, hostile = visit.page, tmp_path / f"{IMAGE}${{window.__pwned=1}}{{{{7*7}}}}"
    shutil.copytree(taught_folder, hostile)
    page.wait_for_selector("#examples label")
    another_model(page, "")
    load_by_name(page, f"no/{IMAGE}")
    assert "<img" not in told(page, "No model is loaded from there"), "no hub id, so the name is not even repeated"
    load_by_name(page, str(hostile))
    page.wait_for_function("document.querySelector('#model-facts').textContent.includes('2 x 64')")
    assert IMAGE in page.inner_text("#model-facts")
    unharmed(visit)

    unfold(page, "Your own list and reference text")
    keep_values_shown(page)
    write_list(tmp_path / f"{IMAGE}.csv")
    page.locator("#own-list input[type=file]").set_input_files(tmp_path / f"{IMAGE}.csv")
    page.wait_for_function(f"document.querySelector('#own-list-said textarea')?.value.includes({IMAGE!r})")
    page.locator("#category input").click()
    options = "\n".join(page.get_by_role("option").all_inner_texts())
    assert all(payload in options for payload in PAYLOADS)
    page.get_by_role("option", name="all categories", exact=True).click()
    page.wait_for_function(f"document.querySelectorAll('#examples label').length >= {len(PAYLOADS)}")  # LONG goes
    unharmed(visit)

    page.locator("#examples label", has_text=PAYLOADS[0]).first.click()
    page.wait_for_function(f"document.querySelector('#value input, #value textarea').value === {PAYLOADS[0]!r}")
    press_check(page)
    answer(page)
    show_tokens(page)
    look(visit, "check-bars")

    parameter, weight = next(iter(taught.model.named_parameters()))
    old = weight.detach().flatten()[:1].numpy().astype(np.float32)
    made = provenance(taught, 0, {"method": PAYLOADS[0]}, 0.0)
    save_edit(Edit({parameter: Change(np.array([0]), old, old)}, made), tmp_path / f"{IMAGE}.safetensors")
    open_tab(page, "Erase")
    page.set_input_files("input[type=file][accept*=safetensors]", tmp_path / f"{IMAGE}.safetensors")
    page.wait_for_selector("#edits input")
    assert PAYLOADS[0] in page.inner_text("#edits")
    (tmp_path / f"{IMAGE}2.safetensors").write_text(IMAGE)
    page.set_input_files("input[type=file][accept*=safetensors]", tmp_path / f"{IMAGE}2.safetensors")
    assert "onerror=window.__pwned" in told(page, "is not an edit")
    unharmed(visit)

    localize(page, "gradient")
    page.click("#to-deactivate")
    page.wait_for_function(FACTS.format("effect-facts"))
    page.click("#measure-start")
    page.wait_for_function(FACTS.format("measure-facts"))
    page.wait_for_selector("#others table")
    assert PAYLOADS[1] in page.inner_text("#others")
    assert page.locator("#others").get_by_role("button", name="copy").count() == 0, "a spreadsheet would run what it pastes"
    look(visit, "effect-bars")

    vote(page, PAYLOADS[1])
    look(visit, "many-overlap", "many-means")
