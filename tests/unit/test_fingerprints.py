"""The fingerprint: every byte of every weight counts, and it is the same wherever the same weights stand."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from privlens.lm.export import folded, write_model
from privlens.lm.fingerprints import digests, fingerprint
from privlens.lm.model import LanguageModel
from privlens.provenance import provenance
from privlens.types import Edit, Neuron
from privlens.zoo.loading import load
from tests.helpers import Maker, edit_of, random_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_last_bit_of_any_weight_changes_it(tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype) -> None:
    model = random_model("gpt2", len(tokenizer)).to(dtype)
    generator, seen = torch.Generator().manual_seed(0), {fingerprint(model, digests(model))}
    weights = list(model.parameters())
    for weight in weights:
        place = int(torch.randint(weight.numel(), (1,), generator=generator))
        bits = weight.detach().view(-1).view(torch.int32 if dtype == torch.float32 else torch.int16)
        bits[place] ^= 1
        seen.add(fingerprint(model, digests(model)))
    assert len(seen) == len(weights) + 1


def test_neurons_switched_off_for_good_change_it_whichever_they_are(demo: LanguageModel, tmp_path: Path) -> None:
    """It once looked at every 64th entry, which in a matrix of 2,048 columns are the same 32 columns in every row."""
    off = [Neuron(layer, index) for layer in range(demo.n_layers) for index in (1, 65, 2047)]
    edit = Edit(folded(demo, demo.off(off)), provenance(demo, 0, {}, 0.0))
    changed = demo.under(edit)
    assert changed.fingerprint != demo.fingerprint
    write_model(changed, tmp_path / "written")
    assert load(str(tmp_path / "written"), device="cpu").fingerprint == changed.fingerprint


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2", "opt"])
def test_a_view_a_saved_model_and_nested_edits_agree(tiny: Maker, architecture: str, tmp_path: Path) -> None:
    lm = tiny(architecture)
    one = edit_of(lm, 1)
    two = edit_of(lm.under(one), 2)
    view = lm.under(one, two)
    with lm.edited(one), lm.edited(two):
        assert lm.fingerprint == view.fingerprint
    assert len({lm.fingerprint, lm.under(one).fingerprint, view.fingerprint}) == 3
    write_model(view, tmp_path / "written")
    assert load(str(tmp_path / "written"), device="cpu").fingerprint == view.fingerprint


def test_a_tied_weight_counts_once(tokenizer: PreTrainedTokenizerFast) -> None:
    model = random_model("gpt2", len(tokenizer), tie_word_embeddings=True)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert "transformer.wte.weight" in digests(model)
    assert "lm_head.weight" not in digests(model)


def test_buffers_that_are_saved_count(tokenizer: PreTrainedTokenizerFast) -> None:
    model = random_model("gpt2", len(tokenizer))
    model.register_buffer("scale", torch.ones(3))
    before = fingerprint(model, digests(model))
    model.scale[1] = 2.0
    assert fingerprint(model, digests(model)) != before
