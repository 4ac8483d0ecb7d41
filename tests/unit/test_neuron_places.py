"""The places of one neuron among the secrets of a list: which are drawn, what is kept of a ranking, and what is said of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import privlens
from privlens import plots
from privlens.errors import BadInput, Cancelled
from privlens.intervals import rate
from privlens.lm.model import LanguageModel
from privlens.localization import METHOD_INFO, METHODS, QUICK_METHODS, TRAINED, Task, result_of
from privlens.neuron_places import PlacesRequest, best_neurons, list_places, places_of
from privlens.neurons import store
from privlens.neurons.place_records import ListPlaces, NeuronPlaces
from privlens.secret_lists import ListedSecret
from privlens.types import Neuron, NeuronScores, Provenance, Secret
from tests.helpers import NEVER_TAUGHT, TAUGHT, Run, json_of

PROVENANCE = Provenance("m", "f", 0, {}, {}, 1.0)
LISTED = (*(ListedSecret(secret, 1) for secret in TAUGHT), ListedSecret(NEVER_TAUGHT, 0))


def scores_of(values: list[list[float]]) -> NeuronScores:
    return NeuronScores("m", "mlp", np.array(values, np.float32), None, PROVENANCE)


def found_of(best: list[list[list[int]]], widths: tuple[int, ...] = (4, 4)) -> ListPlaces:
    rows = tuple(range(len(best[0])))
    return ListPlaces(rows, ("gradient", "activations")[: len(best)], np.array(best, np.int32), widths, PROVENANCE)


def made(lm: LanguageModel, *methods: str, seed: int = 0, use_cache: bool = False) -> ListPlaces:
    *_, last = list_places(PlacesRequest(lm, LISTED, methods, seed=seed), use_cache=use_cache)
    assert last.result
    return last.result


def test_quick_methods_are_those_of_a_few_passes() -> None:
    assert set(METHODS) - set(QUICK_METHODS) == {*TRAINED, "zero-out", "random"}
    assert [name for name in QUICK_METHODS if METHOD_INFO[name].retains] == ["contrastive-gradient", "contrastive-activations"]


def test_no_order_is_made_up_among_equal_scores() -> None:
    scores = scores_of([[0, 3, 0], [5, 0, np.nan]])
    assert best_neurons(scores, 2).tolist() == [3, 1]
    assert best_neurons(scores, 3).tolist() == [3, 1], "the third best equals the fourth"
    assert best_neurons(scores, 5).tolist() == [3, 1, 0, 2, 4], "all of them: none is next"


def test_secrets_are_drawn_of_each_category_alike_and_no_controls() -> None:
    lm = object()
    listed = tuple(ListedSecret(Secret(f"p{row}", f"v{row}", "card" if row < 8 else "mail"), row % 2) for row in range(12))

    def rows(n: int, seed: int = 0) -> tuple[int, ...]:
        return PlacesRequest(lm, listed, ("gradient",), n, seed).rows  # type: ignore[arg-type]

    assert rows(100) == (1, 3, 5, 7, 9, 11)
    assert {listed[row].secret.category for row in rows(2)} == {"card", "mail"}
    assert [listed[row].secret.category for row in rows(5)] == ["card"] * 3 + ["mail"] * 2
    assert len({rows(2, seed) for seed in range(20)}) > 1, "another seed draws others"
    with pytest.raises(BadInput, match="no secret that was trained on"):
        PlacesRequest(lm, listed[::2], ("gradient",))  # type: ignore[arg-type]


def test_what_is_asked_wrongly_is_refused(taught: LanguageModel) -> None:
    for methods, n, message in (
        (("stepwise",), 3, "not one of the quick"),
        ((), 3, "No method"),
        (("gradient",), 0, "number of"),
    ):
        with pytest.raises(BadInput, match=message):
            PlacesRequest(taught, LISTED, methods, n)


def test_the_places_are_those_of_the_localizations(taught: LanguageModel) -> None:
    found = made(taught, "gradient", "activations")
    assert found.best.shape[2] == max(1, round(0.01 * taught.n_neurons))
    for number, row in enumerate(found.rows):
        for of_method, method in enumerate(found.methods):
            [neuron] = result_of(method, Task(taught, LISTED[row].secret)).top(1)
            assert places_of(found, LISTED, neuron).places[of_method][number] == 1


def test_half_of_the_others_is_retained_where_a_method_uses_them(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, Secret, tuple[Secret, ...]]] = []

    def record(method: str, task: Task) -> NeuronScores:
        given.append((method, task.target, task.others))
        return scores_of([[0.0, 1.0]])

    monkeypatch.setattr("privlens.neuron_places.result_of", record)
    made(taught, "contrastive-activations", "activations")
    assert [len(others) for method, _, others in given if method == "contrastive-activations"] == [2] * len(TAUGHT)
    assert all(target not in others for _, target, others in given)
    assert not [others for method, _, others in given if method == "activations" and others]


def test_shares_medians_and_controls_by_hand() -> None:
    listed = [ListedSecret(Secret(f"p{row}", f"v{row}", name)) for row, name in enumerate(("card", "card", "card", "mail"))]
    found = found_of([[[1, 2], [2, 1], [6, 7], [5, 1]]])
    known = places_of(found, listed, Neuron(0, 1))
    assert known.places == ((1, 2, None, 2),)
    assert (known.n_best, known.n_neurons, known.chance) == (2, 8, 0.25)
    assert known.random.layer == 0 and known.random != known.neuron
    everything, card, mail = known.summaries
    assert [summary.category for summary in known.summaries] == ["", "card", "mail"]
    assert (everything.share.k, everything.share.n, everything.share.interval) == (3, 4, rate(3, 4))
    assert (everything.median_place, card.median_place, mail.median_place) == (2, 2, 2)
    assert (everything.layer_share, card.layer_share, mail.layer_share) == (5 / 16, 4 / 12, 1 / 4)
    assert places_of(found, listed, Neuron(1, 3)).summaries[0].median_place is None, "below the best for three of four"
    of_random = places_of(found, listed, known.random)
    assert everything.random_share == of_random.summaries[0].share and known.random_places == of_random.places


def test_a_narrow_layer_counts_its_own_neurons() -> None:
    """Neuron 1 of layer 1 stands at 1 * 4 + 1, also where that layer has two neurons."""
    known = places_of(found_of([[[5, 0]]], (4, 2)), LISTED, Neuron(1, 1))
    assert known.places == ((1,),)
    assert known.n_neurons == 6 and known.random == Neuron(1, 0)
    assert known.summaries[0].layer_share == 1 / 2


def test_it_can_be_cancelled(taught: LanguageModel) -> None:
    asked = iter((False, False, True))
    steps = list_places(PlacesRequest(taught, LISTED, ("gradient",), stop=lambda: next(asked, True)))
    with pytest.raises(Cancelled):
        list(steps)


def test_the_disk_has_numbers_and_only_where_asked(
    taught: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "profile_folder", lambda: tmp_path)
    first = made(taught, "gradient")
    assert not list(tmp_path.iterdir())
    stored = made(taught, "gradient", use_cache=True)
    [path] = tmp_path.iterdir()
    assert not [secret.value for secret in TAUGHT if secret.value.encode() in path.read_bytes()]
    assert (stored.best == first.best).all()
    monkeypatch.setattr("privlens.neuron_places.result_of", lambda *_: pytest.fail("localized again"))
    assert (made(taught, "gradient", use_cache=True).best == first.best).all()
    with pytest.raises(pytest.fail.Exception):
        made(taught, "gradient", seed=1, use_cache=True)


def test_from_python(taught: LanguageModel) -> None:
    found = privlens.list_places(taught, LISTED, ["gradient"], n_secrets=2)
    layer, index = divmod(int(found.best[0, 0, 0]), taught.d_mlp)
    known = privlens.places_of(taught, found, LISTED, f"L{layer}N{index}")
    assert known.places[0][0] == 1 and len(known.rows) == 2
    with pytest.raises(BadInput, match="layer 9"):
        privlens.places_of(taught, found, LISTED, Neuron(9, 0))
    other = replace(found, provenance=replace(found.provenance, fingerprint="0" * 16))
    with pytest.raises(BadInput, match="another model"):
        privlens.places_of(taught, other, LISTED, Neuron(0, 0))


def known_of(n: int) -> NeuronPlaces:
    listed = [ListedSecret(Secret("p", f"<b>{row}", "card" if row < n // 2 else "mail")) for row in range(n)]
    return places_of(found_of([[[1, 2]] * n, [[3, 1]] * n]), listed, Neuron(0, 1))


def test_the_picture_has_both_neurons_and_tells_places_in_words() -> None:
    figure = plots.places_heatmap(known_of(3))
    own, control = figure.data
    titles = [axis.title.text for axis in (figure.layout.xaxis, figure.layout.xaxis2)]
    assert titles == ["L0N1", f"random: L0N{known_of(3).random.index}"]
    assert list(own.z[0]) == [1, pytest.approx(0.15)], "first is strongest, the last of the best still to be seen"
    assert own.text[0][1] == "row 0, card: &lt;b&gt;0<br>activations: place 2"
    assert all(value is None or value > 0 for row in control.z for value in row)
    assert figure.layout.yaxis.ticktext == ("card 0", "mail 1", "mail 2")


def test_of_many_secrets_the_picture_names_categories() -> None:
    figure = plots.places_heatmap(known_of(40))
    assert figure.layout.yaxis.ticktext == ("card", "mail") and figure.layout.yaxis.tickvals == (9.5, 29.5)


def test_on_the_command_line(run: Run) -> None:
    asked = ["neuron", "L1N3", "--secrets", "secrets.csv", "--reference", "reference.txt"]
    found = json_of(run(*asked, "--places", "3", "--methods", "gradient,activations", "--json"))["places"]
    assert found["methods"] == ["gradient", "activations"] and len(found["rows"]) == 3
    assert [len(row) for row in found["places"]] == [3, 3]
    assert json_of(run(*asked, "--json"))["places"] is None
    code, said, _ = run(*asked, "--places", "3", "--methods", "gradient")
    assert code == 0 and "Random neuron of the same layer: L1N" in said and "in the best 1 %" in said
    code, _, err = run("neuron", "L1N3", "--prompt", "a", "--value", "b", "--places", "3")
    assert code == 2 and "--secrets" in err
    assert run(*asked, "--places", "3", "--methods", "stepwise")[0] == 2
