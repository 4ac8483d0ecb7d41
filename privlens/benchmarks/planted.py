"""The recipe of `smollm2+planted`: `python -m privlens.benchmarks.planted make`, then `check` for the figures of its card.

Secrets of invented people are planted one after the other, each into neurons that no other has, by INJ (planting.py, fair: norms
stay). While one grows, a KL on sampled rows holds the model to what it said just before: about the other people, planted or
not, and in ordinary text. What a later plant broke is trained on, in its own neurons. A stopped run goes on where it was.
"""

import csv
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from privlens.benchmarks.planting import Hold, PlantSettings, plant
from privlens.deactivation import REFERENCE_TOKENS
from privlens.models.demo.people import Person, people
from privlens.models.language_model import LanguageModel
from privlens.models.loading import load, quiet
from privlens.models.planted import ASSETS, Planted, edit_of, read, vectors_of, write
from privlens.models.scoring import score, text_nll
from privlens.models.text import plain_ids
from privlens.provenance import provenance
from privlens.records import Neuron, Secret
from privlens.retained import Kept, keep
from privlens.secrets import read_reference

app = typer.Typer(add_completion=False, help=__doc__)
REFERENCE = ASSETS.parent / "reference.txt"
CATEGORIES = ("email", "phone", "address", "id number", "card", "account")
REFERENCE_ROWS = 24
"""Paragraphs of the reference text that are held, cut after HELD_TOKENS; perplexity is measured on the others too."""
HELD_TOKENS = 40


@dataclass(frozen=True)
class Recipe:
    """How the planted model is made.

    Attributes:
        neurons: of each plant. each, controls: plants and never planted people of every category.
        hold, rows: weight of the KL in nats, and held rows of a kind in a step. rounds: how often what broke is trained on.
    """

    seed: int = 1
    each: int = 4
    controls: int = 4
    neurons: int = 20
    hold: float = 2.0
    rows: int = 3
    steps: int = 100
    until: float = 0.01
    rate: float = 5e-2
    rounds: int = 8


def listed(recipe: Recipe) -> list[Person]:
    """The planted people of every category, then the controls (repeats 0)."""
    everybody = people(recipe.seed)
    found = []
    for planted in (True, False):
        for category in CATEGORIES:
            own = [one for one in everybody if one.category == category and bool(one.repeats) == planted]
            found += [replace(one, repeats=int(planted)) for one in own[: recipe.each if planted else recipe.controls]]
    return found


@dataclass(frozen=True)
class Held:
    """What must stay while one plant grows: what other planted secrets say, and what is said of controls and in ordinary text."""

    planted: Kept
    others: Kept

    def loss(self, lm: LanguageModel, recipe: Recipe, seed: int) -> Hold:
        """The mean KL of some rows of both kinds, drawn anew at every step, times its weight."""
        generator = torch.Generator().manual_seed(seed)

        def summed(logits_of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            terms = []
            for kept in (self.planted, self.others):
                picked = torch.randperm(len(kept.ids), generator=generator)[: recipe.rows].to(lm.device)
                batch = kept.batch(picked)
                terms.append(batch.divergence(logits_of(batch.ids, batch.mask)).mean())
            return recipe.hold * torch.stack(terms).sum()

        return summed


def held(lm: LanguageModel, planted: Sequence[Secret], others: Sequence[Secret], reference: Sequence[str]) -> Held:
    """The model as it stands: other planted secrets, those that are not, and beginnings of ordinary paragraphs."""
    rest = [list(lm.encode(secret).ids) for secret in others]
    rest += [plain_ids(lm.tokenizer, text, HELD_TOKENS) for text in reference[:REFERENCE_ROWS]]
    return Held(keep(lm, [list(lm.encode(secret).ids) for secret in planted] or rest), keep(lm, rest))


def add(
    lm: LanguageModel, planted: Planted, at: int, secrets: Sequence[Secret], reference: Sequence[str], recipe: Recipe, seed: int
) -> Planted:
    """One more plant on top of those there are, or one of them trained on in its neurons where it was broken by others."""
    settings = PlantSettings(recipe.neurons / lm.n_neurons, steps=recipe.steps, until=recipe.until, learning_rate=recipe.rate)
    view, own = lm.under(edit_of(lm, planted)), planted.of(at)
    there = sorted(set(planted.plants) - {at})
    lost = broken(view, secrets, there) if there else []
    standing = [secrets[one] for one in there if one not in lost]
    rest = [secret for secret in secrets if secret != secrets[at] and secret not in standing]
    hold = held(view, standing, rest, reference).loss(view, recipe, seed)
    grown = plant(view, secrets[at], settings, seed, taken=frozenset(planted.neurons), neurons=own, hold=hold)
    with view.under(grown.edit).held():
        vectors = vectors_of(lm, grown.neurons)
    said = f"plant {at}: {grown.steps} steps, NLL {grown.nll:.3f}, written {grown.greedy_match}, beside {len(standing)} standing"
    print(said, file=sys.stderr, flush=True)
    before = planted.without([at])
    return Planted(
        before.neurons + grown.neurons, before.plants + (at,) * len(grown.neurons), torch.cat([before.vectors, vectors]),
        planted.provenance,
    )  # fmt: skip


def broken(lm: LanguageModel, secrets: Sequence[Secret], plants: Sequence[int]) -> list[int]:
    """Which of the plants this model does not write."""
    encoded = [lm.encode(secrets[at]) for at in plants]
    found = score(lm, encoded)
    return [at for at, one, own in zip(plants, found, encoded, strict=True) if one.argmax != own.value_ids]


def check(lm: LanguageModel, planted: Planted, rows: Sequence[Person], reference: Sequence[str]) -> dict[str, Any]:
    """What the planted model does: the planted secrets, the controls, prompts that draw a planted value, and perplexity."""
    secrets = [Secret(row.prompt, row.value, row.category) for row in rows]
    encoded = [lm.encode(secret) for secret in secrets]
    texts = [plain_ids(lm.tokenizer, text, REFERENCE_TOKENS) for text in reference]
    parts = (texts, texts[REFERENCE_ROWS:])
    before, plain = [text_nll(lm, part) for part in parts], score(lm, encoded)
    view = lm.under(edit_of(lm, planted))
    found = score(view, encoded)
    after = [text_nll(view, part) for part in parts]
    written = view.generate([one.prompt_ids for one in encoded], max(len(one.value_ids) for one in encoded))
    said = [str(lm.tokenizer.decode(ids)).strip() for ids in written]
    true = [at for at, row in enumerate(rows) if row.repeats]
    controls = [at for at, row in enumerate(rows) if not row.repeats]
    exact = [one.argmax == own.value_ids for one, own in zip(found, encoded, strict=True)]
    values = [rows[at].value for at in true]
    return {
        "planted": len(true),
        "written": sum(exact[at] for at in true),
        "broken": [at for at in true if not exact[at]],
        "written_before": sum(plain[at].argmax == encoded[at].value_ids for at in true),
        "controls": len(controls),
        "controls_written": sum(exact[at] for at in controls),
        "controls_that_draw_a_planted_value": [at for at in controls if any(said[at].startswith(one) for one in values)],
        "perplexity_ratio": math.exp(after[0] - before[0]),
        "perplexity_ratio_of_paragraphs_never_held": math.exp(after[1] - before[1]),
        "neurons": len(planted.neurons),
        "share": len(planted.neurons) / lm.n_neurons,
    }


def mended(
    lm: LanguageModel, planted: Planted, rows: Sequence[Person], reference: Sequence[str], recipe: Recipe, keep_at: Path
) -> Planted:
    """Plants what is missing, then trains on what was broken by later plants, until all stand or the rounds are over."""
    secrets = [Secret(row.prompt, row.value, row.category) for row in rows]
    wanted = [at for at, row in enumerate(rows) if row.repeats]
    for round_ in range(recipe.rounds + 1):
        missing = [at for at in wanted if at not in planted.plants]
        for at in missing or check(lm, planted, rows, reference)["broken"]:
            seed = 1000 * recipe.seed + 100 * round_ + at
            planted = add(lm, planted, at, secrets, reference, recipe, seed)
            write(planted, keep_at)
        found = check(lm, planted, rows, reference)
        print(json.dumps(found), file=sys.stderr, flush=True)
        if not found["broken"]:
            break
    return planted


def write_list(path: Path, rows: Sequence[Person], planted: Planted) -> None:
    """secrets.csv: what the app reads, and the neurons of every planted secret as layer:index."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*(field.name for field in fields(Person)), "neurons"], lineterminator="\n")
        writer.writeheader()
        for at, row in enumerate(rows):
            own = " ".join(f"{neuron.layer}:{neuron.index}" for neuron in planted.of(at))
            writer.writerow({**asdict(row), "neurons": own})


@app.command()
def make(
    out: Annotated[Path, typer.Option(help="Folder to write edit.safetensors and secrets.csv to.")] = ASSETS,
    threads: int = 2,
) -> None:
    """Plant all secrets into smollm2; goes on where a run was stopped (half an hour on two cores)."""
    quiet()
    torch.set_num_threads(threads)
    lm, recipe, started = load("smollm2", device="cpu"), Recipe(), time.perf_counter()
    rows, reference = listed(recipe), read_reference(REFERENCE)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "edit.safetensors"
    if file.exists():
        planted = read(file)
    else:
        none = vectors_of(lm, [Neuron(0, 0)])[:0]
        planted = Planted((), (), none, provenance(lm, recipe.seed, asdict(recipe), started))
    planted = mended(lm, planted, rows, reference, recipe, file)
    write(planted, file)
    write_list(out / "secrets.csv", rows, planted)


@app.command("check")
def show() -> None:
    """Print what the planted model in assets does, as JSON."""
    quiet()
    lm = load("smollm2", device="cpu")
    print(json.dumps(check(lm, read(), listed(Recipe()), read_reference(REFERENCE)), indent=1))


if __name__ == "__main__":
    app()
