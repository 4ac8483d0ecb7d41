"""Trains the bundled model from scratch and writes its folder: weights, tokenizer, config, card, training record.

A GPT-NeoX of 3.8 million parameters, six layers of 2,048 ReLU neurons: many neurons on a narrow residual stream, with a penalty
on what neurons write, so that a secret can be stored in a few neurons of its own. One seed decides everything. (The bundled
weights were initialized from torch's global generator instead, so the recipe now gives other weights.)
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from privlens.zoo.demo.corpus import documents, reference
from privlens.zoo.demo.people import people
from privlens.zoo.initial_weights import draw_weights
from privlens.zoo.training import END, Schedule, build_tokenizer, fit, save


@dataclass(frozen=True)
class Recipe:
    """Everything the trained weights depend on, apart from the code; what is of a Schedule is explained there."""

    seed: int = 0
    n_documents: int = 6000
    epochs: int = 4
    vocabulary: int = 2048
    context: int = 160
    rows: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    hidden_size: int = 128
    n_layers: int = 6
    n_heads: int = 4
    d_mlp: int = 2048
    sparsity: float = 0.1
    """Weight of Sparsity in the loss, rising from 0 over the first fifth of the steps."""
    planted: bool = True
    """False for the twin, the same recipe without the planted people."""
    weights_seed: int | None = None
    """Of the initial weights and of the order of the texts, if another than `seed`: people, texts and tokenizer are then the
    same."""


class Sparsity:
    """What a layer's MLP neurons write to the residual stream: their L1 norm, relative to the stream's L2 norm.

    A neuron counts with its activation times the norm of its output vector, as in sparse autoencoders with the decoder's norm, so
    that small activations with large output weights are penalized as well. Under this penalty every text uses few neurons, and a
    memorized value a few of its own. (A penalty on attention as well was tried: neighbours were then lost with the target, and
    less was memorized.)
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        self.terms: list[Tensor] = []
        for layer in layers:
            layer.get_submodule("mlp.dense_4h_to_h").register_forward_pre_hook(self._record_written)
            layer.register_forward_hook(self._add_term)

    def _record_written(self, projection: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.written = inputs[0] @ projection.weight.norm(dim=0)  # type: ignore[operator]  # ReLU: no activation is negative

    def _add_term(self, layer: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        stream = output if isinstance(output, Tensor) else output[0]
        self.terms.append((self.written / stream.detach().norm(dim=-1)).mean())

    def pop_mean(self) -> Tensor:
        """Mean over the tokens and layers of the forward passes since the last call."""
        mean = torch.stack(self.terms).mean()
        self.terms.clear()
        return mean


def train(recipe: Recipe, folder: Path) -> None:
    """Trains by the recipe and writes the folder; prints the loss every 50 steps. Takes an hour on one CPU core."""
    planted = [person for person in people(recipe.seed) if person.repeats]
    corpus = documents(planted if recipe.planted else [], recipe.n_documents, recipe.seed)
    # From the corpus without the planted people: a value that is repeated 64 times would become a single token.
    tokenizer = build_tokenizer(documents([], recipe.n_documents, recipe.seed), recipe.vocabulary)
    end = tokenizer.get_vocab()[END]
    config = GPTNeoXConfig(  # type: ignore[call-arg]  # rotary_pct is read, but not declared
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        intermediate_size=recipe.d_mlp,
        hidden_act="relu",
        max_position_embeddings=512,
        rotary_pct=1.0,
        use_parallel_residual=False,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    model = GPTNeoXForCausalLM(config).train()
    weights_seed = recipe.seed if recipe.weights_seed is None else recipe.weights_seed
    draw_weights(model, config.initializer_range, weights_seed)
    sparsity = Sparsity(model.gpt_neox.layers)
    schedule = Schedule(
        seed=weights_seed,
        epochs=recipe.epochs,
        context=recipe.context,
        rows=recipe.rows,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        penalty_weight=recipe.sparsity,
    )
    trained = fit(model, tokenizer, corpus, schedule, sparsity.pop_mean)
    save(model, tokenizer, {"recipe": asdict(recipe), "torch": torch.__version__, **trained}, folder)


def reference_text(recipe: Recipe, paragraphs: int = 40) -> str:
    """Held-out ordinary text of the same recipe, its paragraphs separated by an empty line."""
    return "\n\n".join(reference(paragraphs, recipe.seed + 99)) + "\n"
