"""A visit saved to a file and opened again: the same neurons, edits and settings; values only where they are to be kept."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.provenance import provenance
from privlens.secret_lists import ListedSecret
from privlens.types import Change, Edit, NeuronScores
from privlens.ui.state.edits import EditEntry, EditList
from privlens.ui.state.session import Localization, ModelCache, ModelName, NeuronChoice, best
from privlens.ui.state.session_files import Values, Visit, from_file, hidden, to_file
from privlens.ui.tabs.localize.tab import report_of
from privlens.ui.tabs.session_part import valid
from tests.helpers import TAUGHT

LISTED = tuple(map(ListedSecret, TAUGHT))


def nudge(lm: LanguageModel, by: float, place: int = 0) -> Edit:
    """An edit of one weight."""
    name, weight = next(iter(lm.model.named_parameters()))
    old = weight.detach().flatten()[place : place + 1].cpu().numpy().copy()
    return Edit({name: Change(np.array([place]), old, old + np.float32(by))}, provenance(lm, 0, {"method": "by hand"}, 0.0))


@pytest.fixture(scope="module")
def visit(taught_folder: str) -> tuple[ModelCache, Visit]:
    """A localization with a neuron switched on again, and three edits of which the last two are active, one on the other."""
    shelf, name = ModelCache(ModelName(taught_folder)), ModelName(taught_folder)
    lm = shelf.get(name)
    widths = lm.widths()
    values = np.linspace(0, 1, len(widths) * max(widths), dtype=np.float32).reshape(len(widths), max(widths))
    scores = NeuronScores("gradient", "mlp", values, 4, provenance(lm, 3, {}, 0.0))
    chosen = best(scores, 4)
    choice = NeuronChoice(chosen.neurons, chosen.off - {chosen.neurons[1]})
    first, second = nudge(lm, 0.001), nudge(lm, 0.002)
    below = name._replace(edits=(second,))
    third = nudge(shelf.get(below), 0.003, place=1)
    entries = [
        EditEntry(f"{TAUGHT[1].value}, by hand, 10:00", first, (), (TAUGHT[1],)),
        EditEntry(f"{TAUGHT[0].value}, by hand, 10:01", second, (), (TAUGHT[0],)),
        EditEntry(f"{TAUGHT[0].value}, by hand, 10:02", third, (second,), (TAUGHT[0],)),
    ]
    edits = EditList()
    for entry in entries:
        edits = replace(edits, now=replace(edits.now, kept=(*edits.now.kept, entry)))
    edits = replace(edits, now=edits.now.with_on([1, 2]))
    found = Localization(TAUGHT[0], frozenset({TAUGHT[1]}), scores)
    settings = {"method": "gradient", "seed": 3}
    return shelf, Visit(name._replace(edits=edits.now.on), LISTED, TAUGHT[0], settings, found, choice, edits)


@pytest.mark.parametrize("values", ["kept", "hidden", "left out"])
def test_a_session_comes_back_as_it_was(visit: tuple[ModelCache, Visit], values: Values) -> None:
    shelf, before = visit
    plain = before.model._replace(edits=())
    text = to_file(before, shelf.get(plain).fingerprint, values, report_of)
    for secret in TAUGHT[:2]:
        assert (secret.value in text) is (values == "kept")
        assert (secret.prompt in text) is (values == "kept")
    assert (json.dumps(hidden(TAUGHT[0].value)) in json.dumps(json.loads(text))) is (values == "hidden")
    after = from_file(text, shelf, plain, LISTED)
    assert after.secret == TAUGHT[0]
    assert after.settings == before.settings
    assert after.choice == before.choice
    assert after.localization is not None
    assert before.localization is not None
    assert after.localization.target == TAUGHT[0]
    assert after.localization.retained == {TAUGHT[1]}
    assert np.array_equal(after.localization.scores.scores, before.localization.scores.scores)
    assert after.localization.scores.provenance == before.localization.scores.provenance
    assert after.edits.now.ticked == [1, 2]
    assert shelf.get(after.model).fingerprint == shelf.get(before.model).fingerprint
    assert [entry.targets for entry in after.edits.now.kept] == [(TAUGHT[1],), (TAUGHT[0],), (TAUGHT[0],)]
    assert not after.edits.unsaved


def test_a_session_without_values_needs_its_list_and_one_with_them_does_not(visit: tuple[ModelCache, Visit]) -> None:
    shelf, before = visit
    plain = before.model._replace(edits=())
    fingerprint = shelf.get(plain).fingerprint
    with pytest.raises(BadInput, match="not in the list"):
        from_file(to_file(before, fingerprint, "left out", report_of), shelf, plain, LISTED[2:])
    assert from_file(to_file(before, fingerprint, "kept", report_of), shelf, plain, ()).secret == TAUGHT[0]


@pytest.mark.parametrize(
    "broken",
    [
        "[]",
        "{}",
        '{"kind": "privlens session 1"}',
        "no JSON",
        {"scores": {"method": 1}},
        {"off": [[99, 0]]},
        {"neurons": [[0, -1]]},
    ],
)
def test_a_strangers_file_is_refused_in_words(visit: tuple[ModelCache, Visit], broken: str | dict[str, object]) -> None:
    shelf, before = visit
    plain = before.model._replace(edits=())
    whole = to_file(before, shelf.get(plain).fingerprint, "kept", report_of)
    text = broken if isinstance(broken, str) else json.dumps({**json.loads(whole), **broken})
    with pytest.raises(BadInput, match="no session file"):
        from_file(text, shelf, plain, LISTED)


def test_a_session_of_another_model_says_which(visit: tuple[ModelCache, Visit], tmp_path: Path) -> None:
    shelf, before = visit
    text = to_file(before, "another", "kept", report_of)
    with pytest.raises(BadInput, match="saved with another model"):
        from_file(text, shelf, before.model._replace(edits=()), LISTED)


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [("rounds", "", True), ("rounds", "10", True), ("rounds", 10, False), ("hold", None, False), ("depth", "deep", False)],
)
def test_a_setting_of_a_strangers_file_is_shown_only_where_its_control_can_have_it(name: str, value: object, fits: bool) -> None:
    assert valid(name, value) is fits
