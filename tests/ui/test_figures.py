"""Figures and marked text: every neuron has its place, and every text is escaped."""

import html
import json

import numpy as np
import pytest

from privlens import figures
from privlens.records import Effect, LocalizationStep, Recall, Secret, SweepRow, TokenScore
from privlens.ui import wording

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("shape", [(2, 24), (6, 2048), (12, 3072), (3, 100)])
def test_every_neuron_has_one_cell_and_the_cell_knows_it(shape: tuple[int, int]) -> None:
    values = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    fold = figures.fold_all(shape)
    cells, names = fold.laid_out(values), fold.names(values)
    assert cells.shape == names.shape[:2]
    assert np.isfinite(cells).sum() == values.size
    for y, x in np.argwhere(np.isfinite(cells)):
        assert values[tuple(names[y, x])] == cells[y, x]


def test_one_layer_is_nearly_square_and_names_its_own_neurons() -> None:
    fold = figures.fold_one((6, 2048), 4)
    assert (fold.columns, fold.rows) == (46, 45)
    assert fold.names(np.ones((1, 2048)))[0, 0].tolist() == [4, 0]
    figure = figures.heatmap(np.ones((6, 2048)), fold, "score")
    assert figure.layout.meta["first"] == 4


LARGE = (32, 14_336)
"""As many neurons as a model of seven billion parameters has."""


def scores_of(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).standard_gamma(0.3, shape).astype(np.float32)


def test_a_large_model_is_drawn_in_bins_of_under_3_megabytes() -> None:
    scores, fold = scores_of(LARGE), figures.fold_all(LARGE)
    figure = figures.heatmap(scores, fold, "score")
    assert len(figure.to_json()) < 3_000_000
    assert fold.per == 8 and fold.cells * fold.per == LARGE[1]
    step = LocalizationStep(1, 2, "s", scores.clip(0, 1), 0, 0.0)
    assert len(figures.live_gates(step).to_json()) < 3_000_000
    assert len(figures.heatmap(scores, figures.fold_one(LARGE, 31), "score").to_json()) < 3_000_000
    assert "a click opens the layer" in figure.layout.xaxis.title.text


@pytest.mark.parametrize("shape", [LARGE, (40, 13_824), (3, 50_001), (80, 28_672)])
def test_nothing_of_the_best_is_lost_in_bins_and_every_bin_names_its_hottest(shape: tuple[int, int]) -> None:
    scores, fold = scores_of(shape), figures.fold_all(shape)
    cells, names = fold.laid_out(scores), fold.names(scores)
    assert fold.per > 1 and np.isfinite(cells).sum() == fold.cells * shape[0] <= figures.heatmaps.MAX_CELLS
    real = np.isfinite(cells)
    layer, first, last, best = (names[..., part][real].astype(int) for part in range(4))
    assert np.array_equal(scores[layer, best], cells[real])
    assert np.all((first <= best) & (best <= last)) and int((last - first + 1).sum()) == scores.size
    hottest = {divmod(int(flat), shape[1]) for flat in np.argsort(-scores, axis=None)[:1000]}
    shown = {(int(a), int(b)) for a, b in zip(layer, first // fold.per, strict=True)}
    assert {(at, index // fold.per) for at, index in hottest} <= shown
    top = max(hottest, key=lambda place: scores[place])
    assert cells.max() != 0 and np.nanmax(cells) == scores[top]


def test_neurons_that_do_not_exist_have_no_colour() -> None:
    scores = scores_of((3, 16))
    scores[1, 8:] = np.nan
    figure = figures.heatmap(scores, figures.fold_all(scores.shape), "score")
    assert np.isnan(np.asarray(figure.data[0].z)[1, 8:]).all()
    wide = scores_of(LARGE)
    wide[5, 1000:] = np.nan
    fold = figures.fold_all(LARGE)
    filling = LARGE[0] * (fold.rows * fold.columns - fold.cells)
    assert np.isnan(fold.laid_out(wide)).sum() == (LARGE[1] - 1000) // 8 + filling


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
