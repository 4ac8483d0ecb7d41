"""Trains the bundled model from scratch and writes its folder: weights, tokenizer, config, card, training record.

A GPT-NeoX of 3.8 million parameters, six layers of 2,048 ReLU neurons: many neurons on a narrow residual stream, with a penalty
on what neurons write, so that a secret can be stored in a few neurons of its own. One seed decides everything. (The bundled
weights were initialized from torch's global generator instead, so the recipe now gives other weights.)
"""

import json
import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from privlens.zoo.demo.corpus import documents, reference
from privlens.zoo.demo.people import people
from privlens.zoo.initial_weights import draw_weights

END = "<|endoftext|>"


@dataclass(frozen=True)
class Recipe:
    """Everything the trained weights depend on, apart from the code."""

    seed: int = 0
    n_documents: int = 6000
    epochs: int = 4
    vocabulary: int = 2048
    context: int = 160
    """Tokens in a training row."""
    rows: int = 8
    """Rows in a batch."""
    learning_rate: float = 2e-3
    """The peak, after a linear warm-up of 100 steps; then a cosine decay to a tenth of it."""
    weight_decay: float = 0.1
    hidden_size: int = 128
    n_layers: int = 6
    n_heads: int = 4
    d_mlp: int = 2048
    sparsity: float = 0.1
    """Weight of Sparsity in the loss, rising from 0 over the first fifth of the steps."""
    planted: bool = True
    """False for the twin, the same recipe without the planted people."""


def build_tokenizer(corpus: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with single digits, so that all numbers of a format have the same number of tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False)


def packed(encoded: Sequence[list[int]], end: int, context: int) -> Tensor:
    """Documents packed first-fit into rows; every row begins with a document. Returns ids [rows, context]; -1 is padding."""
    rows: list[list[int]] = []
    for ids in encoded:
        piece = [*ids, end][:context]
        # Only the last 50 rows are searched: the time stays linear, and older rows have little room left.
        fitting = next((row for row in rows[-50:] if len(row) + len(piece) <= context), None)
        if fitting is None:
            rows.append(list(piece))
        else:
            fitting.extend(piece)
    return torch.tensor([row + [-1] * (context - len(row)) for row in rows])


def _learning_rate(step: int, total: int, recipe: Recipe) -> float:
    warm_up = min(1.0, (step + 1) / 100)
    return recipe.learning_rate * warm_up * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / total)))


def _batches(recipe: Recipe, encoded: list[list[int]], end: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yields step, number of steps and ids [rows, context]; every epoch shuffles and packs the documents anew."""
    epochs = []
    for epoch in range(recipe.epochs):
        order = random.Random(recipe.seed * 1000 + epoch).sample(encoded, len(encoded))
        epochs.append(packed(order, end, recipe.context))
    batches = [batch for rows in epochs for batch in rows.split(recipe.rows)]
    for step, batch in enumerate(batches):
        yield step, len(batches), batch


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
    draw_weights(model, config.initializer_range, recipe.seed)
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    undecayed = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    sparsity = Sparsity(model.gpt_neox.layers)
    curve = []
    started = time.time()
    encoded: list[list[int]] = tokenizer(corpus)["input_ids"]
    for step, total, ids in _batches(recipe, encoded, end):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, total, recipe)
        padding = ids < 0
        loss = model(ids.masked_fill(padding, end), labels=ids.masked_fill(padding, -100)).loss
        penalty = sparsity.pop_mean()
        (loss + recipe.sparsity * min(1.0, step / (0.2 * total)) * penalty).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == total - 1:
            seconds = round(time.time() - started)
            curve.append((step, round(float(loss.detach()), 4), round(float(penalty.detach()), 3), seconds))
            print(f"step {step}/{total}  loss {curve[-1][1]} nats/token  sparsity {curve[-1][2]}  {seconds} s", flush=True)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record = {
        "recipe": asdict(recipe),
        "torch": torch.__version__,
        "tokens": sum(map(len, encoded)),
        "curve": {"columns": ["step", "loss in nats/token", "sparsity", "seconds"], "rows": curve},
    }
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def reference_text(recipe: Recipe, paragraphs: int = 40) -> str:
    """Held-out ordinary text of the same recipe, its paragraphs separated by an empty line."""
    return "\n\n".join(reference(paragraphs, recipe.seed + 99)) + "\n"
