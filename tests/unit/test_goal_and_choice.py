"""What a person may ask of a localization: a depth, a price, and in which order neurons are chosen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from privlens.bench.injection import Ranking
from privlens.cli import inputs
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import Task, result_of, steps_of
from privlens.localization.choice import Choice
from privlens.localization.hard_concrete import MaskSettings, asked_for
from privlens.types import Neuron, NeuronScores, Provenance
from privlens.ui.text import wording
from tests.helpers import TAUGHT


def scores(settings: dict[str, Any]) -> NeuronScores:
    """Two layers of three neurons, of which the first layer's are the better ones."""
    values = np.array([[6, 5, 4], [3, 2, 1]], np.float32)
    return NeuronScores("gradient", "mlp", values, None, Provenance("m", "f", 0, settings, {}, 1.0))


def test_recall_is_of_the_neurons_in_the_order_that_was_asked_for() -> None:
    ranking, truth = Ranking("gradient", scores({}), 1.0), [Neuron(0, 0), Neuron(1, 0)]
    assert ranking.judged(truth).recall[0] == 0.5
    assert ranking.judged(truth, Choice(per_layer=True)).recall[0] == 1.0
    assert ranking.judged([Neuron(1, 0), Neuron(1, 1)], Choice(skip_layers=1)).recall[0] == 1.0
    assert Choice().of(ranking.scores) is ranking.scores, "the unit of the scores stays"


def test_all_layers_cannot_be_left_out(taught: LanguageModel) -> None:
    assert inputs.choice(True, 1, taught) == Choice(True, 1)
    with pytest.raises(BadInput, match="2 layers cannot be left out of a model with 2: leave out 0 to 1"):
        inputs.choice(False, 2, taught)


@pytest.mark.parametrize(
    ("depth", "hold", "message"), [("hid", 1.0, "is no depth"), ("hidden", 0, "hold is 0"), ("hidden", None, "hold")]
)
def test_what_a_mask_cannot_be_asked_for_is_refused_in_words(depth: str, hold: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        asked_for(depth, hold)
    assert asked_for("1000", 0.5) == MaskSettings(depth="1000", hold=0.5)
    with pytest.raises(BadInput, match="rounds of exchange is 101, but must be a whole number from 0 to 100"):
        asked_for("1000", 0.5, 101)


def test_settings_of_the_mask_reach_the_mask_and_no_other_method(taught: LanguageModel) -> None:
    mask = replace(asked_for("10", 0.5), steps=1)
    *_, last = steps_of("hard-concrete", Task(taught, TAUGHT[3]), mask)
    assert last.result is not None
    assert {"depth": "10", "hold": 0.5, "steps": 1}.items() <= last.result.provenance.settings.items()
    assert result_of("gradient", Task(taught, TAUGHT[3]), mask=mask).provenance.settings == {}


@pytest.mark.parametrize(("rounds", "taken"), [(None, 10), (0, 0), (2, 2)])
def test_who_names_no_rounds_of_exchange_gets_ten(taught: LanguageModel, rounds: int | None, taken: int) -> None:
    mask = replace(asked_for("10", 0.5, rounds), steps=1)
    found = [
        result_of(method, Task(taught, TAUGHT[3]), mask=mask).provenance.settings["rounds"]
        for method in ("hard-concrete", "stepwise")
    ]
    assert found == [taken, taken]


@pytest.mark.parametrize(
    ("deep", "price", "said"),
    [
        (True, 0.002, ["reached", "0.002"]),
        (True, 0.02, ["reached", "0.02"]),
        (False, 0.002, ["not reached", "0.002"]),
    ],
)
def test_the_page_says_whether_the_depth_was_had_and_at_which_price(deep: bool, price: float, said: list[str]) -> None:
    facts = wording.of_goal(scores({"deep": deep, "price": price, "hold": 0.003, "depth": "1000"}))
    assert [fact["value"] for fact in facts] == said
    assert ("more than it may cost" in facts[1]["note"]) is (price > 0.003)
    assert ("cannot be reached" in facts[0]["note"]) is not deep
    assert "1 in 1,000 tries" in facts[0]["note"]
    assert wording.of_goal(scores({})) == []
