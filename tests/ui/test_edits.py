"""A visitor's edits: what stands on what, undo, files, and that nobody else has them; on a tiny model and edits made by hand."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from privlens.errors import BadInput
from privlens.lm.edit_files import save_edit
from privlens.lm.model import LanguageModel
from privlens.provenance import provenance
from privlens.types import Change, Edit, Secret
from privlens.ui.state import session
from privlens.ui.state.edits import EditEntry, EditList, Edits, below, opened
from privlens.ui.state.session import ModelCache, ModelName
from privlens.ui.tabs.erase.edit_list import kept_at, label, view, written


@pytest.fixture
def shelf(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> ModelCache:
    monkeypatch.setattr(session, "load", lambda *_: lm)
    return ModelCache(ModelName("m"))


def edit_of(lm: LanguageModel, at: int = 0, add: float = 1.0) -> Edit:
    """One weight of the first parameter becomes larger."""
    name, weight = next(iter(lm.model.named_parameters()))
    with lm.held():
        old = weight.detach().flatten()[at : at + 1].numpy().copy()
    return Edit({name: Change(np.array([at]), old, old + add)}, provenance(lm, 0, {"method": "by hand"}, 0.0))


def made(shelf: ModelCache, now: EditList, at: int) -> EditList:
    """As the tab does it: on the model as the visitor sees it."""
    lm = shelf.get(ModelName("m", edits=now.now.on))
    return now.added(EditEntry(f"e{at}", edit_of(lm, at), lm.edits, (Secret("p", f"v{at}"),)))


def works(shelf: ModelCache, edits: Edits) -> bool:
    """Whether the model takes the edits in place in their order."""
    return shelf.get(ModelName("m", edits=edits.on)).edits == edits.on


def test_what_stands_on_an_edit_goes_and_comes_with_it(shelf: ModelCache) -> None:
    now = made(shelf, made(shelf, EditList(), 0), 1)
    first, second = now.now.kept
    assert second.under == (first.edit,)
    assert now.now.ticked == [0, 1]
    assert now.now.with_on([1]).on == (), "the first was unticked, and the second stands on it"
    off = now.now.with_on([])
    assert off.with_on([1]).on == (first.edit, second.edit)
    assert off.with_on([0]).on == (first.edit,)
    assert all(works(shelf, one) for one in (now.now, off, off.with_on([1]), off.with_on([0])))


def test_edits_made_apart_compose_in_an_order_that_the_model_takes(shelf: ModelCache) -> None:
    """A, then B on A; both off; C on the plain model. C is behind A and B, though in the list it is not."""
    alone = made(shelf, EditList(), 2)
    now = made(shelf, made(shelf, alone.to(alone.now.with_on([])), 0), 1)
    both = now.now.with_on([0, 1, 2])
    assert [one.name for edit in both.on for one in both.kept if one.edit is edit] == ["e0", "e1", "e2"]
    assert works(shelf, both)


def test_two_stacks_made_apart_do_not_go_together_and_it_is_said(shelf: ModelCache) -> None:
    now = made(shelf, made(shelf, EditList(), 0), 1)
    now = now.to(now.now.with_on([]))
    now = made(shelf, made(shelf, now, 2), 3)
    assert now.now.ticked == [2, 3]
    with pytest.raises(BadInput, match="Edits 4 and 2 do not go together"):
        now.now.with_on([0, 1, 2, 3])
    assert works(shelf, now.now.with_on([0, 1, 2])), "the third alone can stand behind them"


def test_an_edit_that_carries_another_is_not_removed(shelf: ModelCache) -> None:
    now = made(shelf, made(shelf, EditList(), 0), 1)
    with pytest.raises(BadInput, match="Edit 2 was made on top of edit 1: remove that first"):
        now.now.without(0)
    left = now.now.without(1)
    assert (len(left.kept), left.on) == (1, now.now.on[:1])
    assert left.without(0) == Edits()


def test_every_change_of_the_list_can_be_taken_back(shelf: ModelCache) -> None:
    one = made(shelf, EditList(), 0)
    off = one.to(one.now.with_on([]))
    gone = off.to(off.now.without(0))
    assert gone.now == Edits()
    assert gone.undo().now == off.now
    assert gone.undo().undo().now == one.now
    assert gone.undo().undo().redo().redo().now == gone.now
    assert EditList().undo() == EditList()


def test_an_edit_made_while_the_list_changed_is_kept_but_not_put_in_place(shelf: ModelCache) -> None:
    now = made(shelf, EditList(), 0)
    late = EditEntry("late", edit_of(shelf.get(ModelName("m")), 1))
    assert now.added(late).now.on == now.now.on
    assert now.added(late).now.kept[-1] is late


def test_the_list_follows_a_plant_and_another_model(shelf: ModelCache) -> None:
    now = made(shelf, EditList(), 0)
    mine = ModelName("m", edits=now.now.on)
    plant = edit_of(shelf.get(mine), 1)
    planted = mine._replace(edits=(*mine.edits, plant))
    followed = now.following(shelf, planted)
    assert followed.now.on == planted.edits
    assert followed.now.kept[1].under == now.now.on
    assert followed.following(shelf, planted) is followed
    assert followed.following(shelf, ModelName("m")).now.on == (), "another model has no edits in place; the list keeps them"
    assert len(followed.following(shelf, ModelName("m")).now.kept) == 2


def test_what_was_erased_before_is_known_for_the_edits_in_place(shelf: ModelCache) -> None:
    now = made(shelf, made(shelf, EditList(), 0), 1)
    assert now.now.targets_of(now.now.on[:1]) == (Secret("p", "v0"),)


def test_a_saved_edit_opens_on_its_model_and_is_refused_on_another(shelf: ModelCache, lm: LanguageModel, tmp_path: Path) -> None:
    edit = edit_of(lm)
    path = written(edit, str(tmp_path / "cache"))
    assert Path(path).name == f"edit-by-hand-{lm.fingerprint}.safetensors"
    assert Path(path).parent.parent == tmp_path / "cache"
    assert Path(path).parent.stat().st_mode & 0o077 == 0, "nobody else on the machine reads it"
    assert written(edit, str(tmp_path / "cache")) != path, "its place cannot be told from what it holds"
    found = opened(shelf, ModelName("m"), path)
    assert found.under == ()
    assert shelf.get(ModelName("m", edits=(found.edit,))).fingerprint == lm.under(edit).fingerprint
    on_top = edit_of(lm.under(edit), 1)
    save_edit(on_top, tmp_path / "top.safetensors")
    with pytest.raises(BadInput, match="switch on the edits that were in place"):
        opened(shelf, ModelName("m"), str(tmp_path / "top.safetensors"))
    assert below(shelf, ModelName("m", edits=(edit,)), on_top) == (edit,)


@pytest.mark.parametrize("method", ["../../../../x", "/etc/x", "..\\..\\x", "x\0y", "x" * 900, "\N{SMILE}", ""])
def test_a_methods_name_never_becomes_a_path(lm: LanguageModel, tmp_path: Path, method: str) -> None:
    edit = edit_of(lm)
    for about in (
        replace(edit.provenance, settings={"method": method}), replace(edit.provenance, fingerprint=method),
        replace(edit.provenance, settings={"method": [method]}),
    ):  # fmt: skip
        path = Path(written(replace(edit, provenance=about), str(tmp_path / "cache")))
        assert path.parent.parent == tmp_path / "cache"
        assert re.fullmatch(r"edit-[a-z0-9-]{0,82}\.safetensors", path.name)


def test_a_file_that_is_no_edit_is_refused_by_its_own_name(shelf: ModelCache, tmp_path: Path) -> None:
    (tmp_path / "notes.safetensors").write_text("no edit")
    with pytest.raises(BadInput, match=r"^notes\.safetensors is not an edit"):
        opened(shelf, ModelName("m"), str(tmp_path / "notes.safetensors"))


def test_one_visitors_edits_are_in_no_other_visitors_model(shelf: ModelCache, lm: LanguageModel) -> None:
    before = lm.fingerprint
    mine, other = made(shelf, EditList(), 0), EditList()
    assert shelf.get(ModelName("m", edits=mine.now.on)).fingerprint != before
    assert shelf.get(ModelName("m", edits=other.now.on)).fingerprint == before


def test_the_list_says_what_is_in_place_and_what_stands_on_what(shelf: ModelCache) -> None:
    now = made(shelf, made(shelf, EditList(), 0), 1)
    facts, ticks, undo, redo, _, which = view(now)
    assert [fact["value"] for fact in facts["value"]] == ["2 of 2", "2"]
    assert (ticks["value"], which["value"]) == ([0, 1], 1)
    assert (undo["interactive"], redo["interactive"]) == (True, False)
    assert label(now, 1) == "2. e1: 1 weights, on top of 1"
    assert kept_at(now, 1).name == "e1"
    with pytest.raises(BadInput, match="no edit yet"):
        kept_at(EditList(), None)
    assert view(EditList())[1]["visible"] is False
