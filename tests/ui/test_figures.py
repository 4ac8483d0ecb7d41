"""Figures and marked text: every neuron has its place, and every text is escaped."""

import html
import json

import numpy as np
import pytest

from privlens import figures
from privlens.records import Effect, Recall, Secret, SweepRow, TokenScore
from privlens.ui import wording

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("shape", [(2, 24), (6, 2048), (12, 3072), (3, 100)])
def test_every_neuron_has_one_cell_and_the_cell_knows_it(shape: tuple[int, int]) -> None:
    values = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    fold = figures.fold_all(shape)
    cells, names = fold.laid_out(values), fold.names()
    assert cells.shape == names.shape[:2]
    assert np.isfinite(cells).sum() == values.size
    for y, x in np.argwhere(np.isfinite(cells)):
        assert values[tuple(names[y, x])] == cells[y, x]


def test_one_layer_is_nearly_square_and_names_its_own_neurons() -> None:
    fold = figures.fold_one((6, 2048), 4)
    assert (fold.columns, fold.rows) == (46, 45)
    assert fold.names()[0, 0].tolist() == [4, 0]
    figure = figures.heatmap(np.ones((6, 2048)), fold, "score")
    assert figure.layout.meta["first"] == 4


def test_tokens_are_escaped_in_labels_and_hovers() -> None:
    token = TokenScore(HOSTILE, -0.5, 3)
    for same in (True, False):
        sent = json.dumps(json.loads(figures.token_bars([token], [token], ("a", "b"), same=same).to_json()))
        assert "<img" not in sent
        assert html.escape("<img") in sent


def test_differences_are_marked_in_both_texts_and_the_texts_are_whole() -> None:
    one, other = figures.marked("call 555-1234 now", "call 555-1299 now")
    assert "".join(text for text, _ in one) == "call 555-1234 now"
    assert "".join(text for text, _ in other) == "call 555-1299 now"
    assert [text for text, mark in one if mark] == ["34"]
    assert [text for text, mark in other if mark] == ["99"]
    assert figures.marked("same", "same")[0] == [("same", None)]


def test_a_sweep_without_others_or_reference_still_draws() -> None:
    row = SweepRow(1, 0.1, True, 0.1, 8.0, None, None, 0.1, None, None)
    assert len(figures.sweep_curves([row, row]).data) == 7


@pytest.mark.parametrize(
    ("greedy", "bits", "kind"), [(True, 8.0, "known"), (False, 6.0, "note"), (False, 1.0, "unknown")]
)
def test_a_lost_match_alone_is_not_called_forgotten(greedy: bool, bits: float, kind: str) -> None:
    before = Recall(True, 0.0, 1.0, "x", 8.0)
    effect = Effect(Secret("p", "v"), before, Recall(greedy, 1.0, 0.5, "y", bits))
    assert wording.verdict_of_effect(effect, 3)["kind"] == kind
    assert wording.verdict_of_effect(effect, 0)["kind"] == "note"
