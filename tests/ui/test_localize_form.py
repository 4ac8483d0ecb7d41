"""The form of the tab Localize: which command makes a localization again, and which settings it depends on."""

from dataclasses import replace
from typing import Any

import pytest

from privlens import validation
from privlens.errors import BadInput
from privlens.secret_lists import ListedSecret
from privlens.ui.sidebar import commands
from privlens.ui.state.session import ModelName, Selection
from privlens.ui.tabs.localize.tab import LocalizeForm
from tests.helpers import TAUGHT


def test_rounds_of_exchange_stand_in_the_command_of_a_method_that_has_them() -> None:
    given: dict[str, Any] = {
        "keep": "half",
        "site": "mlp",
        "seed": 3,
        "depth": "1000",
        "hold": 0.03,
        "own_text": "",
        "located": None,
    }
    side = (ModelName("demo"), tuple(map(ListedSecret, TAUGHT)), TAUGHT[1].prompt, TAUGHT[1].value)
    form = LocalizeForm(*side, method="hard-concrete", rounds="10", **given, selection=Selection())
    asked = commands.localize(form, form.looking)
    assert asked.endswith("--seed 3 --out neurons.json --depth 1000 --hold 0.03 --exchange 10 --model demo")
    assert ("rounds of exchange", "10") in form.asked
    usual = replace(form, rounds="")
    assert "--exchange" not in commands.localize(usual, usual.looking)
    assert usual.asked == form.asked, "ten are the usual ones"
    assert usual.asked != replace(form, rounds="0").asked
    gradient = replace(form, method="gradient")
    assert "--exchange" not in commands.localize(gradient, gradient.looking)
    assert gradient.asked == replace(gradient, rounds="").asked, "a method without exchange is not outdated by it"


@pytest.mark.parametrize(("typed", "number"), [("", None), ("  ", None), ("0", 0), (" 100 ", 100)])
def test_a_box_for_an_optional_number_may_be_empty(typed: str, number: int | None) -> None:
    assert validation.typed_whole(typed, "number of rounds", 0, 100) == number


@pytest.mark.parametrize("typed", ["101", "-1", "2.5", "ten"])
def test_what_is_no_such_number_is_refused_in_words(typed: str) -> None:
    with pytest.raises(BadInput, match=r"number of rounds is .* but must be a whole number from 0 to 100"):
        validation.typed_whole(typed, "number of rounds", 0, 100)
