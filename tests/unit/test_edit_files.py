"""Edits on disk, and model folders with edits or deactivated neurons in their weights."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from privlens.errors import BadInput
from privlens.lm.edit_files import load_edit, save_edit
from privlens.lm.export import folded, write_model
from privlens.lm.model import LanguageModel
from privlens.provenance import provenance
from privlens.types import Edit, Neuron, to_json
from tests.helpers import ARCHITECTURES, Maker, edit_of

IDS = torch.tensor([[5, 60, 17, 200, 31, 8]])
MASK = torch.ones_like(IDS)


def test_an_edit_is_saved_and_loaded_whole(lm: LanguageModel, tmp_path: Path) -> None:
    edit = edit_of(lm, 1)
    edit = replace(edit, provenance=provenance(lm, 7, {"method": "emso", "share": 0.01, "names": ["a", "ß"]}, 0.0))
    save_edit(edit, tmp_path / "edit.safetensors")
    again = load_edit(tmp_path / "edit.safetensors")
    assert to_json(again) == to_json(replace(edit, changes=dict(sorted(edit.changes.items()))))
    assert lm.under(again).fingerprint == lm.under(edit).fingerprint
    assert torch.equal(lm.under(again).logits(IDS, MASK), lm.under(edit).logits(IDS, MASK))


def test_an_edit_file_is_refused_on_another_model(lm: LanguageModel, tiny: Maker, tmp_path: Path) -> None:
    save_edit(edit_of(lm, 1), tmp_path / "edit.safetensors")
    with pytest.raises(BadInput, match=r"made on gpt_neox .* this model is llama"):
        tiny("llama").under(load_edit(tmp_path / "edit.safetensors"))


def test_broken_files_are_refused_in_words(lm: LanguageModel, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_edit(edit_of(lm, 1), good)
    tensors = load_file(good)
    [name, *_] = tensors
    whole = {"kind": "privlens edit 1", "provenance": to_json(edit_of(lm, 1).provenance)}

    def refused(words: str) -> None:
        with pytest.raises(BadInput, match=words):
            load_edit(bad)

    refused("cannot be read")
    for content in (b"", b"no safetensors", good.read_bytes()[:-40], good.read_bytes()[:30]):
        bad.write_bytes(content)
        refused("not an edit, or a broken one")
    save_file(tensors, bad, {"kind": "something else"})
    refused("but not an edit")
    save_file(tensors, bad)
    refused("but not an edit")
    save_file({key: value for key, value in tensors.items() if key != name}, bad, whole)
    refused("parts of it are missing")
    save_file(tensors, bad, {"kind": "privlens edit 1", "provenance": "{}"})
    refused("parts of it are missing")
    deep = whole["provenance"].replace('"settings":{', '"settings":{"deep":' + "[" * 50_000 + "]" * 50_000 + ",")
    save_file(tensors, bad, {**whole, "provenance": deep.replace(",}", "}")})
    refused("parts of it are missing")
    long = whole["provenance"].replace('"settings":{', '"settings":{"long":"' + "a" * 2**20 + '",')
    save_file(tensors, bad, {**whole, "provenance": long.replace(",}", "}")})
    refused("its description is too long")
    save_file({key: value.astype(np.float16) for key, value in tensors.items()}, bad, whole)
    refused("of another type")
    with pytest.raises(BadInput, match="there is no such file"):
        load_edit(tmp_path)
    with pytest.raises(BadInput, match="cannot be written"):
        save_edit(edit_of(lm, 1), tmp_path / "nowhere" / "edit.safetensors")


def plain(folder: Path) -> torch.nn.Module:
    """What transformers alone makes of a folder."""
    AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folded_gates_are_the_gates_and_biases_stay(tiny: Maker, architecture: str, tmp_path: Path) -> None:
    lm = LanguageModel(architecture, copy.deepcopy(tiny(architecture).model), tiny(architecture).tokenizer)
    for part in lm.layout.mlp:
        if getattr(part, "bias", None) is not None:
            with torch.no_grad():
                part.bias.normal_(generator=torch.Generator().manual_seed(0))
    off = lm.off([Neuron(0, 3), Neuron(0, 23), Neuron(1, 0), Neuron(2, 11)])
    changes = folded(lm, off)
    assert sum(len(change.indices) for change in changes.values()) == 4 * 16, "four neurons write 16 numbers each"
    write_model(lm.under(Edit(changes, provenance(lm, 0, {}, 0.0))), tmp_path / "model")
    with lm.gated(off):
        expected = lm.logits(IDS, MASK)
    with torch.no_grad():
        found = plain(tmp_path / "model")(input_ids=IDS, attention_mask=MASK).logits
    assert (found - expected).abs().max() < 1e-4
    assert (lm.logits(IDS, MASK) - expected).abs().max() > 1e-3, "or the gates do nothing"


def test_attention_gates_and_dimmed_ones_fold_too(lm: LanguageModel) -> None:
    gates = torch.rand(1, *lm.shape("attention"), generator=torch.Generator().manual_seed(0))
    view = lm.under(Edit(folded(lm, gates, "attention"), provenance(lm, 0, {}, 0.0)))
    with lm.gated(gates, "attention"):
        expected = lm.logits(IDS, MASK)
    assert (view.logits(IDS, MASK) - expected).abs().max() < 1e-4
    with pytest.raises(BadInput, match="Gates to fold"):
        folded(lm, gates[0])


def test_an_exported_model_is_the_view_and_the_model_stays(lm: LanguageModel, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    view = lm.under(edit_of(lm, 1), edit_of(lm, 2))
    write_model(view, tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(plain(tmp_path / "model")(input_ids=IDS, attention_mask=MASK).logits, view.logits(IDS, MASK))
    assert all(torch.equal(before[name], now) for name, now in lm.model.state_dict().items())
    with pytest.raises(BadInput, match="not an empty folder"):
        write_model(view, tmp_path / "model")
    with pytest.raises(BadInput, match="cannot be created"):
        write_model(view, tmp_path / "a" / "b")
