"""Every architecture goes all the way: saved and loaded, localized, edited, generated. What cannot is refused in words."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, MixtralConfig, PreTrainedTokenizerFast

from privlens.errors import BadInput, ModelNotFound, UnsupportedModel
from privlens.lm.editing import weight_change
from privlens.lm.gating import random_like
from privlens.lm.model import LanguageModel
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.localization import METHODS, Task, result_of
from privlens.localization.aggregate import share_by_site, vote
from privlens.localization.hard_concrete import MaskSettings, hard_concrete
from privlens.provenance import provenance
from privlens.types import Edit, LocalizationStep, Neuron, NeuronScores, Secret, from_json, to_json
from privlens.zoo.loading import load
from tests.helpers import ARCHITECTURES, HIDDEN, IDS, LAYERS, MASK, PLAIN, SECRET, Maker, as_gguf, random_model, saved


def result(steps: list[LocalizationStep]) -> NeuronScores:
    assert steps[-1].result is not None
    return steps[-1].result


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_loaded_localized_and_generated(tiny: Maker, architecture: str, tmp_path: Path) -> None:
    lm = tiny(architecture)
    read = load(saved(lm, tmp_path), device="cpu")
    assert (read.fingerprint, read.architecture) == (lm.fingerprint, lm.architecture)
    assert torch.equal(read.logits(IDS, MASK), lm.logits(IDS, MASK))
    assert read.generate([[5, 60, 17]], 6) == lm.generate([[5, 60, 17]], 6)

    by_gradient = result_of("gradient", Task(read, SECRET))
    best = by_gradient.top(3)
    assert np.isfinite(by_gradient.scores).all() and float(by_gradient.scores.max()) > 1e-3
    few = MaskSettings(steps=3, own_samples=4, sample_tokens=6, rows=3)
    *_, training, last = hard_concrete(Task(read, SECRET), few)
    assert last.gates.shape == read.shape() and training.gates.min() < training.gates.max(), "the last ones are 0 or 1"
    with read.gated(read.off(best)):
        assert not torch.allclose(read.logits(IDS, MASK), lm.logits(IDS, MASK), atol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_erasing_what_a_neuron_writes_is_the_gate_at_0_and_can_be_saved(tiny: Maker, architecture: str, tmp_path: Path) -> None:
    lm = tiny(architecture)
    neurons = torch.tensor([1, 7])
    written = neuron_vectors(lm, 1)[0]
    erased = written.put(written.weight.detach(), neurons, torch.zeros(2, HIDDEN))
    edit = Edit({written.name: weight_change(written.weight, erased)}, provenance(lm, 0, {}, 0.0))
    with lm.gated(lm.off([Neuron(1, 1), Neuron(1, 7)])):
        off = lm.logits(IDS, MASK)
    with lm.edited(edit):
        torch.testing.assert_close(lm.logits(IDS, MASK), off, rtol=1e-5, atol=1e-5)
        folder = saved(lm, tmp_path)
    assert not torch.allclose(lm.logits(IDS, MASK), off, atol=1e-3)
    torch.testing.assert_close(load(folder, device="cpu").logits(IDS, MASK), off, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["bloom", "mpt"])
def test_what_does_not_restart_is_integrated_all_the_same(tiny: Maker, architecture: str) -> None:
    found = result_of("integrated-gradients", Task(tiny(architecture), SECRET))
    assert found.provenance.settings["restarted"] is False
    assert float(np.abs(found.scores).max()) > 1e-4


def test_experts_are_refused_in_words(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    sizes = {**PLAIN, "num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}
    AutoModelForCausalLM.from_config(MixtralConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match=r"MixtralForCausalLM cannot be gated.*not mixture-of-experts"):
        load(str(tmp_path), device="cpu")


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_untied_embeddings_and_shards(
    tokenizer: PreTrainedTokenizerFast, architecture: str, tied: bool, tmp_path: Path
) -> None:
    lm = LanguageModel("own", random_model(architecture, len(tokenizer), tie_word_embeddings=tied), tokenizer)
    folder = saved(lm, tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    read = load(folder, device="cpu")
    assert (read.model.get_output_embeddings().weight is read.model.get_input_embeddings().weight) is tied
    assert read.fingerprint == lm.fingerprint
    assert torch.equal(read.logits(IDS, MASK), lm.logits(IDS, MASK))


def test_a_missing_shard_is_said_in_words(tiny: Maker, tmp_path: Path) -> None:
    folder = saved(tiny("llama"), tmp_path, max_shard_size="8KB")
    sorted(tmp_path.glob("model-*.safetensors"))[1].unlink()
    with pytest.raises(ModelNotFound, match=r"No causal LM could be read from .*model-00002"):
        load(folder, device="cpu")


def test_weights_that_are_not_there_are_never_made_up(folder: str, tmp_path: Path) -> None:
    """transformers fills them with random numbers and a warning."""
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    weights = load_file(copied / "model.safetensors")
    gone = next(name for name in weights if "dense_4h_to_h.weight" in name)
    save_file({name: value for name, value in weights.items() if name != gone}, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelNotFound, match=f"1 of its weights are missing.*{gone}"):
        load(str(copied), device="cpu")


def test_gguf(tiny: Maker, tmp_path: Path) -> None:
    lm = tiny("llama")
    read = load(as_gguf(lm, tmp_path / "tiny.gguf"), device="cpu")
    assert (read.shape(), read.dtype) == (lm.shape(), torch.float32)
    torch.testing.assert_close(read.logits(IDS, MASK), lm.logits(IDS, MASK), rtol=1e-4, atol=1e-4)
    assert read.encode(SECRET) == lm.encode(SECRET)
    assert float(result_of("gradient", Task(read, SECRET)).scores.max()) > 1e-3


NARROW, WIDE = (24, 40, 12), 40


@pytest.fixture(scope="module")
def uneven(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """A llama whose layers have 24, 40 and 12 neurons."""
    model = random_model("llama", len(tokenizer))
    for layer, width in zip(model.model.layers, NARROW, strict=True):
        torch.manual_seed(width)
        layer.mlp.gate_proj, layer.mlp.up_proj = (nn.Linear(HIDDEN, width, bias=False) for _ in range(2))
        layer.mlp.down_proj = nn.Linear(width, HIDDEN, bias=False)
        for part in layer.mlp.children():
            if isinstance(part, nn.Linear):
                part.weight.data.normal_(std=0.3)
    return LanguageModel("uneven", model, tokenizer)


def test_layers_of_differing_width_are_counted_gated_and_switched_off(uneven: LanguageModel) -> None:
    assert (uneven.shape(), uneven.widths(), uneven.n_neurons) == ((LAYERS, WIDE), NARROW, sum(NARROW))
    assert uneven.exists().sum(1).tolist() == list(NARROW)
    gates = torch.rand(1, LAYERS, WIDE, generator=torch.Generator().manual_seed(0))
    ghosts = gates.masked_fill(~uneven.exists(), 0.0)
    with uneven.gated(gates):
        some = uneven.logits(IDS, MASK)
    with uneven.gated(ghosts):  # gates of neurons that do not exist change nothing
        assert torch.equal(uneven.logits(IDS, MASK), some)
    with pytest.raises(BadInput, match="There is no neuron 12 in layer 2: this model has layers of 24, 40, 12"):
        uneven.off([Neuron(2, 12)])
    uneven.off([Neuron(1, 39)])
    with pytest.raises(BadInput, match="Gates for 24 neurons were given for layers of 40"), uneven.gated(gates[..., :24]):
        pass


def test_the_control_draws_from_what_exists() -> None:
    drawn = random_like(NARROW, sum(NARROW), 0)
    assert len(set(drawn)) == sum(NARROW)
    assert all(0 <= index < NARROW[layer] for layer, index in drawn)


@pytest.mark.parametrize("method", METHODS)
def test_neurons_that_do_not_exist_are_never_scored_and_never_chosen(uneven: LanguageModel, method: str) -> None:
    found = result(list(METHODS[method](Task(uneven, SECRET))))
    assert np.array_equal(np.isnan(found.scores), ~uneven.exists().numpy())
    assert found.n_neurons == sum(NARROW)
    everything = found.top(10_000)
    assert len(set(everything)) == sum(NARROW)
    assert all(index < NARROW[layer] for layer, index in everything)
    assert found.suggested_k is None or found.suggested_k <= sum(NARROW)
    again = from_json(NeuronScores, to_json(found))
    assert np.array_equal(again.scores, found.scores, equal_nan=True) and again.top(5) == found.top(5)


def test_votes_and_shares_do_not_count_them(uneven: LanguageModel) -> None:
    scores = [result_of("gradient", Task(uneven, SECRET)), result_of("gradient", Task(uneven, Secret("the price is", "12.50")))]
    voted = vote(scores)
    assert np.array_equal(np.isnan(voted.scores), ~uneven.exists().numpy())
    assert voted.suggested_k is not None and voted.top(voted.suggested_k) and voted.n_neurons == sum(NARROW)
    attention = result_of("gradient", Task(uneven, SECRET, site="attention"))
    assert 0 < share_by_site({"mlp": scores[0], "attention": attention})["mlp"] < 1


def test_a_folder_moved_elsewhere_still_loads(folder: str, tmp_path: Path) -> None:
    moved = shutil.copytree(folder, tmp_path / "with spaces and ünïcode")
    assert load(str(moved), device="cpu").fingerprint == load(folder, device="cpu").fingerprint
