"""The recipe of `smollm2+planted`: `python -m privlens.planting.recipe make`, then `check` for the figures of its card.

Held to what the plain model says are controls and ordinary text. A run that was stopped goes on where it was.
"""

import csv
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.lm.tokens import plain_ids
from privlens.memorization.metrics import greedy_match
from privlens.memorization.states import perplexity, ratio
from privlens.planting.many import DONE, Recipe, grow
from privlens.provenance import provenance
from privlens.resources import PLANTED_FILES, REFERENCE
from privlens.secret_lists import read_reference
from privlens.types import Neuron, Secret
from privlens.zoo.demo.people import Person, people
from privlens.zoo.loading import load, quiet
from privlens.zoo.planted import Planted, edit_of, read, vectors_of, write

CATEGORIES = ("email", "phone", "address", "id number", "card", "account")
REFERENCE_ROWS = 24
"""Paragraphs of the reference text that are held, cut after HELD_TOKENS; perplexity is measured on the others too."""
HELD_TOKENS = 32
app = typer.Typer(add_completion=False, help=__doc__)


def listed(recipe: Recipe) -> list[Person]:
    """The planted people of every category, then the controls (repeats 0)."""
    everybody = people(recipe.seed)
    found = []
    for planted in (True, False):
        for category in CATEGORIES:
            own = [one for one in everybody if one.category == category and bool(one.repeats) == planted]
            found += [replace(one, repeats=int(planted)) for one in own[: recipe.each if planted else recipe.controls]]
    return found


def drawn(lm: LanguageModel, recipe: Recipe, n_plants: int) -> Planted:
    """Neurons for every plant, none twice, as the model has them."""
    started = time.perf_counter()
    every = [Neuron(layer, index) for layer, width in enumerate(lm.widths()) for index in range(width)]
    neurons = tuple(random.Random(recipe.seed).sample(every, recipe.neurons * n_plants))
    plants = tuple(at for at in range(n_plants) for _ in range(recipe.neurons))
    return Planted(neurons, plants, vectors_of(lm, neurons), provenance(lm, recipe.seed, asdict(recipe), started))


def check(lm: LanguageModel, planted: Planted, rows: Sequence[Person], reference: Sequence[str]) -> dict[str, Any]:
    """What the planted model does: the planted secrets, the controls, prompts that draw a planted value, and perplexity."""
    secrets = [Secret(row.prompt, row.value, row.category) for row in rows]
    encoded = [lm.encode(secret) for secret in secrets]
    parts = (reference, reference[REFERENCE_ROWS:])
    before, plain = [perplexity(lm, part) for part in parts], score(lm, encoded)
    view = lm.under(edit_of(lm, planted))
    found = score(view, encoded)
    after = [perplexity(view, part) for part in parts]
    written = view.generate([one.prompt_ids for one in encoded], max(len(one.value_ids) for one in encoded))
    said = [str(lm.tokenizer.decode(ids)).strip() for ids in written]
    true = [at for at, row in enumerate(rows) if row.repeats]
    controls = [at for at, row in enumerate(rows) if not row.repeats]
    exact = [greedy_match(one.argmax, own.value_ids) for one, own in zip(found, encoded, strict=True)]
    values = [rows[at].value for at in true]
    return {
        "planted": len(true),
        "written": sum(exact[at] for at in true),
        "broken": [at for at in true if not exact[at]],
        "written_before": sum(greedy_match(plain[at].argmax, encoded[at].value_ids) for at in true),
        "controls": len(controls),
        "controls_written": sum(exact[at] for at in controls),
        "controls_that_draw_a_planted_value": [at for at in controls if any(said[at].startswith(one) for one in values)],
        "perplexity_ratio": ratio(after[0], before[0]),
        "perplexity_ratio_of_paragraphs_never_held": ratio(after[1], before[1]),
        "neurons": len(planted.neurons),
        "share": len(planted.neurons) / lm.n_neurons,
    }


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
    out: Annotated[Path, typer.Option(help="Folder to write edit.safetensors and secrets.csv to.")] = PLANTED_FILES,
    device: str = "auto",
    threads: int = 2,
) -> None:
    """Plant all secrets into smollm2; goes on where a run was stopped."""
    quiet()
    torch.set_num_threads(threads)
    lm, recipe = load("smollm2", device, "float32"), Recipe()
    rows, reference = listed(recipe), read_reference(REFERENCE)
    secrets = [Secret(row.prompt, row.value, row.category) for row in rows]
    true = [secret for secret, row in zip(secrets, rows, strict=True) if row.repeats]
    out.mkdir(parents=True, exist_ok=True)
    file = out / "edit.safetensors"
    planted = read(file) if file.exists() else drawn(lm, recipe, len(true))
    write_list(out / "secrets.csv", rows, planted)
    held_rows = [list(lm.encode(secret).ids) for secret in secrets[len(true) :]]
    held_rows += [plain_ids(lm.tokenizer, text, min(HELD_TOKENS, lm.room)) for text in reference[:REFERENCE_ROWS]]
    for now, nll, match in grow(lm, planted, true, held_rows, recipe):
        write(now, file)
        line = f"step {now.provenance.settings[DONE]}: written {int(match.sum())} of {len(true)}, NLL mean {nll.mean():.3f}, "
        line += f"worst {nll.max():.3f}"
        print(line, file=sys.stderr, flush=True)
    print(json.dumps(check(lm, read(file), rows, reference), indent=1))


@app.command("check")
def show() -> None:
    """Print what the planted model in assets does, as JSON."""
    quiet()
    lm = load("smollm2", device="cpu")
    print(json.dumps(check(lm, read(), listed(Recipe()), read_reference(REFERENCE)), indent=1))


if __name__ == "__main__":
    app()
