"""Records: order of the best neurons, counts, and the way through JSON and back."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from privlens.outcomes import Comparison, Effect, MemorizationState, Outcome
from privlens.types import Memorization, Neuron, NeuronScores, Provenance, Secret, TokenScore, from_json, to_json
from tests.helpers import exposed

SECRET = Secret("the keeper is", 'Mira "M" Holt\n', "name")
PROVENANCE = Provenance("demo", "00ff", 3, {"tau": 4.0, "steps": 40}, {"torch": "2"}, 1.5)
KNOWN, LOST = MemorizationState(True, 0.1, 1.0), MemorizationState(False, 5.0, 0.25)


def test_top_is_best_first_and_equal_scores_stand_in_order() -> None:
    scores = NeuronScores("m", "mlp", np.array([[0.5, 2.0, 0.5], [2.0, -1.0, 9.0]], np.float32), None, PROVENANCE)
    assert scores.top(5) == [Neuron(1, 2), Neuron(0, 1), Neuron(1, 0), Neuron(0, 0), Neuron(0, 2)]
    assert scores.top(0) == scores.top(-1) == []
    assert scores.n_neurons == len(scores.top(100)) == 6


def test_kept_counts_only_those_that_matched_before() -> None:
    others = (Effect(SECRET, KNOWN, KNOWN), Effect(SECRET, KNOWN, LOST), Effect(SECRET, LOST, KNOWN), Effect(SECRET, LOST, LOST))
    outcome = Outcome((), Effect(SECRET, KNOWN, LOST), others, 10.0, 10.5)
    assert (outcome.memorized, outcome.kept) == (2, 1)
    assert outcome.perplexity_ratio == pytest.approx(1.05)
    assert Outcome((), others[0], (), None, None).perplexity_ratio is None


def test_records_go_through_json_unchanged() -> None:
    token = TokenScore(" Mira", -0.25, 1)
    memorization = Memorization(SECRET, True, " Mira", 0.25, 1.0, 1.0, 0.5, exposed(8.0), "a space", (token,), -math.inf)
    effect = Effect(SECRET, MemorizationState(True, 0.1, 1.0, "text", exposed(8.0), (token,)), LOST)
    outcome = Outcome((Neuron(0, 3), Neuron(5, 1)), effect, (effect,), 10.0, 10.5)
    for record in (SECRET, PROVENANCE, memorization, outcome, Comparison(outcome, outcome, PROVENANCE)):
        assert from_json(type(record), to_json(record)) == record


def test_scores_go_through_json_with_their_array() -> None:
    scores = NeuronScores("gradient", "attention", np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), 2, PROVENANCE)
    back = from_json(NeuronScores, to_json(scores))
    assert back.scores.dtype == np.float32
    assert np.array_equal(back.scores, scores.scores)
    assert (back.method, back.site, back.suggested_k, back.provenance) == ("gradient", "attention", 2, PROVENANCE)


def test_json_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError):
        from_json(Secret, '{"prompt": "a"}')
