"""Trains a small model from scratch on a generated corpus: tokenizer, rows, schedule, loop, and the record of it.

One seed decides everything. What is trained (architecture, corpus, a penalty) is the recipe's.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

END = "<|endoftext|>"
Penalty = Callable[[], Tensor]
"""What is added to the loss of the forward pass before it, apart from its weight."""


@dataclass(frozen=True)
class Schedule:
    """How a model is trained, whatever it is."""

    seed: int
    epochs: int
    context: int
    """Tokens in a training row."""
    rows: int
    """Rows in a batch."""
    learning_rate: float
    """The peak, after a linear warm-up of 100 steps; then a cosine decay to a tenth of it."""
    weight_decay: float
    penalty_weight: float = 0.0
    """Of the penalty in the loss, rising from 0 over the first fifth of the steps."""


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


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    corpus: Sequence[str],
    schedule: Schedule,
    penalty: Penalty | None = None,
) -> dict[str, Any]:
    """Trains the model in place; prints the loss every 50 steps. Returns the number of tokens and the curve."""
    optimizer = _optimizer(model, schedule)
    end = tokenizer.get_vocab()[END]
    encoded: list[list[int]] = tokenizer(list(corpus))["input_ids"]
    curve = []
    started = time.time()
    for step, total, ids in _batches(schedule, encoded, end):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, total, schedule)
        padding = ids < 0
        loss = model(ids.masked_fill(padding, end), labels=ids.masked_fill(padding, -100)).loss
        added = penalty() if penalty else torch.zeros((), dtype=torch.float32)
        (loss + schedule.penalty_weight * min(1.0, step / (0.2 * total)) * added).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == total - 1:
            seconds = round(time.time() - started)
            curve.append((step, round(float(loss.detach()), 4), round(float(added.detach()), 3), seconds))
            print(f"step {step}/{total}  loss {curve[-1][1]} nats/token  penalty {curve[-1][2]}  {seconds} s", flush=True)
    columns = ["step", "loss in nats/token", "penalty", "seconds"]
    return {"tokens": sum(map(len, encoded)), "curve": {"columns": columns, "rows": curve}}


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, record: dict[str, Any], folder: Path) -> None:
    """Writes weights, config, tokenizer and training.json."""
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def _optimizer(model: PreTrainedModel, schedule: Schedule) -> torch.optim.AdamW:
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    undecayed = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.98))


def _learning_rate(step: int, total: int, schedule: Schedule) -> float:
    warm_up = min(1.0, (step + 1) / 100)
    return schedule.learning_rate * warm_up * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / total)))


def _batches(schedule: Schedule, encoded: list[list[int]], end: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yields step, number of steps and ids [rows, context]; every epoch shuffles and packs the documents anew."""
    epochs = []
    for epoch in range(schedule.epochs):
        order = random.Random(schedule.seed * 1000 + epoch).sample(encoded, len(encoded))
        epochs.append(packed(order, end, schedule.context))
    batches = [batch for rows in epochs for batch in rows.split(schedule.rows)]
    for step, batch in enumerate(batches):
        yield step, len(batches), batch
