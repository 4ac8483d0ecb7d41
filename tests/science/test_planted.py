"""Which methods find what was planted: on a tiny model, where exact ablation of every neuron is quick."""

import copy

import numpy as np
import pytest
from conftest import NEVER_TAUGHT
from test_localization import last, planted

from privlens.localization import METHODS, Task
from privlens.models.language_model import LanguageModel

LEAST = {"gradient": 0.5, "zero-out": 0.5, "slimming": 0.3, "hard-concrete-sufficient": 0.2, "activations": 0.3}
"""Recall at k = the 12 planted of 128, mean of three plants; measured 0.69, 0.75, 0.45, 0.36 and 0.53; chance is 0.09."""


@pytest.fixture(scope="module")
def plants(taught: LanguageModel) -> list[tuple[LanguageModel, set[tuple[int, int]]]]:
    """Three copies of the taught model, each with one more secret in 12 of its neurons, and which those are."""
    found = []
    for seed in (1, 2, 3):
        lm = LanguageModel("planted", copy.deepcopy(taught.model), taught.tokenizer)
        found.append((lm, set(planted(lm, NEVER_TAUGHT, seed, n=12))))
    return found


@pytest.mark.parametrize("name", [*LEAST, "random"])
def test_what_was_planted_in_a_tiny_model_is_found(plants: list[tuple[LanguageModel, set[tuple[int, int]]]], name: str) -> None:
    recalls = []
    for lm, truth in plants:
        top = last(list(METHODS[name](Task(lm, NEVER_TAUGHT)))).top(len(truth))
        recalls.append(len(truth & set(top)) / len(truth))
    assert np.mean(recalls) >= LEAST.get(name, 0.0)
    assert name != "random" or np.mean(recalls) <= 0.25
