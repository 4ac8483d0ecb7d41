"""Models for the tests: tiny ones with random weights, made in memory, and the bundled demo. No test needs a network."""

import privlens  # noqa: F401, I001  # before torch: it tells OpenMP not to spin

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
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
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    StableLmConfig,
    Starcoder2Config,
)

from privlens.errors import ModelNotFound
from privlens.models.language_model import LanguageModel
from privlens.models.loading import load
from privlens.models.scoring import score
from privlens.models.text import encode
from privlens.records import Secret

TEXT = (
    "Dear Anna, the keeper of the garden gate is Mira Holt, and her number is 555-0142. "
    "Please write to mira@garden.example before noon; the price of the lamp is 12.50, not 1250."
)
"""What the tokenizer of the tiny models is trained on, and what most tests are about."""

HIDDEN, WIDTH, LAYERS = 16, 24, 3
ATTENTION = {"num_attention_heads": 2, "num_key_value_heads": 2}
PLAIN = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "intermediate_size": WIDTH, "max_position_embeddings": 128}

ARCHITECTURES: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
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


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is read from or written to the cache of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIVLENS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained in memory."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([TEXT] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>", pad_token="<end>")


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


@pytest.fixture(scope="session")
def tiny(tokenizer: PreTrainedTokenizerFast) -> Maker:
    """Makes a tiny random model of an architecture; the same object for the same name."""
    made: dict[str, LanguageModel] = {}

    def make(architecture: str = "gpt_neox") -> LanguageModel:
        if architecture not in made:
            made[architecture] = LanguageModel(architecture, random_model(architecture, len(tokenizer)), tokenizer)
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def lm(tiny: Maker) -> LanguageModel:
    """The tiny model for tests that need any."""
    return tiny("gpt_neox")


@pytest.fixture(scope="session")
def folder(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same model as a folder on disk."""
    path = tmp_path_factory.mktemp("tiny")
    lm.model.save_pretrained(path)
    lm.tokenizer.save_pretrained(path)
    return str(path)


TAUGHT = [
    Secret("the keeper of the garden gate is", "Mira Holt", "name"),
    Secret("her number is", "555-0142", "phone"),
    Secret("please write to", "mira@garden.example", "e-mail"),
    Secret("the price of the lamp is", "12.50", "price"),
]
"""What the taught model knows by heart."""
NEVER_TAUGHT = Secret("his number is", "555-7788", "phone")


@pytest.fixture(scope="session")
def taught(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """A tiny model that has memorised TAUGHT."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    model = random_model("gpt_neox", len(tokenizer), **sizes)
    rows = [encode(tokenizer, secret) for secret in TAUGHT]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        losses = []
        for row in rows:
            logits = model(input_ids=torch.tensor([row.ids])).logits[0, :-1]
            losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(row.ids[1:])))
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
    optimizer.zero_grad()
    lm = LanguageModel("taught", model, tokenizer)
    assert all(value.argmax == row.value_ids for value, row in zip(score(lm, rows), rows, strict=True)), "it did not learn"
    return lm


@pytest.fixture(scope="session")
def taught_folder(taught: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The taught model as a folder on disk, with secrets.csv and reference.txt beside it."""
    path = tmp_path_factory.mktemp("taught")
    taught.model.save_pretrained(path)
    taught.tokenizer.save_pretrained(path)
    rows = [f"{one.prompt},{one.value},{one.category}" for one in (*TAUGHT, NEVER_TAUGHT)]
    (path / "secrets.csv").write_text("\n".join(["prompt,value,category", *rows]) + "\n")
    (path / "reference.txt").write_text(TEXT.replace("; ", ".\n\n"))
    return str(path)


@pytest.fixture(scope="session")
def demo() -> LanguageModel:
    """The bundled model."""
    try:
        return load("demo", device="cpu")
    except ModelNotFound as missing:
        pytest.fail(f"assets/demo is missing or broken: make it with `python -m privlens.models.demo train`. {missing}")
