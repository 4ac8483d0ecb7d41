"""A visitor's values: choices and their undo, the shelf of models, which others judge."""

import copy
import weakref
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
import torch

from privlens.errors import BadInput, ModelDamaged, ModelNotFound
from privlens.lm.model import LanguageModel
from privlens.secret_lists import ListedSecret
from privlens.types import Neuron, NeuronScores, Provenance, Secret
from privlens.ui.state import session
from privlens.ui.state.session import Localization, ModelCache, ModelName, Selection, best, fitting
from privlens.ui.tabs.deactivate.tab import judges_of
from privlens.ui.tabs.localize.selection import key_of, ticked
from privlens.ui.text import wording

A, B, C = Neuron(0, 1), Neuron(0, 2), Neuron(1, 0)


def scores(fingerprint: str = "f") -> NeuronScores:
    values = np.array([[0.0, 3.0, 2.0], [1.0, -1.0, -2.0]], dtype=np.float32)
    return NeuronScores("gradient", "mlp", values, 2, Provenance("m", fingerprint, 0, {}, {}, 0.0))


def test_a_click_toggles_and_undo_and_redo_walk_through_the_choices() -> None:
    first = Selection().to(best(scores(), 2))
    assert first.now.switched_off == (A, B)
    second = first.toggled(A)
    assert (second.now.switched_off, second.now.switched_on) == ((B,), (A,))
    third = second.toggled(C)
    assert third.now.neurons == (A, B, C)
    assert third.now.switched_off == (B, C)
    assert third.undo().now == second.now
    assert third.undo().redo() == third
    assert third.undo().undo().undo().now.neurons == ()
    assert Selection().undo() == Selection().redo() == Selection()
    assert third.undo().toggled(B).future == ()


def test_the_same_choice_again_is_no_step_to_undo() -> None:
    chosen = Selection().to(best(scores(), 2))
    assert chosen.to(best(scores(), 2)) is chosen


def test_a_layer_is_switched_as_a_whole_and_the_others_stay() -> None:
    chosen = Selection().to(best(scores(), 3)).toggled(A)
    assert chosen.layers_off == {1}
    assert chosen.with_layers_off(frozenset({0, 1})).now.off == {A, B, C}
    assert chosen.with_layers_off(frozenset()).now.off == {B}


def test_a_box_says_that_its_own_neuron_is_off_and_nothing_of_the_others() -> None:
    def clicked(neuron: Neuron, selected: bool) -> gr.SelectData:
        return gr.SelectData(None, {"index": 0, "value": key_of(neuron), "selected": selected})

    chosen = ticked(Selection().to(best(scores(), 3)), clicked(A, False))
    assert chosen.now.off == {B, C}
    assert ticked(chosen, clicked(A, False)) == chosen, "said twice"
    assert ticked(chosen, clicked(B, False)).now.off == {C}
    assert ticked(chosen, clicked(A, True)).now.off == {A, B, C}


def test_neurons_of_another_model_are_refused(lm: LanguageModel) -> None:
    target = Secret("p", "v")
    with pytest.raises(BadInput, match="localized yet"):
        fitting(None, lm)
    with pytest.raises(BadInput, match="another model"):
        fitting(Localization(target, frozenset(), scores("other")), lm)
    found = Localization(target, frozenset(), scores(lm.fingerprint))
    assert fitting(found, lm) is found


def test_the_shelf_loads_once_keeps_the_first_and_forgets_the_unused(monkeypatch: pytest.MonkeyPatch, lm: LanguageModel) -> None:
    loaded: list[str] = []

    def load(name: str, device: str, dtype: str) -> LanguageModel:
        if name == "bad":
            raise ModelNotFound("no")
        loaded.append(name)
        return lm

    monkeypatch.setattr(session, "load", load)
    shelf = ModelCache(ModelName("first"), room=2)
    for name in ("second", "second", "third", "first", "second"):
        shelf.get(ModelName(name))
    assert loaded == ["first", "second", "third", "second"]
    with pytest.raises(ModelNotFound):
        shelf.get(ModelName("bad"))
    assert loaded == ["first", "second", "third", "second"]


def gone(references: list[weakref.ref[object]]) -> bool:
    return all(reference() is None for reference in references)


def test_unloading_frees_every_weight_and_the_first_stays(folder: str, taught_folder: str) -> None:
    first, second = ModelName(folder, "cpu"), ModelName(taught_folder, "cpu")
    shelf = ModelCache(first)
    other = [weakref.ref(part) for part in shelf.get(second).model.parameters()]
    own = [weakref.ref(part) for part in shelf.get(first).model.parameters()]
    assert len(other) > 10
    shelf.unload(first)
    assert not gone(own) and not gone(other)
    shelf.unload(second)
    assert gone(other) and not gone(own)
    assert shelf.get(second).name == taught_folder, "who asks gets it again"


def test_what_is_pushed_off_the_shelf_is_freed_and_a_failed_load_changes_nothing(folder: str, taught_folder: str) -> None:
    shelf = ModelCache(ModelName(folder, "cpu"), room=2)
    held = [weakref.ref(part) for part in shelf.get(ModelName(taught_folder, "cpu")).model.parameters()]
    with pytest.raises(ModelNotFound):
        shelf.get(ModelName("/nowhere", "cpu"))
    with pytest.raises(BadInput):
        shelf.get(ModelName(folder, "toaster"))
    assert not gone(held)
    shelf.get(ModelName(taught_folder, "cpu", "bfloat16"))
    assert gone(held)


def test_a_model_that_could_not_be_put_back_is_loaded_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, taught: LanguageModel
) -> None:
    made: list[LanguageModel] = []

    def loaded(name: str, device: str, dtype: str) -> LanguageModel:
        made.append(LanguageModel(name, copy.deepcopy(taught.model), taught.tokenizer))
        return made[-1]

    monkeypatch.setattr("privlens.ui.state.session.load", loaded)
    shelf = ModelCache(ModelName("m"))

    def never_stop() -> None:
        raise RuntimeError("out of memory for good")

    broken, [name, *_] = shelf.get(ModelName("m")), [name for name, _ in taught.model.named_parameters()]
    words = "m could not be restored"
    with pytest.raises(ModelDamaged, match=words), broken.held(), broken.overwriting({name: never_stop}), torch.no_grad():
        dict(broken.model.named_parameters())[name].add_(1.0)
    with pytest.raises(ModelDamaged, match="start again, and it will be reloaded"):
        assert broken.fingerprint
    again = shelf.get(ModelName("m"))
    assert again is not broken
    assert (len(made), again.fingerprint) == (2, taught.fingerprint)
    assert "m is being loaded again: after an error some of its weights could not be restored" in caplog.text
    assert shelf.get(ModelName("m")) is again


def test_whoever_was_seen_by_the_method_does_not_judge_it() -> None:
    target, *others = (Secret(f"p{at}", f"v{at}") for at in range(4))
    listed = tuple(ListedSecret(one) for one in (target, replace(target, value="v0 "), *others, others[0]))
    some, every = (Localization(target, frozenset(retained), scores("any")) for retained in (others[:1], others))
    assert judges_of(listed, target, some) == tuple(others[1:])
    assert judges_of(listed, target, every) == (), "nobody is left, and those who were seen do not stand in"
    [said] = wording.of_judges(0, 3)
    assert (said["value"], "never saw" in said["note"]) == ("none", True)
    assert wording.of_judges(2, 1)[0]["value"] == "2"
