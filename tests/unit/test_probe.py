"""What a model is asked when it was read: its numbers must be numbers, causal, and the same by every way they are reached."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from privlens.errors import BadInput, UnsupportedModel
from privlens.lm.editing import weight_change
from privlens.lm.model import LanguageModel
from privlens.lm.probe import probe
from privlens.lm.scoring import ValueScore, score
from privlens.lm.tokens import encode
from privlens.localization import Task, result_of
from privlens.memorization.check import check
from privlens.provenance import provenance
from privlens.types import Edit, Secret
from privlens.zoo.loading import load
from tests.helpers import ARCHITECTURES, ATTENTION, IDS, LAYERS, PLAIN, SECRET, Maker, saved

CONV = ["conv", "full_attention", "conv"]
DECODER = {"d_model": 16, "encoder_layers": LAYERS, "decoder_layers": LAYERS, "decoder_ffn_dim": 32, "decoder_attention_heads": 2}
UNUSUAL: dict[str, tuple[bool, bool, str, dict[str, Any]]] = {
    "lfm2": (False, True, "Lfm2Config", {**PLAIN, **ATTENTION, "layer_types": CONV, "block_auto_adjust_ff_dim": False}),
    "olmo_hybrid": (
        False, True, "OlmoHybridConfig",
        {**PLAIN, **ATTENTION, "layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    ),
    "recurrent_gemma": (False, False, "RecurrentGemmaConfig", {**PLAIN, **ATTENTION, "intermediate_size": 96, "head_dim": 8}),
    "openai-gpt": (False, True, "OpenAIGPTConfig", {"n_embd": 16, "n_layer": LAYERS, "n_head": 2, "n_positions": 128}),
    "trocr": (True, False, "TrOCRConfig", {**DECODER, "max_position_embeddings": 128}),
    "mvp": (True, False, "MvpConfig", {**DECODER, "is_encoder_decoder": False, "is_decoder": True}),
}  # fmt: skip
"""Models whose caches cannot be repeated or that go wrong behind padding, with what the probe must say of both."""


def unusual(name: str, tokenizer: PreTrainedTokenizerFast, path: Path) -> LanguageModel:
    """A tiny random one of these, saved and loaded."""
    *_, config, sizes = UNUSUAL[name]
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    model = AutoModelForCausalLM.from_config(getattr(transformers, config)(vocab_size=len(tokenizer), **ends, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return load(saved(LanguageModel(name, model, tokenizer), path), device="cpu")


def greedy(lm: LanguageModel, ids: list[int], n_tokens: int) -> list[int]:
    """Greedy decoding by hand: whole passes over the text alone."""
    written = list(ids)
    for _ in range(n_tokens):
        text = torch.tensor([written])
        with torch.no_grad():
            written.append(int(lm.model(input_ids=text, attention_mask=torch.ones_like(text)).logits[0, -1].argmax()))
    return written[len(ids) :]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ordinary_architectures_share_their_beginnings_and_pad(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    lm.can_reuse_prefix = False
    passes: list[int] = []
    handle = lm.model.register_forward_pre_hook(
        lambda _, args, given: passes.append(given["input_ids"].numel()), with_kwargs=True
    )  # fmt: skip
    try:
        probe(lm)
    finally:
        handle.remove()
    assert lm.can_reuse_prefix and lm.pads_left
    assert len(passes) == 4 and sum(passes) < 100, "it must cost next to nothing on a large model"


@pytest.mark.parametrize("name", UNUSUAL)
def test_where_a_cache_or_padding_cannot_be_used_every_number_is_that_of_whole_passes(
    tokenizer: PreTrainedTokenizerFast, name: str, tmp_path: Path
) -> None:
    lm = unusual(name, tokenizer, tmp_path)
    assert (lm.can_reuse_prefix, lm.pads_left) == UNUSUAL[name][:2]
    secrets = [SECRET, Secret(SECRET.prompt, "555-9311"), Secret(SECRET.prompt, "Mira")]
    encoded = [encode(tokenizer, secret) for secret in secrets]
    for found, row in zip(score(lm, encoded), encoded, strict=True):
        with torch.no_grad():
            logprobs = lm.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
        expected = [float(logprobs[row.n_prompt + at - 1, token]) for at, token in enumerate(row.value_ids)]
        assert found.logprobs == pytest.approx(expected, abs=1e-4)
    prompts = [[5, 60, 17, 200, 31, 8], [60, 17], [9], [17, 5]]
    end = lm.model.generation_config.eos_token_id
    for written, prompt in zip(lm.generate(prompts, 3), prompts, strict=True):
        by_hand = greedy(lm, prompt, 3)
        assert written == (by_hand[: by_hand.index(end)] if end in by_hand else by_hand)
    gates = torch.rand(4, *lm.shape(), generator=torch.Generator().manual_seed(0))
    together = lm.generate(prompts, 3, gates)
    assert together == [lm.generate([prompt], 3, gates[row : row + 1])[0] for row, prompt in enumerate(prompts)]
    [alone] = score(lm, [lm.encode(SECRET)])
    assert check(lm, SECRET).nll == pytest.approx(-np.mean(alone.logprobs), abs=1e-5)
    if not lm.can_reuse_prefix:
        attributed = result_of("integrated-gradients", Task(lm, SECRET))
        assert attributed.provenance.settings["restarted"] is False
        assert float(np.abs(attributed.scores).max()) > 0


def with_weights(folder: str, path: Path, change: Callable[[str, Tensor], None]) -> str:
    """A copy of a model folder with some weights changed in place."""
    copied = Path(shutil.copytree(folder, path))
    weights = load_file(copied / "model.safetensors")
    for name, weight in weights.items():
        change(name, weight)
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    return str(copied)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("weight", ["embed_in.weight", "layers.1.mlp.dense_4h_to_h.weight", "final_layer_norm.bias"])
def test_weights_that_are_not_finite_are_named(folder: str, tmp_path: Path, weight: str, value: float) -> None:
    def put(name: str, found: Tensor) -> None:
        if name.endswith(weight):
            found.view(-1)[-1] = value  # of the embedding the last token's, which no text may use

    with pytest.raises(UnsupportedModel, match=rf"The weight .*{weight} of .* not finite \(NaN, infinity\): choose another"):
        load(with_weights(folder, tmp_path / "model", put), device="cpu")


def test_what_does_not_fit_float16_is_said_and_loads_as_bfloat16(folder: str, tmp_path: Path) -> None:
    def enlarge(name: str, found: Tensor) -> None:
        if name.endswith("final_layer_norm.weight"):
            found.fill_(6e4)

    large = with_weights(folder, tmp_path / "large", enlarge)
    with pytest.raises(UnsupportedModel, match=r"are not numbers .* do not fit float16\. Load it as float32 or bfloat16"):
        load(large, device="cpu", dtype="float16")
    assert load(large, device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    beyond = with_weights(folder, tmp_path / "beyond", lambda name, found: found.mul_(1e7) if "dense_4h" in name else None)
    with pytest.raises(UnsupportedModel, match=r"dense_4h.* not finite .*: load it as float32 or bfloat16"):
        load(beyond, device="cpu", dtype="float16")


def with_tokens(folder: str, path: Path, **added: Any) -> str:
    copied = shutil.copytree(folder, path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    for how, tokens in added.items():
        tokenizer.add_special_tokens({how: tokens}) if how == "pad_token" else tokenizer.add_tokens(tokens)
    tokenizer.save_pretrained(copied)
    return str(copied)


def test_a_padding_token_that_was_added_without_an_embedding_works(folder: str, lm: LanguageModel, tmp_path: Path) -> None:
    read = load(with_tokens(folder, tmp_path / "model", pad_token="[PAD]"), device="cpu")
    assert read.tokenizer.pad_token_id == read.n_embeddings == 320
    prompts = [[5, 60, 17, 200, 31, 8], [60, 17]]
    assert read.generate(prompts, 4) == [lm.generate([prompt], 4)[0] for prompt in prompts]
    assert check(read, SECRET) == check(lm, SECRET)
    for secret in (Secret("her [PAD] number is", "1"), Secret("her number is", "[PAD]1")):
        with pytest.raises(BadInput, match=r"This model has no embedding for '\[PAD\]'"):
            check(read, secret)
    with pytest.raises(BadInput, match="has no embedding for"):
        read.padded([[5, 320]])


def test_words_without_an_embedding_are_refused_and_named(folder: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"The tokenizer has 2 tokens without an embedding in .*'Zurich' with id 320"):
        load(with_tokens(folder, tmp_path / "model", words=["Zurich", "Geneva"]), device="cpu")


def test_a_tokenizer_that_knows_no_words(folder: str, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    content = json.loads((copied / "tokenizer.json").read_text())
    content["model"]["vocab"], content["model"]["merges"] = {"<end>": 0}, []
    (copied / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UnsupportedModel, match="makes no tokens of ordinary words"):
        load(str(copied), device="cpu")


def test_a_decoder_that_is_told_to_look_ahead_is_refused(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    sizes = {**PLAIN, **ATTENTION, "head_dim": 8, "vocab_size": len(tokenizer)}
    for ahead, path in ((False, tmp_path / "causal"), (True, tmp_path / "ahead")):
        torch.manual_seed(0)
        config = transformers.Gemma3TextConfig(**sizes, use_bidirectional_attention=ahead)
        folder = saved(LanguageModel("own", AutoModelForCausalLM.from_config(config), tokenizer), path)
        if ahead:
            with pytest.raises(UnsupportedModel, match="reads a text from both sides"):
                load(folder, device="cpu")
        else:
            load(folder, device="cpu")


def test_a_later_token_in_one_layer_alone_is_enough(lm: LanguageModel) -> None:
    """A model that is causal but for a thousandth of what comes next."""

    def leak(_: nn.Module, __: object, output: Tensor) -> Tensor:
        return output + 1e-3 * output.roll(-1, dims=1)

    handle = lm.layout.layers[1].mlp.register_forward_hook(leak)
    try:
        with pytest.raises(UnsupportedModel, match="reads a text from both sides"):
            probe(lm)
    finally:
        handle.remove()
    probe(lm)


def test_a_cache_that_gives_other_numbers_is_not_used(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(part: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, ...] | None:
        if given.get("past_key_values") is None:
            return None
        return args, {**given, "input_ids": given["input_ids"].flip(0)}

    handle = lm.model.register_forward_pre_hook(forgetful, with_kwargs=True)
    try:
        probe(lm)
        assert not lm.can_reuse_prefix
    finally:
        handle.remove()
        probe(lm)
    assert lm.can_reuse_prefix


def test_an_edit_with_numbers_that_are_too_large_is_said(lm: LanguageModel) -> None:
    weight = lm.layout.mlp[1].weight
    name = next(name for name, parameter in lm.model.named_parameters() if parameter is weight)
    edit = Edit({name: weight_change(weight, torch.full_like(weight, 3e38))}, provenance(lm, 0, {}, 0.0))
    before: list[ValueScore] = score(lm, [lm.encode(SECRET)])
    with pytest.raises(UnsupportedModel, match=r"predictions are not numbers \(NaN\)"):
        check(lm.under(edit), SECRET)
    assert score(lm, [lm.encode(SECRET)]) == before
    assert torch.isfinite(lm.logits(IDS, torch.ones_like(IDS))).all()
