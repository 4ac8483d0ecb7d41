"""What a visitor does on the page again and again."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page, TimeoutError

from tests.helpers import TAUGHT

IDLE = "document.querySelector('#{0}-cancel').disabled && !document.querySelector('#{0}-start').disabled"
STOPPED = IDLE.format("localize")
MOUNTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))"
"""gradio mounts what a tab or an accordion holds when it is first opened, and a frame later sets everything to its first value,
over what was entered by then. A person is not that fast; a test is."""
IN_PLACE = "document.querySelector('#model-facts').innerText.includes('active edits')"
CHECKED = "/emorized: |Not memorized/.test(document.querySelector('#check-verdict strong').innerText)"
FACTS = "document.querySelectorAll('#{} .fact').length > 0"
TEXT = """(part => {{
    const trackers = [...part.querySelectorAll('[data-testid="status-tracker"]')];
    trackers.forEach(tracker => {{ tracker.style.display = 'none'; }});
    const text = part.innerText;
    trackers.forEach(tracker => {{ tracker.style.display = ''; }});
    return text;
}})(document.querySelector('#{}'))"""
"""What stands in a part, without gradio's own "queue: 1/1" over it, which comes and goes when it likes."""


def told(page: Page, words: str) -> str:
    """Waits until a toast has said these words, now or before; returns all that it said."""
    page.wait_for_function(_said(words))
    return str(page.evaluate(_said(words)))


def _said(words: str) -> str:
    return f"window.toasts.find(toast => toast.includes({json.dumps(words)}))"


def press_until_told(page: Page, button: str, words: str) -> None:
    """Presses a button again and again until a toast says these words: a press before its last answer has quite ended is lost."""
    for _ in range(60):
        page.click(button)
        try:
            page.wait_for_function(_said(words), timeout=2000)
        except TimeoutError:
            continue
        return
    raise AssertionError(f"no toast says {words!r}")


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    page.evaluate(MOUNTED)


def unfold(page: Page, title: str) -> None:
    """Opens an accordion."""
    page.get_by_role("button", name=title).click()
    page.evaluate(MOUNTED)


def text_of(page: Page, part: str) -> str:
    """What a visitor reads in the part of this id."""
    return str(page.evaluate(TEXT.format(part)))


def value_of(page: Page) -> str:
    """The private value in the sidebar."""
    return str(page.locator("#value").locator("input, textarea").input_value())


def press_check(page: Page) -> None:
    """Asks about the secret in the sidebar."""
    open_tab(page, "Check")
    page.click("#check-start")


def ask(page: Page) -> None:
    """Asks whether the secret in the sidebar is memorized, and does not wait for the answer."""
    open_tab(page, "Check")
    page.wait_for_function("!" + CHECKED)
    page.click("#check-start")


def answer(page: Page) -> str:
    """The verdict, once it is there."""
    page.wait_for_function(CHECKED)
    return str(page.inner_text("#check-verdict strong"))


def show_tokens(page: Page) -> None:
    """Opens the tables of a check."""
    unfold(page, "Token by token")
    page.wait_for_selector("#check-bars .main-svg")


def check(page: Page) -> str:
    """Asks, and waits for the verdict."""
    ask(page)
    return answer(page)


def choose_example(page: Page) -> str:
    """Picks the most repeated phone number; returns its value once both boxes hold it."""
    page.locator("#category input").click()
    page.get_by_role("option", name="phone").click()
    page.locator("#examples label", has_text="-").first.click()
    page.wait_for_function("document.querySelector('#value input, #value textarea').value !== ''")
    return value_of(page)


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
    page.wait_for_selector("#localize-made .strip[data-kind=current]")  # it comes last, and moves all that stands below it


def finished(page: Page, run: str) -> None:
    """Waits for a run's end; a run that ended has no bar."""
    page.wait_for_function(IDLE.format(run))
    page.wait_for_function(f"document.querySelector('#{run}-progress .run').hidden")


def vote(page: Page, value: str) -> None:
    """Lets the secrets that are ticked vote by gradient, once this value is among them, and waits for the end."""
    open_tab(page, "Many secrets")
    page.wait_for_selector(f"#many-secrets label:has-text({value!r})")
    page.locator("#many-method input").click()
    page.get_by_role("option", name="gradient", exact=True).click()
    page.click("#many-start")
    page.wait_for_selector("#many-overlap .main-svg")
    finished(page, "many")


def keep_values_shown(page: Page) -> None:
    """Says that values are to be shown, before a list of one's own would hide them."""
    page.click("#mask")
    page.click("#mask")


def another_model(page: Page, name: str) -> None:
    """Opens "Another model" and types a name into it."""
    unfold(page, "Another model")
    page.locator("#model-name").locator("input, textarea").fill(name)


def bring(page: Page, folder: str) -> None:
    """Loads the taught model and its own list of secrets, and chooses the first of them."""
    another_model(page, folder)
    page.click("#load-model")
    page.wait_for_function("document.querySelector('#model-facts').textContent.includes('2 x 64')")
    unfold(page, "Your own list and reference text")
    keep_values_shown(page)
    page.locator("#own-list input[type=file]").set_input_files(Path(folder) / "secrets.csv")
    page.locator("#examples label", has_text=TAUGHT[0].value).click()
    page.wait_for_function(f"document.querySelector('#prompt textarea').value === {TAUGHT[0].prompt!r}")


@dataclass
class Visit:
    """One visitor's page, with what it asked for and what went wrong in it."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def neurons_off(page: Page) -> int:
    return int(page.locator("#choice-facts .fact-value").first.inner_text().replace(",", ""))


def wait_for_off(page: Page, count: int) -> None:
    page.wait_for_function(f"document.querySelector('#choice-facts .fact-value')?.textContent === '{count:,}'")


def cell_of(page: Page, plot: str, x: int, y: int) -> tuple[float, float]:
    """Where on the screen a cell's middle is, once nothing above it moves it any more."""
    page.locator(f"#{plot}").scroll_into_view_if_needed()
    before: list[float] = []
    for _ in range(40):
        place = page.evaluate(
            """([plot, x, y]) => {
                const div = document.querySelector(`#${plot} .plot`), box = div.getBoundingClientRect(), l = div._fullLayout;
                return [box.left + l.xaxis._offset + l.xaxis.d2p(x), box.top + l.yaxis._offset + l.yaxis.d2p(y)];
            }""",
            [plot, x, y],
        )
        if place == before:
            break
        before = place
        page.wait_for_timeout(250)
    return place[0], place[1]
