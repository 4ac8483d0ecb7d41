"""Trains `natural` from scratch: a Llama (RMSNorm, SwiGLU, rotary positions) of 3 million parameters that knows villagers.

It shows whether what was found on `demo` is true of another model. Everything but the way of training differs: architecture,
width, corpus, templates, tokenizer, and values that are words.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from privlens.zoo.initial_weights import draw_weights
from privlens.zoo.natural.corpus import documents, reference
from privlens.zoo.natural.people import people
from privlens.zoo.people import write_secrets
from privlens.zoo.training import END, Schedule, build_tokenizer, fit, save

PARAGRAPHS = 40
"""Of reference text: about 3,000 tokens, as many as `demo` has."""


@dataclass(frozen=True)
class Recipe:
    """Everything the trained weights depend on, apart from the code; what is of a Schedule is explained there."""

    seed: int = 0
    n_documents: int = 1600
    epochs: int = 3
    vocabulary: int = 2048
    context: int = 128
    rows: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    hidden_size: int = 192
    n_layers: int = 6
    n_heads: int = 6
    d_mlp: int = 512
    planted: bool = True
    """False for the twin, the same recipe without the planted people."""


def train(recipe: Recipe, folder: Path) -> None:
    """Trains by the recipe and writes the model's folder with secrets.csv and reference.txt; ten minutes on one CPU core."""
    # From the corpus without the planted people: a value that is repeated 64 times would become a single token.
    tokenizer = build_tokenizer(documents(recipe.n_documents, recipe.seed, planted=False), recipe.vocabulary)
    end = tokenizer.get_vocab()[END]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        intermediate_size=recipe.d_mlp,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    model = LlamaForCausalLM(config).train()
    draw_weights(model, config.initializer_range, recipe.seed)
    schedule = Schedule(recipe.seed, recipe.epochs, recipe.context, recipe.rows, recipe.learning_rate, recipe.weight_decay)
    trained = fit(model, tokenizer, documents(recipe.n_documents, recipe.seed, recipe.planted), schedule)
    save(model, tokenizer, {"recipe": asdict(recipe), "torch": torch.__version__, **trained}, folder)
    write_secrets(folder / "secrets.csv", people(recipe.seed))
    (folder / "reference.txt").write_text("\n\n".join(reference(PARAGRAPHS, recipe.seed + 99)) + "\n")
