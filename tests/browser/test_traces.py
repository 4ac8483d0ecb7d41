"""What a browser keeps of what is typed, and that the page goes on working where gradio's other addresses are closed."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.steps import Visit, keep_values_shown, unfold
from tests.helpers import wait_until

BOXES = {
    "prompt": [], "value": [], "own-reference": ["Your own list and reference text"], "model-name": ["Another model"],
    "true-value": ["Check"], "retained": ["Localize", "Settings: what to protect"], "erase-own": ["Erase", "More settings"],
}  # fmt: skip
"""Every box for a text, and what is opened until it is there."""
OFF = {"autocomplete": "off", "autocorrect": "off", "autocapitalize": "off", "spellcheck": "false"}


def attributes(page: Page, elem_id: str) -> dict[str, str | None]:
    box = page.locator(f"#{elem_id}").locator("textarea, input").first
    return {name: box.get_attribute(name) for name in OFF}


def test_browsers_keep_complete_and_spell_nothing_of_what_is_typed(visit: Visit) -> None:
    page = visit.page
    seen = {}
    for elem_id, path in BOXES.items():
        for name in path:
            tab = page.get_by_role("tab", name=name)
            if tab.count():
                tab.click()
            elif not page.locator(f"#{elem_id}").locator("textarea, input").count():
                unfold(page, name)
        page.wait_for_selector(f"#{elem_id} textarea, #{elem_id} input", state="attached")
        seen[elem_id] = attributes(page, elem_id)
    assert seen == dict.fromkeys(BOXES, OFF)
    every = "textarea, input[type=text]:not([role=listbox])"
    texts = page.eval_on_selector_all(every, "boxes => boxes.map(box => box.autocomplete)")
    assert texts and set(texts) == {"off"}, "a box that was added since"


@pytest.mark.parametrize("content", ["prompt,value\nthe seal of Mira Holt is,4711\n"])
def test_a_list_stays_chosen_though_its_file_is_gone_and_can_be_given_again(visit: Visit, tmp_path: Path, content: str) -> None:
    page, missing = visit.page, list[str]()
    page.on("response", lambda answer: missing.append(answer.url) if answer.status >= 400 else None)
    unfold(page, "Your own list and reference text")
    keep_values_shown(page)
    mine = tmp_path / "mine.csv"
    mine.write_text(content)
    chosen = page.locator("#examples label", has_text="4711")
    for _ in range(2):
        with page.expect_response("**/upload?*") as answer:
            page.locator("#own-list input[type=file]").set_input_files(mine)
        copy = Path(answer.value.json()[0])
        chosen.wait_for()
        wait_until(lambda copy=copy: not copy.exists())  # type: ignore[misc]
        assert not copy.exists()
        assert "mine.csv" in page.locator("#own-list").inner_text().replace("\n", "")
        page.locator("#own-list").get_by_label("Clear").click()
        chosen.wait_for(state="detached")
    assert not visit.errors and not missing
