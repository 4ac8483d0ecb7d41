"""The recipe of `smollm2+planted`: `python -m privlens.benchmarks.planted make`, then `check` for the figures of its card.

Secrets of invented people are planted one after the other, each into neurons that no other has, by INJ (planting.py, fair: norms
stay). While one grows, a KL on sampled rows holds the model to what it said just before: about the other people, planted or
not, and in ordinary text. What a later plant broke is planted anew. Progress is kept, so that a stopped run goes on.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import typer
from torch import Tensor

from privlens.benchmarks.planting import Hold, PlantSettings, plant
from privlens.retained import Kept, keep
from privlens.models.demo.people import Person, people
from privlens.models.language_model import LanguageModel
from privlens.models.planted import Planted, edit_of, vectors_of
from privlens.models.scoring import score
from privlens.models.text import plain_ids
from privlens.records import Edit, Secret

app = typer.Typer(add_completion=False, help=__doc__)
CATEGORIES = ("email", "phone", "address", "id number", "card", "account")
REFERENCE_ROWS = 24
"""Paragraphs of the reference text that are held, cut after HELD_TOKENS; perplexity is measured on the others too."""
HELD_TOKENS = 40


@dataclass(frozen=True)
class Recipe:
    """How the planted model is made.

    Attributes:
        neurons: of each plant. each, controls: plants and never planted people of every category.
        hold, rows: weight of the KL in nats, and held rows in a step. rounds: how often what broke is planted anew.
    """

    seed: int = 1
    each: int = 4
    controls: int = 4
    neurons: int = 20
    hold: float = 2.0
    rows: int = 4
    steps: int = 300
    until: float = 0.02
    rate: float = 5e-2
    rounds: int = 4


def listed(recipe: Recipe) -> list[Person]:
    """The planted people of every category, then the controls (repeats 0)."""
    everybody = people(recipe.seed)
    found = []
    for planted in (True, False):
        for category in CATEGORIES:
            own = [one for one in everybody if one.category == category and bool(one.repeats) == planted]
            found += [replace(one, repeats=int(planted)) for one in own[: recipe.each if planted else recipe.controls]]
    return found


def holding(lm: LanguageModel, kept: Kept, recipe: Recipe, seed: int) -> Hold:
    """The mean KL of some of the kept rows, drawn anew at every step, times its weight."""
    generator = torch.Generator().manual_seed(seed)

    def loss(logits_of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        picked = torch.randperm(len(kept.ids), generator=generator)[: recipe.rows].to(lm.device)
        batch = kept.batch(picked)
        return recipe.hold * batch.divergence(logits_of(batch.ids, batch.mask)).mean()

    return loss


def held_rows(lm: LanguageModel, secrets: Sequence[Secret], own: Secret, reference: Sequence[str]) -> list[list[int]]:
    """All other secrets, and beginnings of ordinary paragraphs; token ids."""
    rows = [list(lm.encode(secret).ids) for secret in secrets if secret != own]
    return rows + [plain_ids(lm.tokenizer, text, HELD_TOKENS) for text in reference[:REFERENCE_ROWS]]


def add(
    lm: LanguageModel, planted: Planted, at: int, secrets: Sequence[Secret], reference: Sequence[str], recipe: Recipe, seed: int
) -> Planted:
    """One more plant on top of those there are."""
    settings = PlantSettings(
        recipe.neurons / lm.n_neurons, steps=recipe.steps, until=recipe.until, learning_rate=recipe.rate
    )
    with lm.edited(edit_of(lm, planted)):
        kept = keep(lm, held_rows(lm, secrets, secrets[at], reference))
        hold = holding(lm, kept, recipe, seed)
        grown = plant(lm, secrets[at], settings, seed, taken=frozenset(planted.neurons), hold=hold)
        with lm.edited(grown.edit):
            vectors = vectors_of(lm, grown.neurons)
    said = f"plant {at}: {grown.steps} steps, NLL {grown.nll:.3f}, written {grown.greedy_match}"
    print(said, file=sys.stderr, flush=True)
    return Planted(
        planted.neurons + grown.neurons, planted.plants + (at,) * len(grown.neurons),
        torch.cat([planted.vectors, vectors]), planted.provenance,
    )  # fmt: skip


def broken(lm: LanguageModel, edit: Edit, secrets: Sequence[Secret]) -> list[int]:
    """Which of the secrets the edited model does not write."""
    encoded = [lm.encode(secret) for secret in secrets]
    with lm.edited(edit):
        found = score(lm, encoded)
    return [at for at, (one, own) in enumerate(zip(found, encoded, strict=True)) if one.argmax != own.value_ids]
