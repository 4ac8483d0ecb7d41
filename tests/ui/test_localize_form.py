"""The form of the tab Localize: which command makes a localization again, and which settings it depends on."""

from dataclasses import replace
from typing import Any

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
    form = LocalizeForm(*side, method="hard-concrete", rounds=10.0, **given, selection=Selection())
    asked = commands.localize(form, form.looking)
    assert asked.endswith("--seed 3 --out neurons.json --depth 1000 --hold 0.03 --exchange 10 --model demo")
    assert ("rounds of exchange", "10") in form.asked
    by_method = replace(form, rounds=None)
    assert "--exchange" not in commands.localize(by_method, by_method.looking)
    assert by_method.asked != form.asked
    gradient = replace(form, method="gradient")
    assert "--exchange" not in commands.localize(gradient, gradient.looking)
    assert gradient.asked == replace(gradient, rounds=None).asked, "a method without exchange is not outdated by it"
