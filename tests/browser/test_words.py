"""Words of the glossary are explained where they stand: by pointer, by keys and by touch, and never where private text is."""

import json

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page

from privlens.ui.components.terms import glossary_script
from privlens.ui.manual import PATH, glossary
from tests.browser.conftest import PATIENCE
from tests.browser.steps import MOUNTED, Visit, check, choose_example, localize, open_tab
from tests.browser.test_reach import AXE

OPEN = ".term-tip:not([hidden])"
CLOSED = f"!document.querySelector({json.dumps(OPEN)})"
WORD = "#check-facts dfn.term:visible"
APART = """([word, tip]) => {
    const [a, b] = [document.querySelectorAll(word)[0], document.querySelector(tip)].map(part => part.getBoundingClientRect());
    return {
        apart: a.bottom <= b.top || b.bottom <= a.top,
        inside: b.left >= 0 && b.top >= 0 && b.right <= innerWidth && b.bottom <= innerHeight,
    };
}"""
MEANING = {word: entry.meaning for entry in glossary() for word in entry.words}


def said(page: Page) -> str:
    """The one meaning that is shown, once it is."""
    page.wait_for_selector(OPEN)
    assert page.locator(OPEN).count() == 1
    return page.inner_text(OPEN)


def test_a_word_is_explained_by_pointer_and_by_keys_beside_what_is_pointed_at(visit: Visit) -> None:
    page = visit.page
    choose_example(page)
    check(page)
    page.wait_for_selector(WORD)
    for look, width in (("light", 1280), ("dark", 390)):
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate(f"document.body.classList.toggle('dark', {json.dumps(look == 'dark')})")
        if page.locator("#done").is_visible():
            page.click("#done")
        page.evaluate(MOUNTED)
        page.wait_for_timeout(500)  # the sidebar moves away
        word = page.locator(WORD, has_text="tries")
        word.hover()
        assert MEANING["tries"] in said(page)
        box = page.locator(OPEN).bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 5, box["y"] + 5)  # onto the meaning, which stays
        page.wait_for_timeout(600)
        assert MEANING["tries"] in said(page)
        assert page.evaluate(APART, ["#check-facts dfn.term", OPEN]) == {"apart": True, "inside": True}
        page.mouse.move(2, 2)
        page.wait_for_function(CLOSED)
        word.focus()
        assert MEANING["tries"] in said(page)
        assert page.get_attribute(OPEN, "role") == "tooltip"
        assert word.get_attribute("aria-describedby") == page.get_attribute(OPEN, "id")
        page.keyboard.press("Escape")
        page.wait_for_function(CLOSED)
        assert page.evaluate("document.activeElement.matches('dfn.term')"), "the focus stays"
        page.keyboard.press("Tab")
        assert MEANING["exposure in the whole format"] in said(page)
        page.keyboard.press("Tab")
        page.wait_for_function(CLOSED)
    page.evaluate(AXE_SCRIPT)
    word.focus()
    page.wait_for_selector(OPEN)
    assert page.evaluate(AXE, None) == []
    assert not visit.errors


def test_a_tap_explains_a_word_and_a_tap_elsewhere_ends_it(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#examples label")
    page.get_by_role("tab", name="Check").tap()
    page.evaluate(MOUNTED)
    page.locator("[role=tabpanel] [data-testid=markdown] dfn.term:visible", has_text="secret").tap()
    assert MEANING["secret"] in said(page)
    page.locator("#header-line").tap()
    page.wait_for_function(CLOSED)
    context.close()


def test_private_text_and_what_the_model_writes_are_not_touched(visit: Visit) -> None:
    page = visit.page
    choose_example(page)
    page.locator("#prompt textarea").fill("The control of the secret neurons is")
    page.locator("#value").locator("input, textarea").fill("<b>gate</b> exposure")
    open_tab(page, "Check")
    page.click("#check-start")
    page.wait_for_selector(WORD)
    inside = [
        "#prompt",
        "#value",
        ".marked",
        ".tokens",
        "#header-line",
        "#examples label",
        "td",
        ".plot",
        "textarea",
        "a",
        "button",
    ]
    for place in inside:
        assert page.locator(f"{place} dfn.term").count() == 0, place
    intro = "[role=tabpanel]:has(#check-start) [data-testid=markdown] p"
    page.evaluate("at => { document.querySelector(at).firstChild.data = 'A dimmer, and <b>gate</b> exposure.'; }", intro)
    page.wait_for_timeout(500)
    assert page.locator(intro).first.inner_text() == "A dimmer, and <b>gate</b> exposure."
    assert page.locator(f"{intro} dfn.term").count() == 0, "a text that holds the value stays whole"
    hidden = "[...document.querySelectorAll('dfn.term')].every(word => !privlens.holdsValue(word.parentElement.textContent))"
    assert page.evaluate(hidden)
    assert page.evaluate("privlens.holdsValue('so it is: <b>gate</b> exposure')")
    words = page.locator("dfn.term").all_inner_texts()
    assert len(words) > 5 and all(page.locator("dfn.term").nth(at).locator("*").count() == 0 for at in range(len(words)))
    assert not visit.errors


def test_a_text_that_is_written_anew_stands_there_once(visit: Visit) -> None:
    """gradio keeps its text nodes and changes what they say; a number that changes keeps the focus on the word that names it."""
    page = visit.page
    open_tab(page, "Check")
    place = "[role=tabpanel]:has(#check-start) [data-testid=markdown] p"
    page.wait_for_selector(f"{place} dfn.term")
    before = page.locator(place).first.inner_text()
    page.evaluate("place => { document.querySelector(place).firstChild.data = 'Now the gate and the dimmer.'; }", place)
    page.wait_for_function("place => document.querySelector(place).querySelectorAll('dfn.term').length === 2", arg=place)
    assert page.locator(place).first.inner_text() == "Now the gate and the dimmer." != before
    choose_example(page)
    localize(page, "activations")
    word = page.locator("#choice-facts dfn.term").first
    word.focus()
    page.evaluate("document.querySelector('#neuron-toggles input').click()")
    page.wait_for_function("document.querySelector('#choice-facts').innerText.includes('1 switched back on')")
    assert page.evaluate("document.activeElement.matches('#choice-facts dfn.term')")
    assert not visit.errors


def test_the_glossary_cannot_end_its_script(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = type(glossary()[0])(("word",), "</script><img src=x>")
    monkeypatch.setattr("privlens.ui.components.terms.glossary", lambda: (entry,))
    assert glossary_script().count("</script>") == 1 and "<img" not in glossary_script()


def test_each_tabs_help_opens_its_page_beside_this_one(visit: Visit) -> None:
    page = visit.page
    open_tab(page, "Erase")
    with page.context.expect_page() as opened:
        page.locator("#help-erase a").click()
    manual = opened.value
    manual.wait_for_load_state()
    assert manual.url.endswith(f"{PATH}/erasing#on-the-page")
    assert manual.locator("h1").inner_text() == "Erasing"
    manual.evaluate(AXE_SCRIPT)
    for look, width in (("light", 1280), ("dark", 390)):
        manual.emulate_media(color_scheme="dark" if look == "dark" else "light")
        manual.set_viewport_size({"width": width, "height": 800})
        assert manual.evaluate(AXE, None) == []
        assert manual.evaluate("document.documentElement.scrollWidth <= innerWidth")
    manual.get_by_role("link", name="Glossary").click()
    manual.wait_for_selector("h1:has-text('Glossary')")
    assert visit.hosts == {"127.0.0.1"} and not visit.errors
