"""Figures of neurons, of the lens and of a prompt: the record's numbers, and no token that is read as markup."""

import numpy as np

from privlens.neurons.card_records import Histogram
from privlens.neurons.lens_records import LensReading
from privlens.neurons.page_records import Dimmer, DimmerPoint
from privlens.outcomes import PromptSalience
from privlens.plots import activation_histogram, dimmer_lines, lens_heatmap, salience_bars
from privlens.types import Neuron, Provenance, Secret

EVIL = "<b>x"
ESCAPED = "&lt;b&gt;x"
MADE = Provenance("m", "0" * 16, 0, {}, {}, 0.0)


def test_a_mark_is_in_the_bin_of_its_activation() -> None:
    fig = activation_histogram(Histogram((-1.0, 0.0, 1.0), (4, 0, 2, 9)), [(EVIL, 0.5), ("low", -3.0), ("edge", 1.0)])
    bars, marks = fig.data
    assert list(bars.y) == [4, None, 2, 9]
    assert list(marks.x) == [2, 0, 3]
    assert bars.hovertext[2] == "0 to 1: 2 tokens"
    assert marks.hovertext[0] == f"{ESCAPED}: 0.5"


def test_the_dimmers_lines_are_its_points() -> None:
    points = tuple(DimmerPoint(gate, 3 - gate, gate, None, 1.0, (0.5, 1.5) if gate != 1 else None) for gate in (0.0, 1.0, 2.0))
    fig = dimmer_lines(Dimmer(Neuron(0, 0), points, (), MADE))
    lines = {(trace.name, trace.yaxis): list(trace.y) for trace in fig.data if trace.name}
    assert lines[("this neuron", "y")] == [3, 2, 1]
    assert lines[("this neuron", "y2")] == [0, 1, 2]
    low, high = (list(trace.y) for trace in fig.data if not trace.name)
    assert (low, high) == ([0.5, 1, 0.5], [1.5, 1, 1.5])


def reading(value: float) -> LensReading:
    numbers = np.full((3, 2), value, np.float32)
    return LensReading(("a", EVIL, "c"), 2, ((EVIL, "c"),) * 3, numbers, numbers, np.full((3, 2), 7))


def test_the_lens_shows_before_and_after_with_escaped_tokens() -> None:
    fig = lens_heatmap(reading(0.25), reading(0.75))
    before, after = fig.data
    assert np.asarray(before.z).tolist() == [[0.25, 0.25]] * 3
    assert np.asarray(after.z).tolist() == [[0.75, 0.75]] * 3
    assert "embeddings" in before.text[0][0] and "after layer 1" in before.text[2][0]
    assert f"true: {ESCAPED}, p = 0.25, rank 7" in before.text[1][0]
    assert f"first: {ESCAPED}" in before.text[1][0]
    assert EVIL not in fig.to_json().replace("\\u003c", "<").replace("\\u003e", ">")
    assert list(fig.layout.xaxis.ticktext) == [ESCAPED, "c"]
    assert (before.showscale, after.showscale) == (True, False)  # one scale serves both
    assert len(lens_heatmap(reading(0.5)).data) == 1


def test_salience_stands_beside_its_control() -> None:
    made = PromptSalience(Secret("a b", "c"), (EVIL, "b"), (1.5, -0.5), -1.0, -2.0, 0.0, (0.1, 0.2), 0.0, MADE)
    fig = salience_bars(made)
    assert [list(bars.y) for bars in fig.data] == [[1.5, -0.5], [0.1, 0.2]]
    assert fig.data[0].hovertext[0] == f"{ESCAPED}: +1.5 nats"
    assert list(fig.layout.xaxis.ticktext) == [ESCAPED, "b"]
