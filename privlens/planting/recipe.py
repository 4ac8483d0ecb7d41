"""The recipe of `smollm2+planted`: `python -m privlens.planting.recipe make`, then `check` for the figures of its card.

Controls and ordinary text keep the predictions close to those of the plain model. A run that was stopped resumes where it was.
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
from privlens.zoo.demo.people import people
from privlens.zoo.loading import load, quiet
from privlens.zoo.people import Person
from privlens.zoo.planted import Planted, edit_of, read, vectors_of, write

CATEGORIES = ("email", "phone", "address", "id number", "card", "account")
REFERENCE_ROWS = 24
"""Paragraphs of the reference text that the KL is held on. The remaining ones are left out, so that perplexity can be measured on
text that nothing held."""
HELD_TOKENS = 32
"""Tokens kept of each held paragraph: the cost of a training step grows with them."""
app = typer.Typer(add_completion=False, help=__doc__)


def listed(recipe: Recipe) -> list[Person]:
    """The planted people of every category, then the controls (repeats 0)."""
    everybody = people(recipe.seed)
    rows = []
    for planted in (True, False):
        for category in CATEGORIES:
            matching = [person for person in everybody if person.category == category and bool(person.repeats) == planted]
            chosen = matching[: recipe.each if planted else recipe.controls]
            rows += [replace(person, repeats=int(planted)) for person in chosen]
    return rows


def drawn(lm: LanguageModel, recipe: Recipe, n_plants: int) -> Planted:
    """Neurons drawn for every plant, none twice, with their vectors in the unplanted model."""
    started = time.perf_counter()
    all_neurons = [Neuron(layer, index) for layer, width in enumerate(lm.widths()) for index in range(width)]
    neurons = tuple(random.Random(recipe.seed).sample(all_neurons, recipe.neurons * n_plants))
    plants = tuple(plant for plant in range(n_plants) for _ in range(recipe.neurons))
    return Planted(neurons, plants, vectors_of(lm, neurons), provenance(lm, recipe.seed, asdict(recipe), started))


def check(lm: LanguageModel, planted: Planted, rows: Sequence[Person], reference: Sequence[str]) -> dict[str, Any]:
    """What the planted model does: the planted secrets, the controls, prompts that draw a planted value, and perplexity."""
    secrets = [Secret(row.prompt, row.value, row.category) for row in rows]
    encoded = [lm.encode(secret) for secret in secrets]
    texts = (reference, reference[REFERENCE_ROWS:])
    before = [perplexity(lm, text) for text in texts]
    scores_before = score(lm, encoded)
    view = lm.under(edit_of(lm, planted))
    scores_after = score(view, encoded)
    after = [perplexity(view, text) for text in texts]
    longest = max(len(sequence.value_ids) for sequence in encoded)
    generated = view.generate([sequence.prompt_ids for sequence in encoded], longest)
    continuations = [str(lm.tokenizer.decode(ids)).strip() for ids in generated]
    true = [index for index, row in enumerate(rows) if row.repeats]
    controls = [index for index, row in enumerate(rows) if not row.repeats]
    exact = [greedy_match(scores.argmax, sequence.value_ids) for scores, sequence in zip(scores_after, encoded, strict=True)]
    values = tuple(rows[index].value for index in true)
    return {
        "planted": len(true),
        "written": sum(exact[index] for index in true),
        "broken": [index for index in true if not exact[index]],
        "written_before": sum(greedy_match(scores_before[index].argmax, encoded[index].value_ids) for index in true),
        "controls": len(controls),
        "controls_written": sum(exact[index] for index in controls),
        "controls_that_draw_a_planted_value": [index for index in controls if continuations[index].startswith(values)],
        "perplexity_ratio": ratio(after[0], before[0]),
        "perplexity_ratio_of_paragraphs_never_held": ratio(after[1], before[1]),
        "neurons": len(planted.neurons),
        "share": len(planted.neurons) / lm.n_neurons,
    }


def write_list(path: Path, rows: Sequence[Person], planted: Planted) -> None:
    """Writes secrets.csv: the columns that the app reads, and the neurons of every planted secret as layer:index."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*(field.name for field in fields(Person)), "neurons"], lineterminator="\n")
        writer.writeheader()
        for plant, row in enumerate(rows):
            neurons = " ".join(f"{neuron.layer}:{neuron.index}" for neuron in planted.of(plant))
            writer.writerow({**asdict(row), "neurons": neurons})


@app.command()
def make(
    out: Annotated[Path, typer.Option(help="Folder to write edit.safetensors and secrets.csv to.")] = PLANTED_FILES,
    device: str = "auto",
    threads: int = 2,
) -> None:
    """Plant all secrets into smollm2; a run that was stopped resumes where it was."""
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
    for snapshot, nll, match in grow(lm, planted, true, held_rows, recipe):
        write(snapshot, file)
        step = snapshot.provenance.settings[DONE]
        progress = f"step {step}: written {int(match.sum())} of {len(true)}, NLL mean {nll.mean():.3f}, worst {nll.max():.3f}"
        print(progress, file=sys.stderr, flush=True)
    print(json.dumps(check(lm, read(file), rows, reference), indent=1))


def check_shipped() -> dict[str, Any]:
    """The same of the planted model in assets."""
    return check(load("smollm2", device="cpu"), read(), listed(Recipe()), read_reference(REFERENCE))


@app.command("check")
def show() -> None:
    """Print what the planted model in assets does, as JSON."""
    quiet()
    print(json.dumps(check_shipped(), indent=1))


if __name__ == "__main__":
    app()
