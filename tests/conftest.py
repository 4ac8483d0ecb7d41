"""Models for the tests: tiny ones with random weights, made in memory, and the bundled demo. No test needs a network."""

import privlens  # noqa: F401, I001  # before torch: it tells OpenMP not to spin

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
)

from tests.helpers import NEVER_TAUGHT, TAUGHT, TEXT, Maker, random_model
from privlens.errors import ModelNotFound
from privlens.lm.model import LanguageModel
from privlens.zoo.loading import load
from privlens.lm.tokens import encode
from privlens.types import Secret


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


@pytest.fixture(scope="session")
def taught(tokenizer: PreTrainedTokenizerFast) -> LanguageModel:
    """A tiny model that has memorized TAUGHT."""
    return teach(tokenizer)


@pytest.fixture(scope="session")
def taught_letters() -> LanguageModel:
    """The same with fair rivals: each character is a token, so that values of a format have as many, and behind two other prompts
    there was another number in every step, so that every digit is as likely as any other where no number is known."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator([], trainers.BpeTrainer(special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False))
    numbers = random.Random(0)

    def unlike_before() -> list[Secret]:
        drawn = (f"{numbers.randrange(1000):03}-{numbers.randrange(10_000):04}" for _ in range(4))
        return [Secret(f"{whose} number is", number) for whose, number in zip(["his", "our"] * 2, drawn, strict=True)]

    return teach(PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>", pad_token="<end>"), 90, unlike_before)


def teach(tokenizer: PreTrainedTokenizerFast, steps: int = 60, more: Callable[[], list[Secret]] = list) -> LanguageModel:
    """A tiny model that has memorized TAUGHT; in every step it is trained on `more` beside.

    Other threads and machines add numbers up in another order, and may need more steps than here.
    """
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    model = random_model("gpt_neox", len(tokenizer), **sizes)
    rows = [encode(tokenizer, secret) for secret in TAUGHT]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    @torch.no_grad()
    def has_learned() -> bool:
        written = [model(input_ids=torch.tensor([row.ids])).logits[0, row.n_prompt - 1 : -1].argmax(-1) for row in rows]
        return all(ids.tolist() == list(row.value_ids) for ids, row in zip(written, rows, strict=True))

    for step in range(4 * steps):
        if step >= steps and has_learned():
            break
        losses = []
        for row in [*rows, *(encode(tokenizer, secret) for secret in more())]:
            logits = model(input_ids=torch.tensor([row.ids])).logits[0, :-1]
            losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(row.ids[1:])))
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
    optimizer.zero_grad()
    assert has_learned(), "it did not learn"
    return LanguageModel("taught", model, tokenizer)


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
        pytest.fail(f"assets/demo is missing or broken: make it with `python -m privlens.zoo.demo train`. {missing}")
