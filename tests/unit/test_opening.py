"""The recorded example: it is the clearest of all candidates, and what it says is what the model does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from privlens.bench import opening
from privlens.bench.opening import best, candidates
from privlens.deactivation import EvalContext, texts_before_and_after
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import Task, result_of
from privlens.localization.hard_concrete import MaskSettings
from privlens.outcomes import KeptCount
from privlens.recorded import RecordedExample, RecordedState, read_example
from privlens.resources import RECORDED
from privlens.secret_lists import ListedSecret
from privlens.types import Neuron, NeuronScores, Provenance, Secret, Verdict, to_json
from tests.helpers import TAUGHT

SCORES = NeuronScores("hard-concrete", "mlp", np.zeros((2, 64), np.float32), 1, Provenance("m", "f", 0, {}, {}, 0.0))


def candidate(verdict: Verdict, kept: int, n_off: int, value: str = "v") -> RecordedExample:
    state = RecordedState("t", False, -1.0, verdict, KeptCount(kept, 10), KeptCount(kept // 2, 5), 1.0)
    off = tuple(Neuron(0, index) for index in range(n_off))
    return RecordedExample(Secret("p", value), (), SCORES, off, state, state, state, None, 1, 0, "command")


def test_the_clearest_is_forgotten_then_keeps_most_then_needs_fewest() -> None:
    found = [
        candidate("hidden", 10, 1, "hidden"),
        candidate("forgotten", 9, 1, "loses one"),
        candidate("forgotten", 10, 7, "many"),
        candidate("forgotten", 10, 5, "few"),
    ]
    example = best(found)
    assert example.secret.value == "few"
    assert (example.n_candidates, example.n_forgotten) == (4, 3)


def test_a_record_says_what_the_model_writes_in_each_state(
    taught: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def eight(_: str, task: Task, mask: MaskSettings) -> NeuronScores:  # the mask closes none of so small a model
        return replace(result_of("gradient", task), suggested_k=8)

    monkeypatch.setattr(opening, "result_of", eight)
    rows = [ListedSecret(secret, 64 if at == 0 else 16) for at, secret in enumerate(TAUGHT)]
    [example] = candidates(taught, rows, ["the lamp is on the table."], MaskSettings(), 0, "the command")
    assert example.secret == TAUGHT[0], "only those that were repeated most often"
    on, off = texts_before_and_after(taught, [example.secret], example.off, EvalContext())[0]
    assert (example.on.text, example.closed.text) == (on, off)
    assert example.on.greedy_match and example.on.kept.kept == example.on.kept.known
    assert example.on.perplexity_ratio == 1.0 and example.closed.perplexity_ratio != 1.0
    assert len(example.off) == 8
    path = tmp_path / "example.json"
    path.write_text(to_json(example))
    again = read_example(path)
    assert to_json(again) == to_json(example)


def test_a_list_that_nobody_trained_on_has_no_example(taught: LanguageModel) -> None:
    with pytest.raises(BadInput, match="repeats"):
        next(candidates(taught, [ListedSecret(TAUGHT[0], 0)], [], MaskSettings(), 0, ""))


def test_the_bundled_record_is_true_of_the_bundled_model(demo: LanguageModel) -> None:
    example = read_example(RECORDED)
    assert example.scores.provenance.fingerprint == demo.fingerprint
    [(on, off)] = texts_before_and_after(demo, [example.secret], example.off, EvalContext())
    assert (on, off) == (example.on.text, example.closed.text)
    assert example.secret.value in on and example.secret.value not in off
    assert example.closed.verdict == "forgotten"
    assert example.n_candidates > 1, "recorded by the command over the whole list"
    assert replace(example.closed.kept, kept=0).known == example.on.kept.known
