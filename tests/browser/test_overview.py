"""The page opens filled: one click to before and after, and from there to the live model."""

import pytest
from playwright.sync_api import Page

from privlens.recorded import read_example
from privlens.resources import RECORDED
from privlens.types import Neuron
from tests.browser.steps import FACTS, Visit, bring, open_tab, value_of, wait_for_off

ANSWERED = "document.querySelector('#overview [data-part=verdict]').dataset.kind"

COUNTED = """
window.looked = 0;
window.Proxy = new Proxy(Proxy, { construct: (made, [thing, handler]) => new made(thing, { ...handler, get: (of, key, by) => {
    window.looked += key === 'children';
    return handler.get ? handler.get(of, key, by) : Reflect.get(of, key, by);
}})});
"""
"""Counts how often gradio looks below a part of the page, as it does from part to part to find one."""


def searched(page: Page) -> int:
    """How often gradio has looked below a part, once it has not done so for two seconds."""
    before, now = -1, 0
    while now != before:
        page.wait_for_timeout(2000)
        before, now = now, int(page.evaluate("window.looked"))
    return now


def part(visit: Visit, name: str) -> str:
    return visit.page.locator(f"#overview [data-part='{name}']").inner_text()


def test_without_a_click_the_secret_is_there_and_one_click_shows_what_is_written_without_its_neurons(visit: Visit) -> None:
    page, example = visit.page, read_example(RECORDED)
    assert part(visit, "sentence").endswith(example.secret.value)
    assert part(visit, "on").startswith(example.secret.value)
    assert example.secret.value not in part(visit, "off") + part(visit, "random"), "not before the switch"
    assert page.evaluate(ANSWERED) == "known"
    assert page.evaluate("typeof window.Plotly") == "undefined", "it comes with the first figure"

    page.click("#overview-switch")
    assert page.get_attribute("#overview-switch", "aria-checked") == "false"
    assert part(visit, "off").startswith(example.closed.text.strip()[:8])
    assert part(visit, "random").startswith(example.random.text.strip()[:8])
    assert page.evaluate(ANSWERED) == "unknown"
    page.focus("#overview-switch")
    page.keyboard.press("Space")
    assert page.evaluate(ANSWERED) == "known"
    assert not visit.errors


def test_the_first_load_is_small_and_brings_every_script_once(visit: Visit) -> None:
    page, sizes = visit.page, list[int]()
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.reload()
    page.wait_for_selector("#overview-switch")
    page.evaluate("document.fonts.ready.then(() => true)")
    assert 100_000 < sum(sizes) < 1_500_000
    scripts = page.evaluate("window.gradio_config.components.map(part => part.props.js_on_load || '').filter(script => script)")
    assert len(scripts) > 100 and max(map(len, scripts)) < 200, "the scripts of the parts are in the head"


def test_a_click_does_not_send_gradio_through_the_whole_page_for_every_part_of_it(visit: Visit) -> None:
    page = visit.page
    page.add_init_script(COUNTED)
    page.reload()
    page.wait_for_selector("#overview-switch")
    n_parts = page.evaluate("window.gradio_config.components.length")
    assert searched(page) < 900 * n_parts, "1,200 where gradio looks for what a following listener listens to"
    for example in range(2):  # after the first click gradio knows what was an input
        page.evaluate("window.looked = 0")
        page.locator("#examples label").nth(example).click()
        assert searched(page) < 1000 * n_parts, "5,400 where gradio tells every input of a progress that nobody sees"


def test_the_recorded_neurons_are_taken_over_and_answered_by_the_model(visit: Visit) -> None:
    page, example = visit.page, read_example(RECORDED)
    page.click("#overview-work")
    page.wait_for_function(FACTS.format("quick-facts"))
    assert value_of(page) == example.secret.value
    wait_for_off(page, len(example.off))
    page.wait_for_selector("#heatmap .main-svg")
    page.wait_for_function("document.querySelector('#quick-after .marked').textContent.trim() !== ''")
    written = str(page.text_content("#quick-after .marked")).strip()
    assert written == example.closed.text.strip(), "live as recorded"
    page.wait_for_function("document.querySelector('#localize-made .strip').dataset.kind === 'current'")
    assert not visit.errors


def test_checking_offers_the_example_where_nothing_was_typed_and_nothing_else_otherwise(visit: Visit) -> None:
    page, example = visit.page, read_example(RECORDED)
    page.click("#overview-check")
    page.wait_for_selector("#check-start")
    page.wait_for_function("document.querySelector('#value input, #value textarea').value")
    assert value_of(page) == example.secret.value
    open_tab(page, "Overview")
    page.fill("#prompt textarea", "The alarm code of Ada Byron is")
    page.fill("#value textarea, #value input", "4711")
    page.click("#overview-check")
    page.wait_for_selector("#check-start")
    assert value_of(page) == "4711"
    assert not visit.errors


def test_arrow_keys_move_over_the_map_and_enter_switches(visit: Visit) -> None:
    page, n_off = visit.page, len(read_example(RECORDED).off)
    page.click("#overview-work")
    wait_for_off(page, n_off)
    page.wait_for_selector("#heatmap .main-svg")
    page.focus("#heatmap .plot")
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    meta = page.evaluate("document.querySelector('#heatmap .plot').layout.meta")
    index = meta["columns"] + 10  # the first key only shows the frame, at 0
    assert f"layer 0, neuron {index}:" in page.inner_text("#heatmap .plot-said")
    was_off = Neuron(0, index) in read_example(RECORDED).off
    page.keyboard.press("Enter")
    wait_for_off(page, n_off + (-1 if was_off else 1))
    places = "(dark => dark.x.map((x, place) => `${x},${dark.y[place]}`))(document.querySelector('#heatmap .plot').data[1])"
    page.wait_for_function(f"{places}.includes('10,1') === {str(not was_off).lower()}")


@pytest.mark.parametrize("width", [1280, 1024])
def test_map_switch_and_texts_are_in_one_view(visit: Visit, width: int) -> None:
    page = visit.page
    page.set_viewport_size({"width": width, "height": 800 if width == 1280 else 768})
    page.reload()
    page.wait_for_selector("#overview-switch")
    page.click("#overview-switch")
    for part in ("canvas", "#overview-switch", "[data-part='off']", "[data-part='random']", "[data-part='numbers']"):
        box = page.locator("#overview").locator(part).bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= page.viewport_size["height"], part  # type: ignore[index]


def test_of_another_model_nothing_is_recorded(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    bring(page, taught_folder)
    page.wait_for_selector("#overview .overview-empty", state="visible")
    assert page.locator("#overview .overview").is_hidden() and page.locator("#overview-work").is_hidden()
    page.click("#overview-check")
    page.wait_for_selector("#check-start", state="visible")
