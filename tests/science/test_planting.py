"""INJ on a tiny model: fair plants are invisible to the norm of the weights, published ones are not, and methods find both."""

from statistics import mean

import pytest

from privlens.lm.model import LanguageModel
from privlens.localization import Task, result_of
from privlens.planting.plant import Plant, PlantSettings, plant
from privlens.planting.recall import recall
from tests.helpers import NEVER_TAUGHT

RATIO = 0.1
SEEDS = (1, 2, 3, 4)


@pytest.fixture(scope="module", params=[True, False], ids=["fair", "published"])
def plants(request: pytest.FixtureRequest, taught: LanguageModel) -> tuple[bool, list[Plant]]:
    """Plants of one secret in four draws of 13 of the 128 neurons."""
    settings = PlantSettings(RATIO, request.param, steps=200, until=0.2, learning_rate=0.03)
    return request.param, [plant(taught, NEVER_TAUGHT, settings, seed) for seed in SEEDS]


def found(lm: LanguageModel, plants: list[Plant], method: str) -> float:
    """Mean recall at k = as many neurons as were planted in."""
    recalls = []
    for seed, planted in zip(SEEDS, plants, strict=True):
        with lm.edited(planted.edit):
            recalls.append(recall(result_of(method, Task(lm, NEVER_TAUGHT, seed=100 + seed)), planted.neurons)[0])
    return mean(recalls)


def test_the_norm_of_the_weights_finds_published_plants_only(taught: LanguageModel, plants: tuple[bool, list[Plant]]) -> None:
    fair, planted = plants
    assert all(one.greedy_match for one in planted)
    norms = found(taught, planted, "weight-norm")
    assert norms <= 0.25 if fair else norms >= 0.8  # measured 0.05 and 1.00; chance is 0.10


def test_what_fires_in_other_text_finds_published_plants_only(taught: LanguageModel, plants: tuple[bool, list[Plant]]) -> None:
    elsewhere = found(taught, plants[1], "activations-elsewhere")
    # Measured 0.19 and 0.81; 0.31 where what neurons read turns anywhere. Chance is 0.10.
    assert elsewhere <= 0.25 if plants[0] else elsewhere >= 0.6


LEAST = {
    "gradient": 0.4,
    "token-gradient": 0.3,
    "zero-out": 0.4,
    "slimming": 0.2,
    "hard-concrete-sufficient": 0.2,
    "activations": 0.2,
}
"""Well below what was measured here; chance is 0.10."""


@pytest.mark.parametrize("method", LEAST)
def test_methods_find_plants(taught: LanguageModel, plants: tuple[bool, list[Plant]], method: str) -> None:
    assert found(taught, plants[1], method) >= LEAST[method]


def test_random_neurons_are_not_the_planted_ones(taught: LanguageModel, plants: tuple[bool, list[Plant]]) -> None:
    assert found(taught, plants[1], "random") <= 0.3
