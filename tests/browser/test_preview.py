"""While a mask is about to train, the map shows a gradient, and says that this is a preview."""

import json
import threading
from collections.abc import Iterator

import pytest

from privlens.localization import METHODS, Task
from privlens.localization.hard_concrete import hard_concrete
from privlens.types import LocalizationStep
from privlens.ui.text import en
from tests.browser.steps import STOPPED, Visit, choose_example, localize

SCALE = "(document.querySelector('#heatmap .cbtitle')?.textContent || '')"
CHOSEN = "document.querySelector('#neuron-toggles').innerText.match(/layer [0-9]+, neuron [0-9]+/g).join()"
PREVIEWED = f"{SCALE}.includes('preview by gradient')"


def test_a_preview_is_on_the_map_before_the_gates(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def held(task: Task) -> Iterator[LocalizationStep]:
        """The real training, which begins when the test says so."""
        for step in hard_concrete(task):
            while step.step and not go_on.wait(0.1):
                task.go_on()
            yield step

    monkeypatch.setitem(METHODS, "hard-concrete", held)
    page = visit.page
    choose_example(page)
    localize(page, "activations")
    kept = page.evaluate(CHOSEN)
    page.locator("#method input").click()
    page.get_by_role("option", name="hard-concrete", exact=True).click()
    page.click("#localize-start")
    page.wait_for_function(PREVIEWED)
    assert en.PREVIEW_NAME in page.inner_text("#localize-facts")
    page.click("#localize-cancel")
    page.wait_for_function(STOPPED)
    page.wait_for_function(f"{SCALE}.includes('norm of its output')")
    assert page.evaluate(CHOSEN) == kept

    page.click("#localize-start")
    page.wait_for_function(PREVIEWED)
    go_on.set()
    page.wait_for_function(f"{SCALE}.includes('how far closed')")
    assert en.PREVIEW_NAME not in page.inner_text("#localize-facts")
    page.wait_for_function(STOPPED)
    page.wait_for_function(f"{SCALE}.includes('place in the mask')")
    page.click("#undo")
    page.wait_for_function(f"{CHOSEN} === {json.dumps(kept)}")
    assert not visit.errors
