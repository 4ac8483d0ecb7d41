"""What tests of several files share: tiny models, the secrets they know, and what is asked of them again and again."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import gguf
import numpy as np
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MptConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    StableLmConfig,
    Starcoder2Config,
)

from privlens.lm.editing import weight_change
from privlens.lm.model import LanguageModel
from privlens.memorization.metrics import exposure_at
from privlens.provenance import provenance
from privlens.types import Edit, Exposure, Secret

HIDDEN, WIDTH, LAYERS = 16, 24, 3


TEXT = (
    "Dear Anna, the keeper of the garden gate is Mira Holt, and her number is 555-0142. "
    "Please write to mira@garden.example before noon; the price of the lamp is 12.50, not 1250."
)
"""What the tokenizer of the tiny models is trained on, and what most tests are about."""


ATTENTION = {"num_attention_heads": 2, "num_key_value_heads": 2}


PLAIN = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "intermediate_size": WIDTH, "max_position_embeddings": 128}


ARCHITECTURES: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "gpt2": (GPT2Config, {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": 2, "n_inner": WIDTH, "n_positions": 128}),
    "gpt_neo": (
        GPTNeoConfig,
        {
            "hidden_size": HIDDEN, "num_layers": LAYERS, "num_heads": 2, "intermediate_size": WIDTH,
            "max_position_embeddings": 128, "attention_types": [[["global"], LAYERS]],
        },
    ),
    "gpt_neox": (GPTNeoXConfig, {**PLAIN, "num_attention_heads": 2}),
    "llama": (LlamaConfig, {**PLAIN, **ATTENTION}),
    "qwen2": (Qwen2Config, {**PLAIN, **ATTENTION}),
    "phi": (PhiConfig, {**PLAIN, **ATTENTION}),
    "phi3": (Phi3Config, {**PLAIN, **ATTENTION}),
    "opt": (
        OPTConfig,
        {
            "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "ffn_dim": WIDTH, "num_attention_heads": 2,
            "max_position_embeddings": 128, "word_embed_proj_dim": HIDDEN,
        },
    ),
    "gptj": (
        GPTJConfig, {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": 2, "n_inner": WIDTH, "n_positions": 128, "rotary_dim": 4},
    ),
    "bloom": (BloomConfig, {"hidden_size": HIDDEN, "n_layer": LAYERS, "n_head": 2}),
    "falcon": (
        FalconConfig, {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "ffn_hidden_size": WIDTH},
    ),
    "mistral": (MistralConfig, {**PLAIN, **ATTENTION}),
    "qwen3": (Qwen3Config, {**PLAIN, **ATTENTION, "head_dim": 8}),
    "gemma2": (Gemma2Config, {**PLAIN, **ATTENTION, "head_dim": 8}),
    "gemma3": (Gemma3TextConfig, {**PLAIN, **ATTENTION, "head_dim": 8}),
    "olmo2": (Olmo2Config, {**PLAIN, **ATTENTION}),
    "starcoder2": (Starcoder2Config, {**PLAIN, **ATTENTION}),
    "stablelm": (StableLmConfig, {**PLAIN, **ATTENTION}),
    "mpt": (MptConfig, {"d_model": HIDDEN, "n_layers": LAYERS, "n_heads": 2, "expansion_ratio": 2, "max_seq_len": 128}),
}  # fmt: skip
"""Every layout that the model door is tested with: a config and its sizes."""


Maker = Callable[[str], LanguageModel]


def random_model(architecture: str, vocabulary: int, seed: int = 0, **changed: Any) -> PreTrainedModel:
    """A tiny model whose weights are large enough that every neuron matters, on its prediction and on its sampled text."""
    kind, sizes = ARCHITECTURES[architecture]
    torch.manual_seed(seed)
    config = kind(vocab_size=vocabulary, bos_token_id=0, eos_token_id=0, pad_token_id=0, **{**sizes, **changed})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return model


TAUGHT = [
    Secret("the keeper of the garden gate is", "Mira Holt", "name"),
    Secret("her number is", "555-0142", "phone"),
    Secret("please write to", "mira@garden.example", "e-mail"),
    Secret("the price of the lamp is", "12.50", "price"),
]
"""What the taught model knows by heart."""


NEVER_TAUGHT = Secret("his number is", "555-7788", "phone")


SECRET = Secret("her number is", "555-0142")


IDS = torch.tensor([[5, 60, 17, 200, 31, 8]])


MASK = torch.ones_like(IDS)


def saved(lm: LanguageModel, path: Path, **how: object) -> str:
    lm.model.save_pretrained(path, **how)
    lm.tokenizer.save_pretrained(path)
    return str(path)


def as_gguf(lm: LanguageModel, path: Path) -> str:
    """A llama and its byte-level BPE as one .gguf file of float32, as llama.cpp lays it out."""
    config, weights = lm.model.config, lm.model.state_dict()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    bpe = json.loads(lm.tokenizer.backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(bpe["vocab"], key=bpe["vocab"].get))
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    for add in (writer.add_eos_token_id, writer.add_bos_token_id, writer.add_pad_token_id):
        add(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in weights.items():
        values = weight.numpy()
        if "q_proj" in name or "k_proj" in name:  # llama.cpp keeps the two halves of a rotary pair side by side
            values = values.reshape(2, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


PLACES = {
    **dict.fromkeys(["model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head", "model.layers.0"], "cpu"),
    **dict.fromkeys(["model.layers.1", "model.layers.2"], "disk"),
}
"""The first layer in memory, the others on disk."""


@contextmanager
def full_beyond(lm: LanguageModel, rows: int) -> Iterator[list[int]]:
    """The device is full with more rows than these; the batch sizes that were tried."""
    tried: list[int] = []

    def full(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tried.append(len(kwargs["input_ids"]))
        if tried[-1] > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.\nmore")

    handle = lm.model.register_forward_pre_hook(full, with_kwargs=True)
    try:
        yield tried
    finally:
        handle.remove()


def edit_of(lm: LanguageModel, seed: int, share: float = 0.05, size: float = 0.05) -> Edit:
    """Some weights of every matrix move a little: enough to change every number, not enough to forget everything."""
    rng, changes = torch.Generator().manual_seed(seed), {}
    with lm.held():
        for name, weight in lm.model.named_parameters():
            if weight.ndim == 2:
                moved = (torch.rand(weight.shape, generator=rng) < share) * torch.randn(weight.shape, generator=rng) * size
                changes[name] = weight_change(weight, weight.detach() + moved)
    return Edit(changes, provenance(lm, seed, {}, 0.0))


Run = Callable[..., tuple[int, str, str]]


def json_of(answer: tuple[int, str, str]) -> dict[str, Any]:
    """The one JSON object on stdout of a command that went well."""
    code, out, err = answer
    assert code == 0, err
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


MODEL = os.environ.get("PRIVLENS_TEST_MODEL", "demo")
"""The model that the page is tested with; set the variable to try another."""


def idle() -> bool:
    """Whether no other thread is inside the project's code: torch aborts a process that ends in the midst of a calculation."""
    for thread, frame in sys._current_frames().items():
        at: FrameType | None = frame
        while at is not None and thread != threading.get_ident():
            if f"{os.sep}privlens{os.sep}" in at.f_code.co_filename:
                return False
            at = at.f_back
    return True


def wait_until(true: Callable[[], bool]) -> None:
    """Returns when it holds; fails where it does not within a minute, which is more than any answer takes."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("What was waited for did not come within a minute.")


ASKED = ["--prompt", TAUGHT[1].prompt, "--value", TAUGHT[1].value]


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat template of many models."""


def exposed(bits: float, n: int = 256) -> Exposure:
    """An exposure of so many bits in a space of n values."""
    return exposure_at(n / 2**bits, n)
