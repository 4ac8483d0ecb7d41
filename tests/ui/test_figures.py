"""Figures and marked text: every neuron has its place, and every text is escaped."""

import html
import json
import math
import re

import numpy as np
import plotly.graph_objects as go
import pytest

from privlens import plots
from privlens.outcomes import CurvePoint, Effect, MeasuredOn, MemorizationState, SweepRow
from privlens.plots.heatmaps import HEAT, write_cell_texts
from privlens.types import Array, Exposure, LocalizationStep, Secret, TokenScore
from privlens.ui.text import wording
from tests.helpers import exposed

HOSTILE = "<img src=x onerror=alert(1)>"


def sent(figure: go.Figure) -> str:
    """What the browser reads; plotly itself writes < as an escape of JSON, which is undone there."""
    return json.dumps(json.loads(figure.to_json()))


@pytest.mark.parametrize("shape", [(2, 24), (6, 2048), (12, 3072), (3, 100)])
def test_every_neuron_has_one_cell_and_the_cell_knows_it(shape: tuple[int, int]) -> None:
    values = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    fold = plots.all_layers_layout(shape)
    cells, names = fold.laid_out(values), fold.names(values)
    assert cells.shape == names.shape[:2]
    assert np.isfinite(cells).sum() == values.size
    for y, x in np.argwhere(np.isfinite(cells)):
        assert values[tuple(names[y, x])] == cells[y, x]


def test_one_layer_is_nearly_square_and_names_its_own_neurons() -> None:
    fold = plots.one_layer_layout((6, 2048), 4)
    assert (fold.columns, fold.rows) == (46, 45)
    assert fold.names(np.ones((1, 2048)))[0, 0].tolist() == [4, 0]
    figure = plots.heatmap(np.ones((6, 2048)), fold, "score")
    assert figure.layout.meta["first"] == 4


LARGE = (32, 14_336)
"""As many neurons as a model of seven billion parameters has."""


def scores_of(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).standard_gamma(0.3, shape).astype(np.float32)


def test_a_large_model_is_drawn_in_bins_of_under_3_megabytes() -> None:
    scores, fold = scores_of(LARGE), plots.all_layers_layout(LARGE)
    figure = plots.heatmap(scores, fold, "score")
    assert len(figure.to_json()) < 3_000_000
    assert fold.per == 8 and fold.cells * fold.per == LARGE[1]
    step = LocalizationStep(1, 2, "s", scores.clip(0, 1), 0, 0.0)
    assert len(plots.live_gates(step).to_json()) < 3_000_000
    assert len(plots.heatmap(scores, plots.one_layer_layout(LARGE, 31), "score").to_json()) < 3_000_000
    assert "a click opens the layer" in figure.layout.xaxis.title.text


@pytest.mark.parametrize("shape", [LARGE, (40, 13_824), (3, 50_001), (80, 28_672)])
def test_nothing_of_the_best_is_lost_in_bins_and_every_bin_names_its_hottest(shape: tuple[int, int]) -> None:
    scores, fold = scores_of(shape), plots.all_layers_layout(shape)
    cells, names = fold.laid_out(scores), fold.names(scores)
    assert fold.per > 1 and np.isfinite(cells).sum() == fold.cells * shape[0] <= plots.heatmaps.MAX_CELLS
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
    figure = plots.heatmap(scores, plots.all_layers_layout(scores.shape), "score")
    assert np.isnan(np.asarray(figure.data[0].z)[1, 8:]).all()
    wide = scores_of(LARGE)
    wide[5, 1000:] = np.nan
    fold = plots.all_layers_layout(LARGE)
    filling = LARGE[0] * (fold.rows * fold.columns - fold.cells)
    assert np.isnan(fold.laid_out(wide)).sum() == (LARGE[1] - 1000) // 8 + filling


def test_tokens_are_escaped_in_labels_and_hovers() -> None:
    token = TokenScore(HOSTILE, -0.5, 3)
    for same in (True, False):
        text = sent(plots.token_bars([token], [token], ("a", "b"), same=same))
        assert "<img" not in text
        assert html.escape("<img") in text


def test_differences_are_marked_in_both_texts_and_the_texts_are_whole() -> None:
    one, other = plots.marked("call 555-1234 now", "call 555-1299 now")
    assert "".join(text for text, _ in one) == "call 555-1234 now"
    assert "".join(text for text, _ in other) == "call 555-1299 now"
    assert [text for text, mark in one if mark] == ["34"]
    assert [text for text, mark in other if mark] == ["99"]
    assert plots.marked("same", "same")[0] == [("same", None)]


def test_a_sweep_without_others_or_reference_still_draws() -> None:
    row = SweepRow(1, 0.1, True, 0.1, -0.9, exposed(8.0), None, None, None, 0.1, -0.9, None, None)
    assert len(plots.sweep_curves([row, row]).data) == 8


@pytest.mark.parametrize(
    ("greedy", "bits", "kind"),
    [
        (True, 8.0, "known"),
        (False, 6.0, "note"),
        (False, 1.0, "unknown"),
        (False, 0.0, "note"),
        (True, None, "known"),
        (False, None, "note"),
    ],
)
def test_a_lost_match_alone_is_not_called_forgotten(greedy: bool, bits: float | None, kind: str) -> None:
    before = MemorizationState(True, 0.0, 1.0, "x", exposed(8.0))
    effect = Effect(Secret("p", "v"), before, MemorizationState(greedy, 1.0, 0.5, "y", None if bits is None else exposed(bits)))
    assert wording.verdict_of_effect(effect, 3)["kind"] == kind
    assert wording.verdict_of_effect(effect, 0)["kind"] == "note"


@pytest.mark.parametrize(
    ("exposure", "said", "note"),
    [(exposed(math.log2(6), 6), "cannot be judged", "rank among 6 values of its format; 2.58 = first, chance = 1"),
     (exposed(0.0, 1), "cannot be judged", "no other value of its format"),
     (exposed(math.log2(10), 10), "cannot be judged", "rank among 10 values of its format; 3.32 = first, chance = 1.1"),
     (exposed(4.3), "Forgotten", "rank among 256 values"),
     (exposed(0.0), "avoided", "rank among 256 values"),
     (exposed(8.0), "Hidden, not forgotten", "rank among 256 values of its format; 8 = first, chance = 1.4")],
)  # fmt: skip
def test_exposure_is_judged_and_told_within_its_own_space(exposure: Exposure, said: str, note: str) -> None:
    effect = Effect(
        Secret("p", "v"), MemorizationState(True, 0.0, 1.0, "x", exposure), MemorizationState(False, 1.0, 0.5, "y", exposure)
    )
    assert said in wording.verdict_of_effect(effect, 3)["text"]
    facts = {fact["name"]: fact for fact in wording.of_effect(effect)}
    assert note in facts["exposure"]["note"]
    assert (facts["exposure"]["value"] == "-") == (exposure.n == 1)
    assert facts["exposure"]["unit"] == {1: "bits", 6: "bits of 2.58", 10: "bits of 3.32", 256: "bits of 8"}[exposure.n]


def test_a_sweep_shows_how_many_samples_an_even_chance_takes() -> None:
    logprobs = (math.log(0.5), math.log1p(-(0.5**1e-4)))  # an even chance at the first sample, and within 10,000
    rows = [
        SweepRow(k, 0.1, True, 0.1, logprob, None, None, None, None, 0.1, logprobs[0], None, None)
        for k, logprob in zip((1, 2), logprobs, strict=True)
    ]
    figure = plots.sweep_curves(rows)
    assert "samples for an even chance of it (log10)" in [title.text for title in figure.layout.annotations]
    assert [trace.y for trace in figure.data if trace.yaxis == "y2"] == [(0, 0), (0, pytest.approx(4))]


def test_a_long_unit_stands_in_lines_that_fit_a_narrow_screen() -> None:
    unit = "geometric mean of <share> and activation, 3 to 1"
    heat = plots.heatmap(np.ones((2, 24)), plots.all_layers_layout((2, 24)), f"score ({unit})")
    small = plots.small_heatmap(np.ones((2, 24), np.float32), "m", unit)
    subtitle = small.layout.title.text.split("12px'>")[1].removesuffix("</span>")
    for lines in (heat.data[0].colorbar.title.text.split("<br>"), subtitle.split("<br>")):
        assert len(lines) == 2 and all(len(html.unescape(line)) <= 44 for line in lines)
        assert unit in html.unescape(" ".join(lines)) and "&lt;share&gt;" in " ".join(lines)
    assert small.layout.margin.t > plots.small_heatmap(np.ones((2, 24), np.float32), "m", "nats").layout.margin.t


@pytest.mark.parametrize("shape", [(2, 24), (6, 2048), (32, 11008), (1, 701)])
def test_a_small_heatmap_shows_the_highest_score_where_its_neuron_is(shape: tuple[int, int]) -> None:
    values = np.zeros(shape, np.float32)
    best = (shape[0] - 1, shape[1] - 1)
    values[best] = 2.5
    figure = plots.small_heatmap(values, "gradient", "nats")
    drawn, meta = figure.data[0], figure.layout.meta
    [(y, x)] = np.argwhere(np.asarray(drawn.z) == 100)
    # The page marks a neuron at the column and row that `meta` gives its cell.
    cell = best[1] // meta["per"]
    column, row = cell % meta["columns"], best[0] * meta["rows"] + cell // meta["columns"]
    assert y == row
    assert abs(drawn.x0 + drawn.dx * x - column) <= (drawn.dx - 1) / 2
    assert np.asarray(drawn.z).shape[1] <= 701
    assert "2.5" in figure.layout.title.text


def test_a_wide_layer_is_drawn_small() -> None:
    assert np.asarray(plots.small_heatmap(np.ones((32, 11008)), "gradient", "nats").data[0].z).shape == (96, 256)


def test_names_in_a_matrix_are_escaped_and_groups_are_parted() -> None:
    names = [HOSTILE, "b", "c", "d"]
    figure = plots.overlap_matrix(np.full((4, 4), 0.25), names, ["x", "x", "y", HOSTILE])
    assert "<img" not in sent(figure)
    assert sorted(line.x0 for line in figure.layout.shapes if line.x0 == line.x1) == [1.5, 2.5]
    assert np.isnan(np.diag(figure.data[0].z.astype(float))).all(), "a secret's overlap with itself says nothing"
    whole = plots.overlap_matrix(np.array([[0.2, 0.1], [0.1, np.nan]]), ["a", "b"], diagonal=True)
    assert sorted(text for trace in whole.data[1:] for text in trace.text) == ["0.10", "0.10", "0.20"]


def test_every_methods_curve_has_four_panels_and_k_is_marked_in_each() -> None:
    points = [
        CurvePoint(2, True, 0.1, -0.2, exposed(6.0, 64), 1.0, 1.0),
        CurvePoint(20, False, 3.0, -6.0, exposed(2.0, 64), 0.5, 1.1),
    ]
    figure = plots.method_curves({"gradient": points, "random": points[:1]}, [2, 20, 200], 7, MeasuredOn(8, 12, 4, 64))
    titles = [title.text for title in figure.layout.annotations]
    assert titles[1] == "samples for an even chance of it (log10)"
    assert "n = 8 of 12" in titles[2]
    assert "n = 4 paragraphs" in titles[3]
    assert [trace.name for trace in figure.data] == ["gradient"] * 4 + ["random"] * 4
    tries = [0.0, pytest.approx(math.log10(math.log(2) / -math.log1p(-math.exp(-6))))]
    assert [list(trace.y) for trace in figure.data[:4]] == [[0.1, 3.0], tries, [100.0, 50.0], [1.0, 1.1]]
    assert [line.x0 for line in figure.layout.shapes] == [7, 7, 7, 7]
    assert figure.data[4].line.color != figure.data[0].line.color
    without = plots.method_curves(
        {"gradient": [CurvePoint(1, True, 0.1, -0.2, None, None, None)]}, [1], 1, MeasuredOn(0, 0, 0, 1)
    )
    assert [list(trace.y) for trace in without.data[1:4]] == [[0.0], [None], [None]], "not measured yet"


def test_a_mask_that_keeps_what_suffices_shows_what_stays_open() -> None:
    step = LocalizationStep(1, 2, "s", np.array([[1.0, 0.25], [0.0, 0.0]], np.float32), 3, 0.5)
    assert list(plots.curves([step]).data[-1].y) == [3]
    sufficient = plots.curves([step], still_open_of=3).data[-1]
    assert (sufficient.name, list(sufficient.y)) == ("neurons still open", [0]), "the second layer has one neuron only"
    assert plots.live_gates(step).data[0].z.tolist()[0] == [0, 0.75]
    assert plots.live_gates(step, sufficient=True).data[0].z.tolist()[0] == [1, 0.25]


def test_site_bars_add_up_to_the_whole() -> None:
    figure = plots.site_bars({HOSTILE: {"mlp": 0.25, "attention": 0.75}})
    assert [list(bar.x) for bar in figure.data] == [[25.0], [75.0]]
    assert "<img" not in sent(figure)


def on_white(share: float) -> Array:
    """The colour, 0..1, of a cell of this share of the strongest, on a white page."""
    stops = [(at, [float(part) for part in re.findall(r"[\d.]+", color)]) for at, color in HEAT]
    parts = np.array([[*part, 1.0][:4] for _, part in stops])
    mixed = np.array([np.interp(share, [at for at, _ in stops], parts[:, channel]) for channel in range(4)])
    return np.asarray(mixed[3] * mixed[:3] / 255 + (1 - mixed[3]))


def contrast(ink: str | None, paper: Array) -> float:
    """As WCAG 2 defines it: 1 to 21."""
    ink = ink or "#27272a"
    colors = [np.array([int(ink[at : at + 2], 16) / 255 for at in (1, 3, 5)]), paper]
    linear = [np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4) for color in colors]
    light, dark = sorted((float(one @ [0.2126, 0.7152, 0.0722]) for one in linear), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_numbers_can_be_read_on_every_colour_of_a_cell() -> None:
    assert contrast("#000000", np.ones(3)) == pytest.approx(21)
    values = np.linspace(0, 1, 101)[None]
    figure = go.Figure()
    write_cell_texts(figure, values, [[f"{value:.2f}" for value in values[0]]], 1.0, 12)
    inks = {text: trace.textfont.color for trace in figure.data for text in trace.text}
    assert len(inks) == 101
    worst = min((contrast(ink, on_white(float(text))), text) for text, ink in inks.items())
    assert worst[0] >= 4.5, worst
