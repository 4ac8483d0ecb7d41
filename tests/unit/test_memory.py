"""Memory: estimates with numbers, refusals before the work, smaller batches when it runs out, weights that rest elsewhere."""

import gc
import logging
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from privlens.erasure import ErasureSettings, Request, erase
from privlens.errors import BadInput
from privlens.lm import memory
from privlens.lm.editing import put, ready, weight_change
from privlens.lm.model import LanguageModel
from privlens.lm.neuron_vectors import neuron_vectors
from privlens.lm.offload import value_of
from privlens.lm.scoring import score
from privlens.lm.weight_files import tensors
from privlens.localization import METHODS, Task, result_of
from privlens.localization.activations import output_norms
from privlens.localization.hard_concrete import MaskSettings, start
from privlens.provenance import provenance
from privlens.retained.distributions import extent, reference_distributions, stored_bytes
from privlens.types import Edit, Neuron
from privlens.zoo.loading import load
from tests.helpers import IDS, LAYERS, MASK, PLACES, SECRET, TAUGHT, Maker, as_gguf, full_beyond, random_model, saved

CPU = torch.device("cpu")


def test_weights_are_counted_without_being_read(tiny: Maker, folder: str, lm: LanguageModel, tmp_path: Path) -> None:
    def n_bytes(path: Path, dtype: str) -> int:
        return memory.weight_bytes(tensors([path] if path.is_file() else sorted(path.glob("*.safetensors"))).values(), dtype)

    assert n_bytes(Path(folder), "float32") == 4 * lm.n_parameters == n_bytes(Path(folder), "auto")
    assert n_bytes(Path(folder), "bfloat16") == 2 * lm.n_parameters
    assert n_bytes(Path(folder), "int4") == lm.n_parameters // 2
    llama = tiny("llama")
    assert n_bytes(Path(as_gguf(llama, tmp_path / "a.gguf")), "float32") == 4 * llama.n_parameters
    sharded = saved(llama, tmp_path / "shards", max_shard_size="8KB")
    assert n_bytes(Path(sharded), "float32") == 4 * llama.n_parameters
    assert memory.weight_bytes([], "auto") == 0


def test_a_model_that_cannot_fit_is_refused_with_numbers_before_it_is_read(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10_000)
    monkeypatch.setattr(memory, "GB", 1e3)
    with pytest.raises(BadInput, match=r"needs about \d+\.\d GB, but cpu has 10\.0 GB free: .*spread"):
        load(folder, device="cpu")


def test_a_run_that_cannot_fit_is_refused_with_numbers(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 20_000)
    numbers = r"A run over \d+ tokens needs about 0\.00 GB, or 0\.00 GB with gradient checkpointing, but cpu has 0\.00 GB free"
    with pytest.raises(BadInput, match=numbers):
        Task(lm, SECRET)


def test_a_row_by_hand() -> None:
    # 10 tokens, 3 layers of 8 on 4, 100 tokens in the vocabulary, float32
    assert memory.row_bytes(10, 3, 4, 8, 100, 4, gradients=False) == 10 * 100 * 12 + 10 * (48 + 24) * 8 + 3 * 8 * 4
    assert memory.row_bytes(10, 3, 4, 8, 100, 4, gradients=True) == 10 * 100 * 16 + 10 * (48 + 24) * 12 + 3 * 8 * 12
    with_checkpointing = memory.row_bytes(10, 3, 4, 8, 100, 4, gradients=True, checkpointed=True)
    assert with_checkpointing == 10 * 100 * 16 + 10 * (48 + 24) * 4 + 10 * 4 * 4 * 3 + 3 * 8 * 12


def test_scores_are_the_same_in_smaller_batches_with_a_notice(taught: LanguageModel, caplog: pytest.LogCaptureFixture) -> None:
    rows = [taught.encode(secret) for secret in TAUGHT] * 3
    whole = score(taught, rows)
    with caplog.at_level(logging.WARNING, "privlens.memory"), full_beyond(taught, 4) as tried:
        parts = score(taught, rows)
    assert max(tried) > 4 and sum(size <= 4 for size in tried) >= 3
    for one, other in zip(parts, whole, strict=True):
        assert one.argmax == other.argmax
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert "Memory ran out with" in caplog.text and "Results are the same" in caplog.text
    single = r"with a single row \(CUDA out of memory. Tried to allocate 3.00 GiB.\)"
    with pytest.raises(BadInput, match=single), full_beyond(taught, 0):
        score(taught, rows)
    assert not any(part._forward_pre_hooks for part in taught.model.modules())


@pytest.mark.parametrize(
    "method", ["zero-out", "token-gradient", "contrastive-gradient", "contrastive-activations", "activations"]
)
def test_a_method_finds_the_same_in_smaller_batches(taught: LanguageModel, method: str) -> None:
    whole = result_of(method, Task(taught, TAUGHT[0]))
    with full_beyond(taught, 2) as tried:
        parts = result_of(method, Task(taught, TAUGHT[0]))
    assert method == "activations" or max(tried) > 2
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-3, atol=1e-4 * float(np.abs(whole.scores).max()))


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_a_masks_step_has_the_same_gradient_in_parts(taught: LanguageModel, rows: int) -> None:
    task = Task(taught, TAUGHT[0], tuple(TAUGHT[1:]))
    (one, _), (other, _) = (start(task, MaskSettings(keep=1.0)) for _ in range(2))  # so that both kinds of rows weigh alike
    whole = one.step(0.3)
    with full_beyond(taught, rows) as tried:
        parts = other.step(0.3)
    assert max(tried) == 12 and sum(size <= rows for size in tried) >= 12 / rows, "nothing was left out"
    assert one.log_alpha.grad is not None and other.log_alpha.grad is not None
    torch.testing.assert_close(other.log_alpha.grad, one.log_alpha.grad, rtol=1e-4, atol=1e-6)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert parts[1] == pytest.approx(whole[1], rel=1e-4)


@pytest.mark.parametrize("method", ["hard-concrete", "hard-concrete-sufficient", "integrated-gradients"])
def test_training_finds_the_same_in_smaller_batches(taught: LanguageModel, method: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = result_of(method, Task(taught, TAUGHT[0]))
    with full_beyond(taught, 3):
        parts = result_of(method, Task(taught, TAUGHT[0]))
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=0, atol=2e-3 * float(np.abs(whole.scores).max()))
    assert parts.provenance.settings == whole.provenance.settings and parts.suggested_k == whole.suggested_k
    assert method == "integrated-gradients" or caplog.text.count("Results are the same") >= 1


def test_retained_text_counts_before_any_is_written(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "the keeper of the garden gate " * 40
    task = Task(taught, TAUGHT[1], tuple(TAUGHT), (long,))
    n_rows, longest = extent(taught, [TAUGHT[1]], TAUGHT, (long,), 7, 5)
    rows = task.retained_rows(7, 5)
    assert max(map(len, rows)) == longest == 64 and len(rows) <= n_rows == len(TAUGHT) + 1 + 7
    kept = reference_distributions(taught, [[5] * longest] * n_rows)
    assert stored_bytes(n_rows, longest) == sum(part.nbytes for part in (kept.ids, kept.mask, kept.top, kept.logprobs))

    n_target = len(taught.encode(TAUGHT[1]).ids)
    hidden, (n_layers, width) = 32, taught.shape()
    room = memory.row_bytes(n_target, n_layers, hidden, width, taught.n_vocabulary, 4, gradients=True)
    monkeypatch.setattr(memory, "free_bytes", lambda device: room)
    short = Task(taught, TAUGHT[1], tuple(TAUGHT), (long,))  # the target alone fits
    assert short.lm is taught and result_of("gradient", short).scores.max() > 0
    monkeypatch.setattr(taught, "generate", lambda *_, **__: pytest.fail("it wrote before it looked"))
    with pytest.raises(BadInput, match=r"A run over 64 tokens with 12 retained texts needs about .* but cpu has"):
        short.retained_rows(7, 5)


def test_retained_text_decides_on_checkpoints(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(taught, TAUGHT[1], tuple(TAUGHT))
    whole = result_of("contrastive-gradient", replace(task))
    n_rows, longest = extent(taught, [TAUGHT[1]], TAUGHT, (), 32, 24)
    sizes = longest, taught.n_layers, 32, taught.d_mlp, taught.n_vocabulary, 4
    with_checkpointing = memory.row_bytes(*sizes, gradients=True, checkpointed=True) + stored_bytes(n_rows, longest)
    monkeypatch.setattr(memory, "free_bytes", lambda device: with_checkpointing)
    assert task.lm is taught
    found = result_of("contrastive-gradient", task)
    assert task.lm is not taught and task.lm.model is taught.model
    np.testing.assert_allclose(found.scores, whole.scores, rtol=1e-4, atol=1e-6)


def test_an_erasure_counts_what_it_retains(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10_000)
    settings = ErasureSettings(own_samples=3, sample_tokens=6, memorized_texts=4, neighbours=5, neighbours_each=2)
    with pytest.raises(BadInput, match=r"A run over \d+ tokens with 15 retained texts needs about"):
        next(erase(Request(taught, (TAUGHT[0],), tuple(TAUGHT[1:]), settings=settings)))
    with pytest.raises(BadInput, match=r"A run over \d+ tokens needs about"):
        next(erase(Request(taught, (TAUGHT[0],), tuple(TAUGHT[1:]), settings=replace(settings, keep=0.0))))


@pytest.fixture(scope="module")
def split(tiny: Maker, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """The tiny llama with its last two layers on disk, as accelerate places a model that is too large."""
    return load(saved(tiny("llama"), tmp_path_factory.mktemp("split")), device="cpu", device_map=PLACES)


def test_a_model_on_two_places_is_the_same_model(tiny: Maker, split: LanguageModel) -> None:
    whole = tiny("llama")
    assert {part.weight.device.type for part in split.layout.mlp} == {"cpu", "meta"}
    assert (split.fingerprint, split.device, split.dtype) == (whole.fingerprint, CPU, torch.float32)
    assert torch.equal(split.logits(IDS, MASK), whole.logits(IDS, MASK))
    assert split.generate([[5, 60, 17]], 6) == whole.generate([[5, 60, 17]], 6)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("hard-concrete", "hard-concrete-deep")])
def test_every_method_finds_the_same_on_two_places(tiny: Maker, split: LanguageModel, method: str) -> None:
    own, other = (result_of(method, Task(one, SECRET)).scores for one in (split, tiny("llama")))
    np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5 * float(np.abs(other).max()))


def test_gates_act_on_the_part_they_are_meant_for(tiny: Maker, split: LanguageModel) -> None:
    for layer in range(LAYERS):
        with split.gated(split.off([Neuron(layer, 3)])), tiny("llama").gated(split.off([Neuron(layer, 3)])):
            assert torch.equal(split.logits(IDS, MASK), tiny("llama").logits(IDS, MASK))
            assert layer == 0 or split.layout.mlp[layer].weight.device.type == "meta"
    torch.testing.assert_close(output_norms(split, "mlp"), output_norms(tiny("llama"), "mlp"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [0, 2])
def test_edits_change_the_part_they_are_meant_for_and_are_gone_after(tiny: Maker, split: LanguageModel, layer: int) -> None:
    whole = tiny("llama")
    written = neuron_vectors(whole, layer)[0]
    new = written.put(written.weight.detach(), torch.tensor([2]), torch.ones(1, 16))
    edit = Edit({written.name: weight_change(written.weight, new)}, provenance(whole, 0, {}, 0.0))
    before, plain = split.logits(IDS, MASK), value_of(split.model, written.name, written.weight).clone()
    with whole.edited(edit):
        expected = whole.logits(IDS, MASK)
    with split.edited(edit):
        assert torch.equal(split.logits(IDS, MASK), expected)
        with pytest.raises(ZeroDivisionError), split.edited(edit):
            raise ZeroDivisionError
        assert torch.equal(split.logits(IDS, MASK), expected)
    assert not torch.equal(expected, before)
    assert torch.equal(split.logits(IDS, MASK), before)
    parameter = dict(split.model.named_parameters())[written.name]
    assert torch.equal(value_of(split.model, written.name, parameter), plain)


def test_an_edit_folded_into_a_model_on_two_places(tiny: Maker, tmp_path: Path) -> None:
    whole = tiny("llama")
    written = neuron_vectors(whole, 1)[0]
    new = written.put(written.weight.detach(), torch.tensor([2]), torch.ones(1, 16))
    edit = Edit({written.name: weight_change(written.weight, new)}, provenance(whole, 0, {}, 0.0))
    other = load(saved(whole, tmp_path), device="cpu", device_map=PLACES)
    put(ready(other.model, edit, untouched=True))
    with whole.edited(edit):
        assert torch.equal(other.logits(IDS, MASK), whole.logits(IDS, MASK))


def test_spread_leaves_the_placing_to_accelerate(folder: str, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    own = AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *a, **k: asked.append(k["device_map"]) or own(*a, **k))
    assert load(folder, device="spread").fingerprint == lm.fingerprint
    assert asked == ["auto"]


def test_planting_into_weights_that_are_elsewhere_says_why_not(split: LanguageModel) -> None:
    with pytest.raises(BadInput, match=r"layer 2 are quantized or not in memory.*load the model as float32 or bfloat16"):
        neuron_vectors(split, 2)


def test_nothing_of_a_model_stays_in_memory_when_it_goes(tokenizer: PreTrainedTokenizerFast) -> None:
    lm = LanguageModel("short-lived", random_model("gpt_neox", len(tokenizer)), tokenizer)
    result_of("contrastive-gradient", Task(lm, SECRET))
    gone = [weakref.ref(parameter) for parameter in lm.model.parameters()]
    del lm
    gc.collect()
    assert not any(reference() is not None for reference in gone)
