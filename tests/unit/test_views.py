"""A view: a model under edits, for everything that takes a model, and nobody else sees them."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from privlens.deactivation import EvalContext, compare
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import METHODS, Task, result_of
from privlens.memorization.check import check
from privlens.planting.plant import PlantSettings, plant
from privlens.types import Edit, Neuron, to_json
from tests.helpers import NEVER_TAUGHT, TAUGHT, Maker, edit_of

TARGET = TAUGHT[1]


def really_changed(lm: LanguageModel, *edits: Edit) -> LanguageModel:
    """A copy of the model with the weights written over for good."""
    model = copy.deepcopy(lm.model)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for edit in edits:
            for name, change in edit.changes.items():
                weights[name].view(-1)[torch.tensor(change.indices)] = torch.tensor(change.new)
    return LanguageModel(lm.name, model, lm.tokenizer)


@pytest.fixture(scope="module")
def both(taught: LanguageModel) -> tuple[LanguageModel, LanguageModel]:
    """A view, and the copy that it should be like."""
    edit = edit_of(taught, 1)
    return taught.under(edit), really_changed(taught, edit)


@pytest.mark.parametrize("method", METHODS)
def test_localizing_under_an_edit_is_localizing_the_changed_model(
    both: tuple[LanguageModel, LanguageModel], taught: LanguageModel, method: str
) -> None:
    view, changed = both
    own, other, plain = (result_of(method, Task(one, TARGET, (TAUGHT[0],), seed=3)) for one in (view, changed, taught))
    assert np.array_equal(own.scores, other.scores)
    assert own.suggested_k == other.suggested_k
    assert method == "random" or not np.array_equal(own.scores, plain.scores)
    assert own.provenance.fingerprint == view.fingerprint


def test_attention_gates_under_an_edit(both: tuple[LanguageModel, LanguageModel]) -> None:
    own, other = (result_of("hard-concrete", Task(one, TARGET, seed=3, site="attention")) for one in both)
    assert np.array_equal(own.scores, other.scores)


def test_checking_comparing_generating_and_planting_under_an_edit(
    both: tuple[LanguageModel, LanguageModel], taught: LanguageModel
) -> None:
    def measured(lm: LanguageModel) -> list[object]:
        around = EvalContext((TAUGHT[0], NEVER_TAUGHT), ("The lamp is 3.",))
        *_, last = compare(lm, TARGET, [Neuron(0, 3), Neuron(1, 60)], around)
        assert last.result
        planted = plant(lm, NEVER_TAUGHT, PlantSettings(0.1, steps=15), seed=0)
        return [
            check(lm, TARGET), replace(last.result, provenance=None), lm.generate([[5, 9], [7]], 12, seed=4),
            planted.nll, planted.neurons,
        ]  # fmt: skip

    own, other, plain = measured(both[0]), measured(both[1]), measured(taught)
    assert own == other
    assert all(own[at] != plain[at] for at in (0, 1, 3)), "or the edit does nothing"


def test_between_two_calls_the_model_is_its_own_bit_for_bit(taught: LanguageModel) -> None:
    before = {name: value.clone() for name, value in taught.model.state_dict().items()}
    view = taught.under(edit_of(taught, 1))
    for step in METHODS["hard-concrete"](Task(view, TARGET)):
        assert all(torch.equal(before[name], now) for name, now in taught.model.state_dict().items()), step.step
    with pytest.raises(KeyError), view.held(), view.gated(torch.zeros(1, *view.shape())):
        raise KeyError
    assert all(torch.equal(before[name], now) for name, now in taught.model.state_dict().items())
    assert taught.lock.acquire(blocking=False)
    taught.lock.release()


def test_held_inside_held_writes_nothing_twice(lm: LanguageModel) -> None:
    view = lm.under(edit_of(lm, 1))
    [weight, *_] = [part.weight for part in lm.layout.mlp]
    with view.held():
        version = weight._version
        with view.held(), view.gated(None):
            view.logits(torch.tensor([[5, 6]]), torch.tensor([[1, 1]]))
        assert weight._version == version


def test_a_graph_that_leaves_the_view_is_refused_by_torch(lm: LanguageModel) -> None:
    view, gates = lm.under(edit_of(lm, 1)), torch.ones(1, *lm.shape(), requires_grad=True)
    with view.gated(gates):
        logits = view.logits(torch.tensor([[5, 6]]), torch.tensor([[1, 1]]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logits.sum().backward()


def test_views_compose_and_say_what_they_are(lm: LanguageModel) -> None:
    first = edit_of(lm, 1)
    second = edit_of(lm.under(first), 2)
    on_both = lm.under(first, second)
    changed = really_changed(lm, first, second)
    ids = torch.tensor([[5, 60, 17]])
    assert torch.equal(on_both.logits(ids, torch.ones_like(ids)), changed.logits(ids, torch.ones_like(ids)))
    assert on_both.edits == (first, second)
    assert lm.edits == ()
    seen = [lm.fingerprint, lm.under(first).fingerprint, on_both.fingerprint]
    assert second.provenance.fingerprint == seen[1]
    assert len(set(seen)) == 3
    assert lm.under(first).under(second).fingerprint == on_both.fingerprint
    with lm.edited(first):
        assert lm.fingerprint == seen[1]
        with lm.edited(second):
            assert lm.fingerprint == seen[2]
    with lm.under(first).edited(second):
        assert lm.fingerprint == seen[2]


def test_an_edit_without_the_one_it_stands_on_is_refused_in_words(lm: LanguageModel, tiny: Maker) -> None:
    first = edit_of(lm, 1)
    second = edit_of(lm.under(first), 2)
    refused: list[tuple[str, Callable[[], object]]] = [
        ("switch on the edits that were in place when it was made", lambda: lm.under(second)),
        ("made on gpt_neox", lambda: tiny("llama").under(first)),
        ("switch on the edits", lambda: lm.under(second, first)),
    ]
    for words, use in refused:
        with pytest.raises(BadInput, match=words):
            use()
    independent = edit_of(lm, 3)
    assert lm.under(first, independent).edits == (first, independent), "both were made on the plain model"


def test_a_view_is_a_value(lm: LanguageModel) -> None:
    edit = edit_of(lm, 1)
    before = to_json(edit)
    view = lm.under(edit)
    view.fingerprint  # noqa: B018  # writes and takes back
    assert to_json(edit) == before
    assert lm.under().edits == ()
    assert lm.under().fingerprint == lm.fingerprint
