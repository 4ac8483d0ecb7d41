"""Pictures of the kin methods: areas to scale, every number in its place, names escaped."""

import math
from dataclasses import replace

import numpy as np
import pytest

from privlens import plots
from privlens.audit.invented import invented_audit
from privlens.intervals import rate
from privlens.neurons.coupled_records import Coupling, Venn
from privlens.neurons.coupled_sets import overlap
from privlens.neurons.entropy_memorization import grouped, line_through
from privlens.neurons.entropy_records import ENTROPY_CAUTIONS, EntropyItem, EntropyLaw
from privlens.neurons.probe_records import Alignment, Erased, LayerGeometry, ProbeRun, Probes
from privlens.neurons.share import share_of
from privlens.neurons.universal_records import Universality
from privlens.plots.kin import distance_of_circles, lens_area
from privlens.types import Neuron, Provenance

PROVENANCE = Provenance("demo", "00ff", 3, {}, {"torch": "2"}, 1.5)


def coupling(n_first: int, n_second: int, n_both: int) -> Coupling:
    neurons = [Neuron(index // 50, index % 50) for index in range(n_first + n_second - n_both)]
    first, second = tuple(neurons[:n_first]), tuple(neurons[n_first - n_both :])
    return Coupling(
        names=("card", "<b>id"),
        importance=np.ones((3, 4, 50), np.float32),
        k_top=n_first,
        k_general=3,
        first=first,
        second=second,
        coupled=tuple(neuron for neuron in first if neuron in second),
        venn=Venn(n_first - n_both, n_second - n_both, 9, n_both, 2, 1, 4),
        overlap=overlap(200, n_first, n_second, n_both),
        n_used=(1, 1),
        n_measured=(1, 1),
        effects=(),
        provenance=PROVENANCE,
    )


def test_circles_share_what_their_sets_share() -> None:
    """Two circles of radius 1 at distance 1 share 2 pi/3 - sqrt(3)/2."""
    assert lens_area(1, 1, 1) == pytest.approx(2 * math.pi / 3 - math.sqrt(3) / 2)
    assert distance_of_circles(1, 1, 2 * math.pi / 3 - math.sqrt(3) / 2) == pytest.approx(1)
    assert distance_of_circles(1, 2, 0) == 3
    assert distance_of_circles(1, 2, math.pi) == 1


@pytest.mark.parametrize("sizes", [(60, 50, 20), (60, 50, 0), (60, 10, 10), (5, 80, 1)])
def test_a_venn_is_to_scale(sizes: tuple[int, int, int]) -> None:
    figure = plots.venn(coupling(*sizes))
    first, second = figure.layout.shapes
    radii = ((first.x1 - first.x0) / 2, (second.x1 - second.x0) / 2)
    assert [math.pi * radius**2 for radius in radii] == pytest.approx(list(sizes[:2]))
    apart = (second.x0 + second.x1) / 2
    shared = lens_area(*radii, apart) if sizes[2] else 0
    assert shared == pytest.approx(sizes[2], abs=1e-3)
    assert list(figure.data[0].text) == [
        f"card only<br>{sizes[0] - sizes[2]}", f"both<br>{sizes[2]}", f"&lt;b&gt;id only<br>{sizes[1] - sizes[2]}",
    ]  # fmt: skip
    assert "general text has 6 of the best of card, 5 of &lt;b&gt;id" in figure.layout.title.text


def test_labels_of_a_venn_stand_in_their_parts() -> None:
    figure = plots.venn(coupling(60, 50, 20))
    left, middle, right = figure.data[0].x
    first, second = figure.layout.shapes
    assert first.x0 < left < second.x0 < middle < first.x1 < right < second.x1
    low, high = figure.layout.xaxis.range
    assert low < first.x0 and second.x1 < high and figure.layout.yaxis.range[0] < first.y0, "no circle is cut"


def test_the_map_has_every_neuron_in_its_part() -> None:
    found = coupling(60, 50, 20)
    figure = plots.coupled_map(found, plots.all_layers_layout((4, 50)))
    cells = np.array(figure.data[0].z)
    assert [np.count_nonzero(cells == color) for color in (1, 2, 3)] == [40, 30, 20]
    assert list(figure.data[0].colorbar.ticktext) == ["none", "card only", "&lt;b&gt;id only", "both"]


def test_the_histogram_counts_given_and_other_neurons() -> None:
    correlation = np.array([[0.9, 0.8, 0.3, np.nan], [0.2, 0.2, 0.2, 0.2]], np.float32)
    result = Universality(
        "a", "b", correlation, np.full((2, 4), 0.1, np.float32), np.zeros((2, 4, 2), np.int64), 10, 7, 0.5, share_of(2, 7), (),
        None, None, PROVENANCE,
    )  # fmt: skip
    figure = plots.excess_histogram(result, [Neuron(0, 0), Neuron(0, 3)])
    assert [trace.name for trace in figure.data] == ["given neurons (1)", "other neurons (6)"]
    assert [sum(trace.y) for trace in figure.data] == pytest.approx([100, 100])
    [bar] = [x for x, y in zip(figure.data[0].x, figure.data[0].y, strict=True) if y]
    assert bar == pytest.approx(0.8, abs=0.0126)
    assert figure.layout.shapes[0].x0 == 0.5
    assert [trace.name for trace in plots.excess_histogram(result).data] == ["neurons (7)"]


def law() -> EntropyLaw:
    values = [(1, 1), (1, 2), (1, 2, 3, 4), (1, 2, 3, 4, 5, 6, 7, 8)]
    groups = grouped([0, 1, 2, 3], values)
    line = line_through([group.entropy for group in groups], [group.distance for group in groups])
    items = tuple(EntropyItem(row, "a<b", row, len(value), float(row)) for row, value in enumerate(values))
    return EntropyLaw(4, 0, 1, groups, line, None, None, 0.25, 9, 0.5, "", items, PROVENANCE)


def test_the_line_has_items_beside_sets_and_its_objections_below() -> None:
    figure = plots.entropy_line(law())
    items, sets, line = figure.data
    assert (list(items.x), list(items.y)) == ([0, 1, 2, 3], [0, 1, 2, 3])
    assert list(sets.x) == [0, 1, 2, 3]
    assert list(line.y) == pytest.approx([0, 3])
    assert "r 1.00" in sets.name
    assert "a&lt;b" in items.text[0]
    below = figure.layout.annotations[0].text.replace("<br>", " ")
    assert all(caution in below for caution in ENTROPY_CAUTIONS)
    assert "r 0.25 on average, as high as here with p 0.5" in below


def test_sets_of_an_audit_stand_alone_with_the_line_and_the_objections() -> None:
    sets = invented_audit().entropy
    assert sets and sets.line
    figure = plots.entropy_of_sets(replace(sets, n_left_out=3))
    circles, line = figure.data
    assert list(circles.x) == [group.entropy for group in sets.groups]
    assert list(circles.y) == [group.distance for group in sets.groups]
    assert line.y[1] - line.y[0] == pytest.approx(sets.line.slope * (line.x[1] - line.x[0]))
    below = figure.layout.annotations[0].text.replace("<br>", " ")
    assert below.startswith("So that none shows alone, 3 secrets in sets of fewer than 5 are left out.")
    assert all(caution in below for caution in ENTROPY_CAUTIONS)
    assert "left out" not in plots.entropy_of_sets(replace(sets, n_left_out=0)).layout.annotations[0].text


def test_too_few_sets_are_said_in_the_picture() -> None:
    figure = plots.entropy_line(replace(law(), line=None, too_few="2 sets of equal distance: a line needs 4."))
    assert len(figure.data) == 2
    assert figure.layout.annotations[0].text.startswith("2 sets of equal distance: a line needs 4.")


def test_probes_over_layers_with_intervals_and_control() -> None:
    shares = (share_of(10, 20), share_of(20, 20))
    runs = tuple(ProbeRun(name, shares, (share_of(5, 20),) * 2, shares, None) for name in ("all on", "neurons off"))
    figure = plots.probe_curves(Probes("category", "linear", ("a", "b"), 30, 20, 0, share_of(6, 20), runs, PROVENANCE))
    accuracy, control, _, off_control = figure.data
    assert list(accuracy.y) == [50, 100]
    low, high = rate(10, 20)
    assert accuracy.error_y.array[0] == pytest.approx(100 * (high - 0.5))
    assert accuracy.error_y.arrayminus[0] == pytest.approx(100 * (0.5 - low))
    assert list(control.y) == list(off_control.y) == [25, 25]
    assert figure.layout.shapes[0].y0 == 30


def test_a_map_is_shown_beside_its_control_and_by_chance() -> None:
    kept = (Alignment(10, 20, 0.5, None, 10 / 19), Alignment(2, 20, 0.3, None, 2 / 19))
    before, after, control, majority = (share_of(k, 20) for k in (19, 2, 5, 4))
    erased = Erased(
        3, "category", "linear", LayerGeometry(1.0, 2.0, *kept), 3.0, 4.0, before, after, control, majority, PROVENANCE
    )
    figure = plots.kram_bars(erased)
    *read, stayed, by_chance = figure.data
    assert [(bar.x[0], bar.y[0]) for bar in read] == [("before", 95), ("after", 10), ("control task", 25), ("largest class", 20)]
    low, high = rate(2, 20)
    assert (read[1].error_y.array[0], read[1].error_y.arrayminus[0]) == pytest.approx((100 * (high - 0.1), 100 * (0.1 - low)))
    assert list(stayed.y) == [50, 30] and list(by_chance.y) == pytest.approx([1000 / 19, 200 / 19])
