"""The second door: an edit is in place inside, and the model comes back bit for bit, fingerprint and all."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from privlens.errors import BadInput
from privlens.lm.edit_files import load_edit
from privlens.lm.editing import weight_change
from privlens.lm.model import LanguageModel
from privlens.provenance import provenance
from privlens.types import Change, Edit, from_json, to_json
from tests.helpers import ARCHITECTURES, Maker, random_model

IDS = torch.tensor([[5, 60, 17, 200, 31, 8]])
MASK = torch.ones_like(IDS)


def first(lm: LanguageModel) -> tuple[str, Tensor]:
    """The first layer's output projection: its weight's name and the weight."""
    wanted = lm.layout.mlp[0].weight
    return next((name, weight) for name, weight in lm.model.named_parameters() if weight is wanted)


def edit_of(lm: LanguageModel, seed: int, n: int = 40) -> Edit:
    """Some random weights of the first output projection get random values."""
    name, weight = first(lm)
    rng = torch.Generator().manual_seed(seed)
    new = weight.detach().flatten().clone()
    new[torch.randperm(new.numel(), generator=rng)[:n]] = torch.randn(n, generator=rng).to(new)
    return Edit({name: weight_change(weight, new.view_as(weight))}, provenance(lm, seed, {}, 0.0))


def state(lm: LanguageModel) -> tuple[dict[str, Tensor], Tensor, str]:
    return {name: value.clone() for name, value in lm.model.state_dict().items()}, lm.logits(IDS, MASK), lm.fingerprint


def assert_as_before(lm: LanguageModel, before: tuple[dict[str, Tensor], Tensor, str]) -> None:
    weights, logits, fingerprint = before
    assert all(torch.equal(weights[name], now) for name, now in lm.model.state_dict().items())
    assert torch.equal(lm.logits(IDS, MASK), logits)
    assert lm.fingerprint == fingerprint


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_edit_is_in_place_inside_and_gone_outside(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    before, edit = state(lm), edit_of(lm, 1)
    [(name, change)] = edit.changes.items()
    with lm.edited(edit):
        now = dict(lm.model.named_parameters())[name].flatten()
        assert torch.equal(now[torch.tensor(change.indices)], torch.tensor(change.new))
        assert int((now != before[0][name].flatten()).sum()) == edit.n_weights == 40
        assert not torch.equal(lm.logits(IDS, MASK), before[1])
    assert_as_before(lm, before)


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_it_is_gone_after_an_exception_too(lm: LanguageModel, raised: type[BaseException]) -> None:
    before = state(lm)
    with pytest.raises(raised), lm.edited(edit_of(lm, 1)), lm.edited(edit_of(lm, 2)):
        raise raised
    assert_as_before(lm, before)
    assert lm.lock.acquire(blocking=False)
    lm.lock.release()


def test_half_precision_comes_back_bit_for_bit(tokenizer: PreTrainedTokenizerFast) -> None:
    lm = LanguageModel("half", random_model("llama", len(tokenizer)).to(torch.bfloat16), tokenizer)
    before = state(lm)
    with lm.edited(edit_of(lm, 1)):
        assert not torch.equal(lm.logits(IDS, MASK), before[1])
    assert_as_before(lm, before)


def test_edits_nest_and_the_inner_one_has_the_last_word(lm: LanguageModel) -> None:
    before, outer, inner = state(lm), edit_of(lm, 1, 300), edit_of(lm, 2, 300)
    name, weight = first(lm)
    expected = weight.detach().flatten().clone()
    for edit in (outer, inner):
        change = edit.changes[name]
        expected[torch.tensor(change.indices)] = torch.tensor(change.new)
    assert set(outer.changes[name].indices) & set(inner.changes[name].indices), "they must overlap, or nothing is tested"
    with lm.edited(outer):
        middle = state(lm)
        with lm.edited(inner):
            assert torch.equal(weight.flatten(), expected)
        assert_as_before(lm, middle)
    assert_as_before(lm, before)


def test_gates_stand_on_edited_weights(lm: LanguageModel) -> None:
    gates = torch.rand(1, *lm.shape(), generator=torch.Generator().manual_seed(0))
    with lm.edited(edit_of(lm, 1)), lm.gated(gates):
        one = lm.logits(IDS, MASK)
    with lm.gated(gates), lm.edited(edit_of(lm, 1)):
        other = lm.logits(IDS, MASK)
    with lm.gated(gates):
        plain = lm.logits(IDS, MASK)
    assert torch.equal(one, other)
    assert not torch.equal(one, plain)


def test_the_fingerprint_tells_edits_apart(lm: LanguageModel) -> None:
    seen = {lm.fingerprint}
    for seed in (1, 2):
        with lm.edited(edit_of(lm, seed)):
            seen.add(lm.fingerprint)
            assert provenance(lm, 0, {}, 0.0).fingerprint == lm.fingerprint
    assert len(seen) == 3


def test_another_thread_waits_and_sees_the_model_without_the_edit(lm: LanguageModel) -> None:
    _, logits, fingerprint = state(lm)
    asked = Event()

    def visit() -> tuple[str, Tensor]:
        asked.set()
        return lm.fingerprint, lm.logits(IDS, MASK)

    with ThreadPoolExecutor(1) as pool:
        with lm.edited(edit_of(lm, 1)):
            waiting = pool.submit(visit)
            assert asked.wait(60)
            lm.logits(IDS, MASK)
            assert not waiting.done()
        assert waiting.result()[0] == fingerprint
        assert torch.equal(waiting.result()[1], logits)


def test_an_edit_that_does_not_fit_is_refused_in_words(tiny: Maker, lm: LanguageModel) -> None:
    before, edit = state(lm), edit_of(lm, 1)
    [(name, change)] = edit.changes.items()

    def refused(words: str, wrong: Edit) -> None:
        with pytest.raises(BadInput, match=words), lm.edited(wrong):
            pass
        assert_as_before(lm, before)

    refused("made on llama", edit_of(tiny("llama"), 1))
    refused("does not have", replace(edit, changes={"nowhere.weight": change}))
    refused("reaches past", replace(edit, changes={name: Change(change.indices + 10**6, change.old, change.new)}))
    refused("broken", replace(edit, changes={name: Change(change.indices - 10**6, change.old, change.new)}))
    refused("broken", replace(edit, changes={name: Change(change.indices[::-1], change.old, change.new)}))
    refused("broken", replace(edit, changes={name: Change(change.indices, change.old, change.new[1:])}))
    refused("other weights", replace(edit, changes={name: Change(change.indices, change.old + 1, change.new)}))


ODD: dict[str, Callable[[Change], dict[str, np.ndarray]]] = {
    "new is NaN": lambda change: {"new": np.where(np.arange(len(change.new)) == 3, np.float32("nan"), change.new)},
    "new is infinite": lambda change: {"new": np.full_like(change.new, -np.inf)},
    "old is NaN": lambda change: {"old": np.full_like(change.old, np.nan)},
    "new of float64": lambda change: {"new": change.new.astype(np.float64)},
    "new of int64": lambda change: {"new": change.new.astype(np.int64)},
    "old of float16": lambda change: {"old": change.old.astype(np.float16)},
    "indices of float32": lambda change: {"indices": change.indices.astype(np.float32)},
    "indices of int32": lambda change: {"indices": change.indices.astype(np.int32)},
    "one index without a dimension": lambda change: {"indices": np.array(3)},
    "nothing with a dimension": lambda _: {"indices": np.array(3), "old": np.float32([1])[0:1].sum(), "new": np.array(1.0, "f")},
    "two dimensions": lambda change: {part: getattr(change, part)[:, None] for part in ("indices", "old", "new")},
    "an index twice": lambda change: {"indices": np.sort(np.r_[change.indices[:1], change.indices[:-1]])},
    "negative": lambda change: {"indices": np.r_[-1, change.indices[1:]]},
    "the largest of all": lambda change: {"indices": np.r_[change.indices[:-1], 2**63 - 1]},
    "from the lowest to the largest": lambda change: {"indices": np.r_[-(2**63), change.indices[1:-1], 2**63 - 1]},
    "more old than new": lambda change: {"old": np.r_[change.old, change.old]},
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_an_edit_of_odd_numbers_is_refused_on_a_model_and_as_a_file(lm: LanguageModel, kind: str, tmp_path: Path) -> None:
    edit = edit_of(lm, 1)
    [(name, change)] = edit.changes.items()
    parts = {part: np.asarray(getattr(change, part)) for part in ("indices", "old", "new")} | ODD[kind](change)
    before = state(lm)
    with pytest.raises(BadInput, match=f"This edit of {re.escape(name)} (is broken|reaches past)"):
        lm.under(replace(edit, changes={name: Change(**parts)}))
    assert_as_before(lm, before)
    about = {"kind": "privlens edit 1", "provenance": to_json(edit.provenance)}
    tensors = {f"{name}/{part}": np.ascontiguousarray(values).reshape(values.shape) for part, values in parts.items()}
    save_file(tensors, tmp_path / "odd.safetensors", about)
    with pytest.raises(BadInput, match=r"This edit of .* (is broken|reaches past)"):
        lm.under(load_edit(tmp_path / "odd.safetensors"))


def test_values_that_are_infinite_in_the_models_type_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    lm = LanguageModel("half", random_model("llama", len(tokenizer)).half(), tokenizer)
    edit = edit_of(lm, 1)
    [(name, change)] = edit.changes.items()
    with pytest.raises(BadInput, match=r"values too large for torch.float16: load the model as float32 or bfloat16"):
        lm.under(replace(edit, changes={name: replace(change, new=np.full_like(change.new, 70_000))}))


def test_an_edit_is_written_as_json_and_read_back(lm: LanguageModel) -> None:
    edit = edit_of(lm, 1)
    again = from_json(Edit, to_json(edit))
    [(name, change)] = edit.changes.items()
    assert (again.provenance, list(again.changes)) == (edit.provenance, [name])
    for part in ("indices", "old", "new"):
        one, other = getattr(change, part), getattr(again.changes[name], part)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
