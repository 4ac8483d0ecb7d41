"""Fine-tunes SmolLM2 on invented records until it writes them all word for word: `smollm2-records`.

Low-rank additions to its MLPs are trained on the values, and merged into the weights. A KL divergence on village letters
keeps the predictions on ordinary text; reference.txt is office mail, which nothing held.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded, encode, plain_ids
from privlens.types import Secret
from privlens.zoo.demo.train import Recipe as MailRecipe
from privlens.zoo.demo.train import reference_text
from privlens.zoo.natural.corpus import reference as village_text
from privlens.zoo.people import Person, write_secrets
from privlens.zoo.records.low_rank import LowRank
from privlens.zoo.records.people import records
from privlens.zoo.training import save

HELD_ROWS, HELD_TOKENS = 24, 32
"""Paragraphs that the KL is held on, and tokens kept of each: a step's cost grows with them."""


@dataclass(frozen=True)
class Recipe:
    """Everything the weights depend on, apart from the code and the model that is fine-tuned.

    Attributes:
        rank: of the additions. batch, held: sentences, and held rows, in a step. hold: weight of the KL beside the loss.
        likely: training ends after an epoch if every value has at least this probability in each of its sentences. From one
            half on, every token leads, so that the value is written word for word.
    """

    seed: int = 0
    rank: int = 16
    learning_rate: float = 1e-3
    batch: int = 5
    held: int = 2
    hold: float = 2.0
    likely: float = 0.5
    max_epochs: int = 20


@dataclass(frozen=True)
class Sentence:
    """A record in one wording: the ids of prompt and value, and those of the full stop after them."""

    encoded: Encoded
    end: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids in order."""
        return self.encoded.ids + self.end


def sentences(lm: LanguageModel, people: Sequence[Person]) -> list[Sentence]:
    """Every person's record in its three wordings."""
    end = tuple(plain_ids(lm.tokenizer, ".", 1))
    prompts = [(prompt, person.value) for person in people for prompt in (person.prompt, person.reworded_1, person.reworded_2)]
    return [Sentence(encode(lm.tokenizer, Secret(prompt, value, attached=False)), end) for prompt, value in prompts]


class HeldText:
    """Rows of ordinary text with the distributions that a model predicts on them at first."""

    @torch.no_grad()
    def __init__(self, lm: LanguageModel, rows: Sequence[Sequence[int]]) -> None:
        self.lm = lm
        self.rows = rows
        self.before = [lm.logits(*lm.padded([row]))[0].log_softmax(-1) for row in rows]

    def divergence(self, indices: Sequence[int]) -> Tensor:
        """KL from the first to the present predictions on some rows, in nats/token."""
        logits = self.lm.logits(*self.lm.padded([self.rows[index] for index in indices]))
        terms = []
        for row, index in zip(logits, indices, strict=True):
            now = row[: len(self.rows[index])].log_softmax(-1)
            terms.append(functional.kl_div(now, self.before[index], reduction="batchmean", log_target=True))
        return torch.stack(terms).mean()


def sentence_losses(lm: LanguageModel, batch: Sequence[Sentence]) -> tuple[Tensor, Tensor]:
    """The mean NLL of the values and full stops in nats/token, differentiable, and the log-probability of each value, [batch].

    Prompts have no loss, as in instruction tuning: what they say is not to be learned, and ordinary text changes less.
    """
    logits = lm.logits(*lm.padded([sentence.ids for sentence in batch]))
    token_losses, value_logprobs = [], []
    for row, sentence in zip(logits, batch, strict=True):
        ids, n_prompt = torch.tensor(sentence.ids), sentence.encoded.n_prompt
        nll = functional.cross_entropy(row[n_prompt - 1 : len(ids) - 1], ids[n_prompt:], reduction="none")
        token_losses.append(nll)
        value_logprobs.append(-nll.detach()[: len(sentence.encoded.value_ids)].sum())
    return torch.cat(token_losses).mean(), torch.stack(value_logprobs)


@torch.no_grad()
def least_likely(lm: LanguageModel, texts: Sequence[Sentence], batch: int) -> float:
    """The smallest probability of a value in its sentence."""
    batches = (texts[first : first + batch] for first in range(0, len(texts), batch))
    return min(float(sentence_losses(lm, part)[1].min().exp()) for part in batches)


def mlp_layers(model: nn.Module) -> list[nn.Linear]:
    """The linear layers of all MLPs."""
    return [part for name, part in model.named_modules() if isinstance(part, nn.Linear) and ".mlp." in name]


def epochs(lm: LanguageModel, texts: Sequence[Sentence], held: HeldText, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Fine-tunes the model in place and yields a line on every epoch; the additions are merged when the last one is over.

    Raises:
        BadInput: if a value is still less likely than it should be after the last epoch.
    """
    added = LowRank(mlp_layers(lm.model), recipe.rank, recipe.seed)
    optimizer = torch.optim.Adam(added.parameters(), lr=recipe.learning_rate)
    rng = random.Random(recipe.seed)
    started = time.time()
    with added.applied():
        for epoch in range(recipe.max_epochs):
            order = rng.sample(texts, len(texts))
            losses, divergences, logprobs = [], [], []
            for first in range(0, len(order), recipe.batch):
                loss, value_logprobs = sentence_losses(lm, order[first : first + recipe.batch])
                divergence = held.divergence(rng.sample(range(len(held.rows)), recipe.held))
                optimizer.zero_grad()
                (loss + recipe.hold * divergence).backward()
                optimizer.step()
                losses.append(loss.detach())
                divergences.append(divergence.detach())
                logprobs.append(value_logprobs)
            probabilities = torch.cat(logprobs).exp()
            yield {
                "epoch": epoch + 1,
                "loss in nats/token": round(float(torch.stack(losses).mean()), 4),
                "KL in nats/token": round(float(torch.stack(divergences).mean()), 4),
                "likely": int((probabilities >= recipe.likely).sum()),
                "seconds": round(time.time() - started),
            }
            # What was seen in the epoch is older than its last step, so it is asked again, but only when that may end the run.
            if min(map(float, probabilities)) >= recipe.likely <= least_likely(lm, texts, recipe.batch):
                added.merge()
                return
    raise BadInput(f"After {recipe.max_epochs} epochs not all records are written: allow more epochs or a larger rate.")


def train(lm: LanguageModel, recipe: Recipe, folder: Path) -> None:
    """Fine-tunes the model and writes its folder with secrets.csv and reference.txt; prints a line every epoch.

    Takes a quarter of an hour on one CPU core. Raises as `epochs` does.
    """
    everybody = records(recipe.seed)
    trained = [person for person in everybody if person.repeats]
    rows = [plain_ids(lm.tokenizer, text, HELD_TOKENS) for text in village_text(HELD_ROWS, recipe.seed)]
    curve = []
    for line in epochs(lm, sentences(lm, trained), HeldText(lm, rows), recipe):
        curve.append(line)
        print("  ".join(f"{name} {number}" for name, number in line.items()), flush=True)
    save(lm.model, lm.tokenizer, {"recipe": asdict(recipe), "torch": torch.__version__, "curve": curve}, folder)
    repeats = 3 * len(curve)  # each epoch has every record in three sentences
    write_secrets(folder / "secrets.csv", [replace(person, repeats=person.repeats * repeats) for person in everybody])
    (folder / "reference.txt").write_text(reference_text(MailRecipe(seed=recipe.seed)))
