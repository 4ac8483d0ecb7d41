"""The tab Neurons in Chromium: from the map to a neuron's page, the layers, and a link to it all."""

import json
from pathlib import Path

from playwright.sync_api import Page

from privlens.secret_lists import read_secrets
from tests.browser.steps import FACTS, MOUNTED, Visit, bring, finished, localize, open_tab, told, unfold
from tests.browser.test_hiding import SEEN
from tests.browser.test_taking import command_of, saved
from tests.helpers import TAUGHT

TITLE = "document.querySelector('#neuron-card .card-title').textContent"
CARD = "document.querySelector('#neuron-card .card-lines').textContent.includes('raises')"
DIMMED = "document.querySelector('#neuron-dimmed .fact-value')?.textContent"


def point(page: Page, across: float, down: float) -> None:
    """Rests the pointer on a cell of the map, at these shares of its width and height."""
    place = page.locator("#heatmap .nsewdrag").bounding_box()
    assert place
    x, y = place["x"] + across * place["width"], place["y"] + down * place["height"]
    page.mouse.move(x, y)
    page.mouse.move(x + 1, y)


def name_neuron(page: Page, name: str) -> None:
    page.locator("#neuron-name input").fill(name)
    page.keyboard.press("Enter")


def test_from_the_map_to_the_page_of_a_neuron_and_back_by_its_link(visit: Visit, taught_folder: str, address: str) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    bring(page, taught_folder)
    localize(page, "activations")
    page.locator("#heatmap").scroll_into_view_if_needed()
    point(page, 0.5, 0.3)
    page.wait_for_function(CARD)
    first = str(page.evaluate(TITLE))
    point(page, 0.2, 0.8)
    page.wait_for_selector("#neuron-card .card-floating:visible")
    page.wait_for_function(f"{TITLE} !== {first!r}")
    page.wait_for_function(CARD)
    name = str(page.evaluate(TITLE))
    page.click("#open-neuron")
    page.wait_for_selector("#neuron-json")
    finished(page, "neuron")
    assert page.inner_text("#neuron-facts .fact-value >> nth=0") == name
    assert "score by activations" in page.inner_text("#neuron-facts")
    report = json.loads(saved(page, "#neuron-json").read_text())
    assert report["card"]["link"].endswith(f"/{name}")
    assert len(report["alone"]["changes"]) == len(read_secrets(Path(taught_folder) / "secrets.csv"))
    assert command_of(page, "neuron").startswith(f"privlens neuron {name} --secrets")

    unchanged = page.evaluate(DIMMED)
    page.locator("#neuron-gate input[type=number]").fill("0")
    page.keyboard.press("Tab")
    off = report["dimmer"]["points"][0]["secret_nll"]
    page.wait_for_function(f"{DIMMED} === '{off:.3f}'")
    assert unchanged == f"{report['dimmer']['points'][4]['secret_nll']:.3f}"

    nearest = page.locator("#neuron-near [role=gridcell]").first
    near = nearest.inner_text().strip()
    nearest.click()
    page.wait_for_function(f"document.querySelector('#neuron-name input').value === {near!r}")
    page.wait_for_function("document.querySelector('#neuron-made .strip').dataset.kind === 'stale'")

    page.wait_for_function("location.hash.includes('neuron=')")
    assert TAUGHT[0].value.split()[0] not in page.url
    assert not visit.errors


def test_a_link_shows_its_neuron_and_one_of_another_model_says_so(visit: Visit, address: str) -> None:
    page = visit.page
    page.goto("about:blank")
    page.goto(f"{address}#model=demo&neuron=L2N17&tab=neurons")
    page.wait_for_function(FACTS.format("neuron-facts"))
    assert page.inner_text("#neuron-facts .fact-value >> nth=0") == "L2N17"
    finished(page, "neuron")
    assert page.inner_text("#neuron-dimmed .facts-empty"), "no secret was chosen"
    link = page.inner_text("#neuron-facts .facts-origin .fact-value >> nth=0")
    page.goto("about:blank")
    page.goto(f"{address}#model=demo&neuron=0123456789abcdef%2FL2N17&tab=neurons")
    assert "another model" in told(page, "link") or link
    assert not visit.errors


def test_what_names_no_neuron_is_said_in_words(visit: Visit) -> None:
    page = visit.page
    open_tab(page, "Neurons")
    page.click("#neuron-start")
    told(page, "names no neuron")
    finished(page, "neuron")
    name_neuron(page, "L99N1")
    page.click("#neuron-start")
    told(page, "There is no layer 99")
    assert not visit.errors


def test_the_secrets_for_which_a_neuron_scores(visit: Visit, taught_folder: str) -> None:
    page, value = visit.page, TAUGHT[0].value
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    bring(page, taught_folder)
    open_tab(page, "Neurons")
    name_neuron(page, "L1N3")
    unfold(page, "For which secrets does this neuron score")
    page.click("#scoring-start")
    page.wait_for_selector("#scoring-map .main-svg")
    finished(page, "scoring")
    first = json.loads(saved(page, "#scoring-json").read_text())
    assert first["neuron"] == [1, 3] and [secret["value"] for secret in first["secrets"]].count(value) == 1
    assert page.inner_text("#scoring-facts .fact-value >> nth=0") == "L1N3"
    assert "neuron L1N3 --secrets my-list.csv --places 28" in command_of(page, "scoring")
    name_neuron(page, "L0N5")
    page.wait_for_function("document.querySelector('#scoring-made .strip').dataset.kind === 'stale'")
    page.click("#scoring-start")
    page.wait_for_function("document.querySelector('#scoring-facts .fact-value').textContent === 'L0N5'")
    hover = "JSON.stringify(document.querySelector('#scoring-map .plot').data.map(trace => trace.text))"
    assert value in page.evaluate(hover)
    page.click("#mask")
    page.wait_for_function(f"!{hover}.includes({value!r})")
    finished(page, "scoring")
    assert value not in saved(page, "#scoring-json").read_text()
    assert not visit.errors


def test_the_layers_of_a_secret_and_nothing_of_it_where_values_are_hidden(visit: Visit, taught_folder: str) -> None:
    page, value = visit.page, TAUGHT[0].value
    bring(page, taught_folder)
    localize(page, "activations")
    open_tab(page, "Neurons")
    unfold(page, "What each layer would say")
    page.click("#layers-start")
    page.wait_for_selector("#layers-lens .main-svg")
    page.wait_for_selector("#layers-salience .main-svg")
    finished(page, "layers")
    report = json.loads(saved(page, "#layers-json").read_text())
    assert len(report["lens"]["before"]["true_rank"]) == 3, "embeddings and two layers"
    assert report["lens"]["after"]["true_probability"] != report["lens"]["before"]["true_probability"]
    assert len(report["salience"]["nats"]) == report["lens"]["before"]["n_prompt"]
    texts = "JSON.stringify(document.querySelector('#layers-lens .plot').data.map(trace => trace.text))"
    pieces = [piece for piece in report["lens"]["before"]["tokens"][report["lens"]["before"]["n_prompt"] :] if len(piece) > 3]
    assert pieces and all(piece.strip() in page.evaluate(texts) for piece in pieces)
    page.click("#mask")
    page.wait_for_function(f"!{texts}.includes({pieces[0].strip()!r})")
    page.evaluate(MOUNTED)
    assert value not in page.evaluate(SEEN)
    hidden = saved(page, "#layers-json").read_text()
    assert not [piece for piece in pieces if f'"{piece}"' in hidden]
    assert value not in hidden
    assert not visit.errors


def test_studies_of_the_list_are_drawn_and_taken_along(visit: Visit) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_tab(page, "Neurons")
    unfold(page, "What do two categories share")
    page.click("#coupling-start")
    page.wait_for_selector("#coupling-venn .main-svg")
    page.wait_for_selector("#coupling-map .main-svg")
    finished(page, "coupling")
    coupled = json.loads(saved(page, "#coupling-json").read_text())
    assert page.inner_text("#coupling-facts .fact-value >> nth=0") == str(len(coupled["coupled"]))
    rows = page.inner_text("#coupling-effects")
    assert all(name in rows for name in ("coupled", "name only", "email only", "random (5 draws)"))
    assert "--first name --second email" in command_of(page, "coupling")

    unfold(page, "Is a value of higher entropy")
    page.click("#entropy-start")
    page.wait_for_selector("#entropy-line .main-svg")
    finished(page, "entropy")
    law = json.loads(saved(page, "#entropy-json").read_text())
    assert page.inner_text("#entropy-facts .fact-value >> nth=0").startswith(f"{law['line']['r']:+.2f} [")

    page.get_by_label("two texts of my own").check()
    page.click("#coupling-example")
    page.wait_for_function("document.querySelector('#coupling-second-text textarea').value.includes('engineer')")
    page.wait_for_function("document.querySelector('#coupling-made .strip').dataset.kind === 'stale'")
    page.click("#coupling-start")
    page.wait_for_function("document.querySelector('#coupling-effects').innerText.includes('text-2 only')")
    finished(page, "coupling")
    own = json.loads(saved(page, "#coupling-json").read_text())
    assert (own["categories"], own["n_used"], own["n_measured"]) == (["text-1", "text-2"], [4, 4], [4, 4])

    unfold(page, "What do hidden states tell")
    assert page.locator("#probe-kram input").input_value() == "", "no layer, not layer 0"
    page.locator("#probe-kram input").fill("3")
    page.keyboard.press("Tab")
    page.click("#probe-start")
    page.wait_for_selector("#kram-bars .main-svg")
    page.wait_for_selector("#probe-curves .main-svg")
    finished(page, "probe")
    probes = json.loads(saved(page, "#probe-json").read_text())
    erased = probes["kram"]
    assert erased["layer"] == 3
    assert page.inner_text("#kram-facts .fact-value >> nth=1") == f"{erased['after']['k']} of {erased['after']['n']}"
    best = max(share["k"] for share in probes["runs"][0]["accuracy"])
    assert page.inner_text("#probe-facts .fact-value >> nth=0") == f"{best} of {probes['runs'][0]['accuracy'][0]['n']}"

    unfold(page, "Which neurons do two models share")
    assert page.locator("#universal-other").locator("input, textarea").input_value() == "demo-seed1"
    page.locator("#universal-other").locator("input, textarea").fill("")
    page.click("#universal-start")
    told(page, "Name the other model first")

    open_tab(page, "Localize")
    unfold(page, "Settings: what to protect")
    assert page.locator("#exchange input").input_value() == "", "the usual ones, not 0 rounds"
    assert not visit.errors


def test_another_list_brings_its_categories_and_says_what_is_missing(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    open_tab(page, "Neurons")
    unfold(page, "What do two categories share")
    bring(page, taught_folder)
    page.wait_for_function("document.querySelector('#coupling-second input').value === 'phone'")
    page.click("#coupling-start")
    told(page, "usable text")
    finished(page, "coupling")
    assert not [toast for toast in page.evaluate("window.toasts") if "choices" in toast]
    page.locator("#coupling-second input").fill("colour")
    page.keyboard.press("Enter")
    page.click("#coupling-start")
    told(page, "Choose two different categories")
    assert not visit.errors
