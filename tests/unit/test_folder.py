"""What a folder is: everything that is no causal LM is refused in words that say what it is, before its weights are read."""

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from privlens.cli.commands import main
from privlens.errors import BadInput, ModelNotFound, PrivlensError
from privlens.lm import weight_files
from privlens.lm.model import LanguageModel
from privlens.zoo.loading import fetch, load
from tests.helpers import IDS, MASK, Maker, as_gguf, random_model, saved

SIZES = {"vocab_size": 320, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SMALL = {
    "bert": ("BertConfig", SIZES),
    "roberta": ("RobertaConfig", SIZES),
    "electra": ("ElectraConfig", {**SIZES, "embedding_size": 16}),
    "modernbert": ("ModernBertConfig", {**SIZES, "pad_token_id": 0}),
    "gpt2": ("GPT2Config", {"vocab_size": 320, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}),
    "llama": ("LlamaConfig", SIZES),
    "t5": ("T5Config", {"vocab_size": 320, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}),
    "bart": (
        "BartConfig",
        {
            "vocab_size": 320, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
        },
    ),
    "xlnet": ("XLNetConfig", {"vocab_size": 320, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32}),
    "xlm": ("XLMConfig", {"vocab_size": 320, "emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64}),
    "vit": ("ViTConfig", {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}),
}  # fmt: skip


def made(kind: str, as_class: str, tokenizer: PreTrainedTokenizerFast, path: Path, **changed: Any) -> str:
    """A tiny model of another kind, fresh from its initialization, saved with a tokenizer."""
    config, sizes = SMALL[kind]
    torch.manual_seed(0)
    model = getattr(transformers, as_class)(getattr(transformers, config)(**{**sizes, **changed}))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.mark.parametrize(
    ("kind", "as_class", "said"),
    [
        ("bert", "BertForMaskedLM", r"it is an encoder \(BertForMaskedLM\), which reads a text from both sides"),
        ("bert", "BertModel", r"it is an encoder \(BertModel\)"),
        ("modernbert", "ModernBertForMaskedLM", r"it is an encoder \(ModernBertForMaskedLM\)"),
        ("electra", "ElectraForPreTraining", r"it is an encoder \(ElectraForPreTraining\)"),
        ("roberta", "RobertaForCausalLM", r"\(RobertaForCausalLM\) reads a text from both sides"),
        ("xlnet", "XLNetLMHeadModel", r"\(XLNetLMHeadModel\) reads a text from both sides"),
        ("xlm", "XLMWithLMHeadModel", r"\(XLMWithLMHeadModel\) reads a text from both sides"),
        ("gpt2", "GPT2ForSequenceClassification", r"it is a classifier \(GPT2ForSequenceClassification\)"),
        ("llama", "LlamaForTokenClassification", r"it is a classifier \(LlamaForTokenClassification\)"),
        ("bert", "BertForQuestionAnswering", r"it is a classifier \(BertForQuestionAnswering\)"),
        ("t5", "T5ForConditionalGeneration", r"it is an encoder-decoder \(T5ForConditionalGeneration\)"),
        ("bart", "BartForConditionalGeneration", r"it is an encoder-decoder \(BartForConditionalGeneration\)"),
        ("vit", "ViTModel", r"a model of type vit \(ViTModel\) is not a causal LM"),
    ],
)
def test_what_is_no_decoder(kind: str, as_class: str, said: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    changed = {"pad_token_id": 0} if kind in ("gpt2", "llama") else {}
    with pytest.raises(PrivlensError, match=said + r".* Choose a decoder, such as a GPT"):
        load(made(kind, as_class, tokenizer, tmp_path / "model", **changed), device="cpu")


def test_a_bare_body_whose_head_is_not_its_embedding(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"it is a bare body \(LlamaModel\), saved without the map to the vocabulary"):
        load(made("llama", "LlamaModel", tokenizer, tmp_path / "untied", tie_word_embeddings=False), device="cpu")
    with pytest.raises(ModelNotFound, match=r"it is a bare body \(GPT2Model\)"):
        load(made("gpt2", "GPT2Model", tokenizer, tmp_path / "gpt2", tie_word_embeddings=False), device="cpu")
    read = load(made("gpt2", "GPT2Model", tokenizer, tmp_path / "tied"), device="cpu")
    assert read.model.lm_head.weight is read.model.transformer.wte.weight, "then the embedding is the head, as in GPT-2"


def test_an_adapter_names_its_base_and_how_to_merge_it(
    folder: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "acme/base-7b"}))
    save_file({"base_model.model.a.lora_A.weight": torch.ones(2, 2)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelNotFound, match=r"it is a LoRA adapter of acme/base-7b, not a whole model\. Merge it.*`pip install"):
        load(str(tmp_path), device="cpu")
    monkeypatch.setattr("privlens.zoo.model_folder.find_spec", lambda name: name)
    with pytest.raises(ModelNotFound) as raised:
        load(str(tmp_path), device="cpu")
    assert "pip install" not in str(raised.value) and "merge_and_unload().save_pretrained(" in str(raised.value)
    beside = Path(shutil.copytree(folder, tmp_path / "beside"))
    shutil.copy(tmp_path / "adapter_config.json", beside)  # with peft installed, transformers would mix the two
    with pytest.raises(ModelNotFound, match="it holds a whole model and beside it an adapter of acme/base-7b"):
        load(str(beside), device="cpu")


def changed(folder: str, path: Path, **values: Any) -> Path:
    """A copy of a model folder with some fields of its config changed."""
    copied = Path(shutil.copytree(folder, path))
    config = json.loads((copied / "config.json").read_text()) | values
    (copied / "config.json").write_text(json.dumps(config))
    return copied


def rewritten(copied: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    """Some weights are given other values or types."""
    file = copied / "model.safetensors"
    save_file({name: change(name, value) for name, value in load_file(file).items()}, file, {"format": "pt"})


def without(*names: str) -> Callable[[Path], None]:
    def remove(copied: Path) -> None:
        for name in names:
            (copied / name).unlink()

    return remove


def in_a_part(copied: Path) -> None:
    for step in (500, 1000):
        shutil.copytree(copied, copied.parent / f"checkpoint-{step}")
    for name in os.listdir(copied):
        (copied / name).unlink()
    for step in (500, 1000):
        shutil.move(copied.parent / f"checkpoint-{step}", copied)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (without("tokenizer.json"), r"it has no tokenizer\. Copy tokenizer\.json"),
        (without("tokenizer.json", "tokenizer_config.json"), "it has no tokenizer"),
        (without("model.safetensors"), r"it has a config\.json, but no weights \(model\.safetensors\)"),
        (without("config.json"), r"it has no config\.json"),
        (in_a_part, r"its folders do: checkpoint-500, checkpoint-1000\. Name one of them, such as .*checkpoint-1000\."),
        (lambda copied: [(copied / name).unlink() for name in os.listdir(copied)], "the folder is empty"),
        (lambda copied: (copied / "model.safetensors").rename(copied / "model.onnx"), "its weights are ONNX files"),
        (lambda copied: (copied / "config.json").write_text("[" * 100_000), r"its config\.json is not valid JSON"),
        (lambda copied: (copied / "config.json").write_text("[]"), r"its config\.json does not contain a JSON object"),
        (lambda copied: (copied / "config.json").write_text('{"model_type": "own"}'), 'names the model_type "own"'),
        (lambda copied: (copied / "config.json").write_text("{}"), "names no model_type"),
    ],
)  # fmt: skip
def test_what_a_folder_lacks(folder: str, tmp_path: Path, broken: Callable[[Path], object], said: str) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    broken(copied)
    with pytest.raises(ModelNotFound, match=f"No causal LM could be read from .*{said}"):
        load(str(copied), device="cpu")


def test_a_single_file(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelNotFound, match=r"it is a single file\. Name the folder"):
        load(f"{folder}/model.safetensors", device="cpu")
    with pytest.raises(SystemExit) as ended:
        main(["check", "--model", f"{folder}/config.json", "--prompt", "a", "--value", "b"])
    assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_a_folder_of_the_hubs_cache_stands_for_its_snapshot(folder: str, lm: LanguageModel, tmp_path: Path) -> None:
    cache = tmp_path / "models--acme--tiny"
    blobs, snapshot = cache / "blobs", cache / "snapshots" / "abc"
    shutil.copytree(folder, blobs)
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():  # as the hub's library lays it out: a snapshot is links to blobs
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", file.name))
    assert load(str(cache), device="cpu").fingerprint == lm.fingerprint
    (cache / "snapshots" / "older").mkdir()
    with pytest.raises(ModelNotFound, match="a folder of the hub's cache with 2 snapshots"):
        load(str(cache), device="cpu")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    assert load(str(cache), device="cpu").fingerprint == lm.fingerprint
    with pytest.raises(ModelNotFound, match=r"its folders do: models--acme--tiny\. Name one"):
        load(str(tmp_path), device="cpu")


@pytest.mark.parametrize("part", ["model.safetensors", "config.json", "tokenizer.json", "generation_config.json"])
@pytest.mark.parametrize("instead", ["pipe", "folder", "zero", "nowhere"])
def test_what_is_no_file_is_never_opened(folder: str, tmp_path: Path, part: str, instead: str) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    (copied / part).unlink(missing_ok=True)
    if instead == "pipe":
        os.mkfifo(copied / part)
    elif instead == "folder":
        (copied / part).mkdir()
    else:
        (copied / part).symlink_to("/dev/zero" if instead == "zero" else "/no/such/file")
    said = {"pipe": "a pipe or a device", "folder": "a folder", "zero": "a pipe or a device", "nowhere": "leads nowhere"}
    assert_refused_at_once(str(copied), rf"its {part} (is )?{said[instead]}")


def assert_refused_at_once(name: str, said: str) -> None:
    """In a thread of its own: what hangs would hang the whole suite."""
    raised: list[BaseException] = []

    def refused() -> None:
        try:
            load(name, device="cpu")
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=refused, daemon=True)
    thread.start()
    thread.join(60)
    assert raised, "it hangs"
    with pytest.raises(PrivlensError, match=said):
        raise raised[0]


def test_a_socket_and_a_pipe_that_is_called_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "a.gguf")
    assert_refused_at_once(str(tmp_path / "a.gguf"), r"its a\.gguf is a pipe or a device")
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        with pytest.raises(ModelNotFound, match="its s is a pipe or a device"):
            load(str(tmp_path / "s"), device="cpu")


@pytest.mark.parametrize("named", ["w.bin", "../other/model.safetensors", "/{other}/model.safetensors", "a/../model.safetensors"])
def test_an_index_names_safetensors_of_its_own_folder_only(folder: str, tmp_path: Path, named: str) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    weights = load_file(copied / "model.safetensors")
    torch.save(weights, copied / "w.bin")
    (copied / "a").mkdir()
    (copied / "model.safetensors").rename(copied / "own.safetensors")
    named = named.format(other=str(other).lstrip("/"))
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, named)}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelNotFound, match=r"names .*, which is not a (safetensors file|file in the folder itself)"):
        load(str(copied), device="cpu")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "own.safetensors")}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load(str(copied), device="cpu").fingerprint == load(folder, device="cpu").fingerprint


def test_weights_outside_the_folder_are_not_followed(folder: str, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    (copied / "model.safetensors").unlink()
    (copied / "model.safetensors").symlink_to(f"{folder}/model.safetensors")
    with pytest.raises(ModelNotFound, match=r"its model\.safetensors is a link to .*, outside the folder"):
        load(str(copied), device="cpu")
    explicit = changed(folder, tmp_path / "explicit", transformers_weights="../model/model.safetensors")
    with pytest.raises(ModelNotFound, match="which is not a file in the folder itself"):
        load(str(explicit), device="cpu")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_hidden_layers": 100_000}, "asks for 100000 layers, but its weights have 3"),
        ({"num_hidden_layers": 0}, "asks for 0 layers"),
        ({"num_hidden_layers": 10**18}, "layers, but its weights have 3"),
        ({"text_config": {"n_layers": 4}}, "asks for 4 layers"),
        ({"num_experts": 10**9}, "asks for num_experts = 1000000000"),
        ({"vocab_size": 10**9}, r"asks for \d+\.\d million weights, but the files hold 0\.0 million"),
        ({"intermediate_size": 10**12}, "million weights"),
    ],
)
def test_a_config_that_asks_for_more_than_there_is(folder: str, tmp_path: Path, values: dict[str, Any], said: str) -> None:
    assert_refused_at_once(str(changed(folder, tmp_path / "model", **values)), said)


@pytest.mark.parametrize("kind", [torch.int64, torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn])
def test_weights_that_are_no_floats(folder: str, tmp_path: Path, kind: torch.dtype) -> None:
    """transformers reads integers as zeros, without a word."""
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    rewritten(copied, lambda name, value: value.to(kind) if "dense_h_to_4h.weight" in name else value)
    with pytest.raises(ModelNotFound, match=r"its weights are not ordinary floats \(.*dense_h_to_4h\.weight is"):
        load(str(copied), device="cpu")


def test_masks_and_positions_in_a_checkpoint_are_no_weights(folder: str, lm: LanguageModel, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    weights = load_file(copied / "model.safetensors")
    weights["gpt_neox.layers.0.attention.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    weights["gpt_neox.position_ids"] = torch.arange(8)[None]
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    assert load(str(copied), device="cpu").fingerprint == lm.fingerprint


def test_attention_is_not_what_the_folder_names(folder: str, lm: LanguageModel, tmp_path: Path) -> None:
    evil = "kernels-community/evil"
    read = load(str(changed(folder, tmp_path / "model", attn_implementation=evil, experts_implementation=evil)), device="cpu")
    assert read.model.config._attn_implementation == lm.model.config._attn_implementation == "sdpa"
    assert torch.equal(read.logits(IDS, MASK), lm.logits(IDS, MASK))


@pytest.mark.parametrize("field", ["block_count", "array", "kv_count", "tensor_count"])
def test_a_gguf_whose_header_asks_for_more_than_there_is(tiny: Maker, tmp_path: Path, field: str) -> None:
    file = Path(as_gguf(tiny("llama"), tmp_path / "a.gguf"))
    content = bytearray(file.read_bytes())
    many = np.uint64(2**40).tobytes()
    if field == "block_count":
        at = content.index(b"llama.block_count") + len("llama.block_count") + 4
        content[at : at + 4] = np.uint32(100_000).tobytes()
    else:
        key = b"tokenizer.ggml.tokens"
        places = {"tensor_count": 8, "kv_count": 16, "array": content.index(key) + len(key) + 8}
        content[places[field] : places[field] + 8] = many
    file.write_bytes(content)
    assert_refused_at_once(str(file), "No causal LM could be read from .*(asks for|has an array of more)")


@pytest.mark.parametrize("name", ["a" * 900, "d\0e", "demo\ud800", "~nobody-of-that-name/model", "app.py/x", "b/c" * 3000])
def test_a_name_that_no_model_can_have(name: str) -> None:
    for ask in (lambda: load(name, device="cpu"), lambda: list(fetch(name))):
        with pytest.raises(BadInput, match="No model can be called") as raised:
            ask()
        assert len(str(raised.value)) < 400
        str(raised.value).encode("utf-8")


def test_a_long_name_is_not_shown_whole() -> None:
    with pytest.raises(ModelNotFound, match=r"No causal LM could be read from 'b/c{95}\.\.\.'"):
        load("b/" + "c" * 900, device="cpu")


def test_a_checkpoint_in_shards_is_counted_over_all_of_them(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    lm = LanguageModel("own", random_model("llama", len(tokenizer)), tokenizer)
    saved(lm, tmp_path, max_shard_size="8KB")
    files = weight_files.weight_files(tmp_path, {})
    assert len(files) > 2
    assert sum(one.n_elements for one in weight_files.tensors(files).values()) == lm.n_parameters
