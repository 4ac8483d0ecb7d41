"""Two visitors on one model at the same time: what one of them planted is in no answer to the other."""

from playwright.sync_api import Page

from privlens.memorization.check import check
from privlens.types import Secret
from privlens.zoo.loading import load
from tests.browser.steps import CHECKED, FACTS, IN_PLACE, Visit, answer, ask, open_tab, unfold, value_of
from tests.helpers import MODEL

PLANTED = "document.querySelector('#plant-start').disabled === false && document.querySelector('#plant-progress .run').hidden"


def plant(page: Page) -> Secret:
    """Plants a secret, which becomes the one in the sidebar."""
    open_tab(page, "Compare methods")
    unfold(page, "Planted truth")
    page.click("#plant-start")
    page.wait_for_function(FACTS.format("plant-facts"))
    page.wait_for_function(PLANTED)
    page.wait_for_function(IN_PLACE)
    page.wait_for_function("document.querySelector('#value input, #value textarea').value !== ''")
    return Secret(page.locator("#prompt textarea").input_value(), value_of(page))


def type_in(page: Page, secret: Secret) -> None:
    page.locator("#prompt textarea").fill(secret.prompt)
    page.locator("#value").locator("input, textarea").fill(secret.value)
    page.keyboard.press("Tab")


def written(page: Page) -> str:
    """What the model writes behind the prompt, as the visitor sees it."""
    return str(page.locator("#continuation .marked").text_content()).strip()


def n_edits(page: Page) -> int:
    open_tab(page, "Erase")
    return page.locator("#edits input").count()


def test_what_one_visitor_planted_no_other_sees_on_the_same_model(visit: Visit, other: Visit) -> None:
    planter, bystander = visit.page, other.page
    secret = plant(planter)
    type_in(bystander, secret)
    base = check(load(MODEL), secret).continuation.strip()
    assert not base.startswith(secret.value), "or there is nothing to see"

    for turn in range(2):  # both ask at once; the second time right after the other's weights were put in and taken out
        for page in (planter, bystander) if turn else (bystander, planter):
            ask(page)
        assert answer(planter).startswith("Memorized")
        assert answer(bystander).startswith("Not memorized")
        assert written(planter).startswith(secret.value)
        assert written(bystander) == base
        if not turn:
            for page in (planter, bystander):  # the same secret again, so that the next answer is a new one
                type_in(page, Secret(secret.prompt, "-"))
                page.wait_for_function("!" + CHECKED)  # or the page may see only the last of two values typed at once: no change
                type_in(page, secret)

    assert (n_edits(planter), n_edits(bystander)) == (1, 0)
    assert planter.evaluate(IN_PLACE)
    assert not bystander.evaluate(IN_PLACE)
    assert (visit.errors, other.errors) == ([], [])
