"""The tab Neurons: what its parts show of a neuron, and which profiles are kept where."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from privlens import intervals
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel, never_stop
from privlens.neuron_places import PlacesRequest, list_places, places_of
from privlens.neurons import store
from privlens.neurons.coupled_records import Coupling, Overlap, Shift, SwitchEffect, Venn
from privlens.neurons.kram import FEWEST_STATES
from privlens.neurons.page import PageRequest, page
from privlens.neurons.page_records import Dimmer, DimmerPoint, NeuronPage
from privlens.neurons.probe_records import Alignment, Erased, LayerGeometry
from privlens.neurons.reports import probe_report
from privlens.neurons.share import share_of
from privlens.neurons.universal_records import UniversalAblation, UniversalContrast, Universality
from privlens.resources import REFERENCE, SECRETS
from privlens.secret_lists import ListedSecret, read_list_file, read_reference
from privlens.types import Neuron, Provenance, Secret
from privlens.ui.sidebar.panel import SidebarValues
from privlens.ui.state.kept import Kept
from privlens.ui.state.places import PlacesCache
from privlens.ui.state.profiles import ROOM, ProfileCache
from privlens.ui.state.session import ModelName, NeuronChoice, Selection
from privlens.ui.tabs.neurons import coupling, probing, scoring, universality, view
from privlens.ui.tabs.neurons.coupling import CouplingForm
from privlens.ui.tabs.neurons.one import LISTED_MOST, NeuronForm, request_of
from privlens.ui.tabs.neurons.probing import ProbeForm
from privlens.ui.tabs.neurons.universality import UniversalForm
from tests.helpers import TAUGHT

TEXTS = ("The ferry leaves at noon from the northern pier.", "Nobody in the village had seen such a winter before.")
NEURON = Neuron(1, 3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "profile_folder", lambda: tmp_path)
    return tmp_path


def shown(lm: LanguageModel) -> NeuronPage:
    request = PageRequest(TEXTS, TAUGHT[0], "A text of a visitor.", tuple(TAUGHT))
    *_, step = page(lm, NEURON, request, use_cache=False)
    assert step.result
    return step.result


def test_a_profile_is_made_once_and_only_of_bundled_text_is_it_on_the_disk(taught: LanguageModel, folder: Path) -> None:
    profiles = ProfileCache()
    assert profiles.ready(taught, TEXTS) is None
    *_, made = profiles.steps(taught, TEXTS)
    assert made.result and profiles.ready(taught, TEXTS) is made.result
    [again] = profiles.steps(taught, TEXTS)
    assert again.result is made.result
    assert list(folder.iterdir()) == [], "a visitor's text leaves no trace"
    *_, _ = profiles.steps(taught, read_reference(REFERENCE))
    assert len(list(folder.iterdir())) == 2, "of the weights, and of the activations"
    for number in range(ROOM):
        *_, _ = profiles.steps(taught, (TEXTS[0], f"Paragraph {number} of another text."))
    assert profiles.ready(taught, TEXTS) is None, "there is room for a few"


def test_places_are_made_once_and_only_of_a_bundled_list_are_they_on_the_disk(taught: LanguageModel, folder: Path) -> None:
    places, listed = PlacesCache(), tuple(ListedSecret(secret, 1) for secret in TAUGHT)
    *_, made = places.steps(PlacesRequest(taught, listed, ("gradient",)), is_public=False)
    [again] = places.steps(PlacesRequest(taught, listed, ("gradient",)), is_public=False)
    assert made.result and again.result is made.result
    *_, other = places.steps(PlacesRequest(taught, listed, ("gradient",), seed=1), is_public=False)
    assert other.result is not made.result
    assert list(folder.iterdir()) == [], "a visitor's list leaves no trace"
    *_, _ = places.steps(PlacesRequest(taught, listed, ("activations",)), is_public=True)
    assert len(list(folder.iterdir())) == 1


def test_what_is_kept_longest_unused_makes_room() -> None:
    kept = Kept[str, int](2)
    kept.keep("a", 1)
    kept.keep("b", 2)
    assert kept.get("a") == 1
    kept.keep("c", 3)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (1, None, 3)


def test_places_are_told_beside_a_random_neuron(taught: LanguageModel) -> None:
    listed = tuple(ListedSecret(secret, 1) for secret in TAUGHT)
    *_, step = list_places(PlacesRequest(taught, listed, ("activations", "gradient")))
    assert step.result
    known = places_of(step.result, listed, Neuron(0, int(step.result.best[0, 0, 0]) % taught.d_mlp))
    neuron, of_gradient, *_ = scoring.facts_of(known)
    total = known.summaries[0]
    assert (neuron["name"], neuron["value"]) == ("neuron", f"L0N{known.neuron.index}")
    assert of_gradient["value"] == f"{total.share.k} of 4" and total.method in of_gradient["name"]
    assert of_gradient["beside"].startswith(f"random L0N{known.random.index}: {total.random_share.k} of 4; mean of its layer: ")
    shown = scoring.drawn(known)[2]["value"]
    assert len(shown) == 2 * 4, "two methods, four categories"


def test_making_a_profile_can_be_cancelled(taught: LanguageModel, folder: Path) -> None:
    profiles = ProfileCache()
    with pytest.raises(Cancelled):
        list(profiles.steps(taught, TEXTS, lambda: True))
    assert profiles.ready(taught, TEXTS) is None


def test_every_part_shows_the_neuron(taught: LanguageModel) -> None:
    known = shown(taught)
    facts = {one["name"]: one for one in view.facts_of(known)}
    assert facts["neuron"]["value"] == "L1N3"
    assert facts["link"]["value"] == f"{taught.fingerprint}/L1N3"
    assert known.alone and facts["secrets that fall"]["value"] == f"{known.alone.chosen.n_lost} of {known.alone.n_known}"
    assert facts["output norm"]["beside"].startswith("more than ")
    secret, own, *contexts = view.readings(known)
    assert "".join(token for token, _ in secret["tokens"]) == f"{TAUGHT[0].prompt} {TAUGHT[0].value}"
    assert secret["from"] == known.on_secret.n_prompt if known.on_secret else False
    assert "".join(token for token, _ in own["tokens"]).strip() == "A text of a visitor."
    assert len(contexts) == len(known.contexts)
    rows = view.alone_rows(known.alone)
    rises = [float(row[3]) - float(row[2]) for row in rows]
    assert rises == sorted(rises, reverse=True) and len(rows) == len(set(TAUGHT))


def test_the_dimmer_shows_the_nearest_position() -> None:
    points = tuple(DimmerPoint(gate, 1 + gate, 2 + gate, 3 + gate, 0.5, None) for gate in (0.0, 1.0, 2.0))
    dimmer = Dimmer(NEURON, points, (), Provenance("m", "f", 0, {}, {}, 0.0))
    nll, entropy, reference = view.dimmed(dimmer, 1.8)
    assert (nll["value"], nll["beside"]) == ("3.000", "random: 0.500")
    assert (entropy["value"], entropy["beside"]) == ("4.000", "before: 3.000")
    assert reference["value"] == "5.0000"
    assert view.dimmed(None, 1.0) == []


def test_a_page_measures_the_secret_in_question_first_and_not_the_whole_of_a_long_list() -> None:
    listed = tuple(ListedSecret(secret) for secret in TAUGHT) * (LISTED_MOST // len(TAUGHT) + 2)
    long = tuple(ListedSecret(TAUGHT[0].__class__(f"p{row}", f"v{row}")) for row in range(2 * LISTED_MOST))

    def request(listed: tuple[ListedSecret, ...], prompt: str, value: str) -> PageRequest:
        return request_of(NeuronForm(SidebarValues(ModelName("m"), listed, prompt, value), TEXTS, "L0N0", "", None))

    assert len(request(listed, "", "").listed) == len(TAUGHT), "each once"
    asked = request(long, "of my own", "4711")
    assert asked.secret and asked.listed[0] == asked.secret and asked.secret.value == "4711"
    assert len(asked.listed) == LISTED_MOST
    assert request(long, "", "").secret is None


def test_what_another_model_shares_is_told_with_its_interval() -> None:
    share = share_of(30, 60)
    nothing = np.zeros((1, 2), np.float32)
    contrast = UniversalContrast(5, 55, 3, 0.2, 0.4, 0.31, (0.2, 0.45), 0.01, 0.02)
    ablation = UniversalAblation(6, (1.01, 1.02), (1.0, 1.0), 0.015, (0.01, 0.02))
    result = Universality(
        "a", "b", nothing, nothing, np.zeros((1, 2, 2), np.int64), 9, 60, 0.5, share, (share,), contrast, ablation,
        Provenance("a", "f", 0, {}, {}, 1.0),
    )  # fmt: skip
    universal, chosen, cost, _ = universality.facts_of(result)
    assert (universal["value"], universal["unit"]) == ("50.0 %", "[37, 63] %")
    assert (chosen["value"], chosen["beside"]) == ("0.31 [0.20, 0.45]", "mean excess 0.20, others 0.40")
    assert "3 of the chosen are silent" in chosen["note"]
    assert cost["value"] == "+0.0150 [+0.0100, +0.0200]"


def test_random_sets_are_one_row_with_their_interval() -> None:
    def effect(name: str, rise: float) -> SwitchEffect:
        return SwitchEffect(name, 4, Shift(1.0, 1.0 + rise, None), Shift(2.0, 2.0, (-0.1, 0.1)), 10.0, 10.0 + rise)

    found = coupling.rows_of(coupling_of((effect("coupled", 0.5), effect("random", 0.1), effect("random", 0.3))))
    assert found[0] == ("coupled", "4", "+0.500", "+0.000 [-0.100, +0.100]", "x1.0500")
    low, high = intervals.mean([0.1, 0.3]) or (0, 0)
    assert found[1] == ("random (2 draws)", "4", f"+0.200 [{low:+.3f}, {high:+.3f}]", "+0.000", "x1.0200")


def coupling_of(effects: tuple[SwitchEffect, ...]) -> Coupling:
    importance = np.zeros((3, 1, 4), np.float32)
    overlap = Overlap(0, 0.0, 1.0, (), None)
    return Coupling(
        ("a", "b"), importance, 1, 1, (), (), (), Venn(0, 0, 0, 0, 0, 0, 0), overlap, (1, 1), (1, 1), effects,
        Provenance("m", "f", 0, {}, {}, 0.0),
    )  # fmt: skip


def test_two_concepts_are_categories_or_texts() -> None:
    listed = tuple(ListedSecret(Secret(f"p{row}", f"v{row}", name), 1) for row, name in enumerate(("card", "mail", "card")))
    form = CouplingForm(
        SidebarValues(ModelName("demo"), listed, "", ""), read_reference(REFERENCE), "list", "card", "mail", "", ""
    )
    assert form.names == ("card", "mail")
    assert form.concepts == ((listed[0].secret, listed[2].secret), (listed[1].secret,))
    assert "--first card --second mail" in coupling.command(form)
    with pytest.raises(BadInput, match="two different categories"):
        _ = replace(form, second="card").concepts
    own = replace(form, source="texts", second="card", first_text="One of us.\n\nTwo.\n", second_text="Three.")
    assert own.concepts == (("One of us.", "Two."), ("Three.",))
    assert coupling.command(own) == "privlens coupled --first text-1.txt --second text-2.txt --model demo"
    assert own.names == ("text-1", "text-2"), "as the command names these files"
    assert own.asked != replace(own, second_text="Four.").asked


def test_commands_of_studies_have_their_seed() -> None:
    side, bundled = SidebarValues(ModelName("demo", chat=True), (), "", ""), read_reference(REFERENCE)
    nothing = {"located": None, "selection": Selection()}
    probed = probing.command(ProbeForm(side, "belongs", "mlp", kram="3", seed=7, **nothing))
    assert probed == ("privlens probe --secrets my-list.csv --target belongs --kind mlp --kram 3 --seed 7 --model demo --chat")
    assert "--kram" not in probing.command(ProbeForm(side, "belongs", "mlp", kram="", seed=7, **nothing))
    shared = universality.command(UniversalForm(side, bundled, "demo-seed1", seed=4, **nothing))
    assert shared == "privlens universal --other demo-seed1 --seed 4 --model demo", "ordinary text has no chat turns"


def test_what_a_map_erased_is_told_beside_its_control() -> None:
    kept = Alignment(10, 20, 0.5, None, 0.5), Alignment(2, 20, 0.31, None, 0.1)
    before, after, control, majority = (share_of(k, 20) for k in (19, 2, 5, 4))
    provenance = Provenance("m", "f", 0, {}, {}, 0.0)
    erased = Erased(
        0, "category", "linear", LayerGeometry(1.0, 2.0, *kept), 3.0, 4.0, before, after, control, majority, provenance
    )
    first, second, spread, stayed, _ = probing.map_facts(erased)
    assert (first["value"], second["value"]) == ("19 of 20", "2 of 20")
    assert "the embeddings" in first["note"] and second["beside"] == "random labels: 5 of 20"
    assert (spread["value"], spread["beside"]) == ("4.0", "before: 3.0")
    assert (stayed["value"], stayed["beside"]) == ("31 %", "by chance: 10 %")


def test_what_stays_of_the_geometry_is_measured_where_neurons_are_off(demo: LanguageModel) -> None:
    side = SidebarValues(ModelName("demo"), read_list_file(SECRETS).secrets.rows, "", "")
    off = NeuronChoice(neurons := tuple(Neuron(2, index) for index in range(400)), frozenset(neurons))
    form = ProbeForm(side, "category", "linear", located=None, selection=Selection(now=off), kram="", seed=0)
    *_, last = probing.steps(form, demo, never_stop)
    found = last.known
    report = probe_report(found.probes, found.stayed, found.erased)
    facts = {fact["name"]: fact for fact in probing.facts_of(found.probes, found.stayed)}
    for name in ("neurons off", "random neurons off"):
        kept = [layer["tenth"]["score"] for layer in report["geometry"][name]]
        assert min(kept) < 1
        said = facts[f"neighbours kept, {name}"]
        assert said["value"] == f"{100 * min(kept):.0f} %"
        assert said["note"].endswith(f"fewest stayed: layer {kept.index(min(kept)) - 1}")
    before_it = report["geometry"]["neurons off"][:3]
    assert all(layer["tenth"]["score"] == 1 for layer in before_it), "embeddings and layers 0 and 1 are as they were"
    short = replace(form, side=replace(side, listed=side.listed[::3]))
    *_, last = probing.steps(short, demo, never_stop)
    found = last.known
    assert found.probes.n_test < FEWEST_STATES <= found.probes.n_train + found.probes.n_test
    assert found.stayed, "of all states, not only of those that probes are tested on"
    *_, last = probing.steps(replace(form, selection=Selection()), demo, never_stop)
    assert last.known.stayed is None, "nothing is off"
