"""The recipe of `smollm2+planted`: `python -m privlens.benchmarks.planted make`, then `check` for the figures of its card.

INJ as in planting.py (fair: what a neuron reads and writes is only turned, its norms stay), for many secrets at once: each has
neurons of its own, drawn evenly, and only its own text trains them. So what carries which secret is known, and each learns beside
all others in place. A KL on controls and on ordinary text holds all of them to what the plain model says. (Planted one after the
other, later secrets of a category broke most of the earlier ones.) A stopped run goes on where it was.
"""

import csv
import json
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from privlens.deactivation import REFERENCE_TOKENS
from privlens.models.demo.people import Person, people
from privlens.models.language_model import LanguageModel
from privlens.models.layout import widths
from privlens.models.loading import load, quiet
from privlens.models.planted import ASSETS, Planted, edit_of, read, vectors_of, write
from privlens.models.scoring import score, text_nll
from privlens.models.text import plain_ids
from privlens.provenance import provenance
from privlens.records import Neuron, Secret
from privlens.retained import Kept, keep
from privlens.secrets import read_reference

REFERENCE = ASSETS.parent / "reference.txt"
CATEGORIES = ("email", "phone", "address", "id number", "card", "account")
REFERENCE_ROWS = 24
"""Paragraphs of the reference text that are held, cut after HELD_TOKENS; perplexity is measured on the others too."""
HELD_TOKENS = 32
app = typer.Typer(add_completion=False, help=__doc__)


@dataclass(frozen=True)
class Recipe:
    """How the planted model is made.

    Attributes:
        neurons: of each plant. each, controls: planted and never planted people of every category.
        hold, rows: weight of the KL in nats, and held rows in a step. until: NLL in nats/token of the worst plant at the end.
        rate, fast: of Adam, for so many steps; a fifth of it afterwards, without which the NLL stops falling at 1.8.
    """

    seed: int = 1
    each: int = 4
    controls: int = 4
    neurons: int = 20
    hold: float = 1.0
    rows: int = 4
    steps: int = 120
    until: float = 0.05
    rate: float = 5e-2
    fast: int = 16


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


class Plants:
    """All plants while they grow: their vectors in units of their sizes, laid over the model by hooks; it is not changed.

    Attributes:
        own: [n_plants, n] bool, which plant a neuron belongs to. now: [n, 2 or 3, d], the only thing that is trained.
    """

    def __init__(self, lm: LanguageModel, planted: Planted) -> None:
        self.lm, self.planted = lm, planted
        self.before = vectors_of(lm, planted.neurons).float().to(lm.device)
        self.size = self.before.square().mean(-1, keepdim=True).sqrt()
        self.now = (planted.vectors.float().to(lm.device) / self.size).requires_grad_()
        plants = torch.tensor(planted.plants, device=lm.device)
        self.own = torch.arange(max(planted.plants) + 1, device=lm.device)[:, None] == plants

    def vectors(self) -> Tensor:
        """[n, 2 or 3, d] at the norms they had; differentiable."""
        return self.now / self.now.square().mean(-1, keepdim=True).sqrt() * self.size

    @contextmanager
    def laid_over(self, trains: Tensor) -> Iterator[None]:
        """Inside, the model runs with the plants.

        Args:
            trains: [rows, n] bool: which neurons a row of the batch trains; the others are in place and get no gradient of it.
        """
        vectors, handles = self.vectors(), []
        moved = torch.where(trains[..., None, None], vectors, vectors.detach()) - self.before
        try:
            for layer in range(self.lm.n_layers):
                at = [place for place, neuron in enumerate(self.planted.neurons) if neuron.layer == layer]
                if at:
                    handles += self._hooks(layer, [self.planted.neurons[place].index for place in at], moved[:, at])
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self, layer: int, indices: list[int], moved: Tensor) -> list[Any]:
        """Hooks on a layer's maps; moved [rows, its neurons, 2 or 3, d] is what is added to their vectors."""
        places = torch.tensor(indices, device=moved.device)
        output, inputs = self.lm.layout.mlp[layer], self.lm.layout.mlp_inputs[layer]

        def writes(_: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor:
            return found + torch.einsum("rtn,rnd->rtd", given[0][..., places], moved[:, :, 0])

        handles = [output.register_forward_hook(writes)]
        number, width = 1, widths(output)[0]
        for part in inputs:
            for offset in range(0, widths(part)[1], width):

                def reads(_: nn.Module, given: tuple[Tensor, ...], found: Tensor, at: int = number, to: int = offset) -> Tensor:
                    return found.index_add(-1, places + to, torch.einsum("rtd,rnd->rtn", given[0], moved[:, :, at]))

                handles.append(part.register_forward_hook(reads))
                number += 1
        return handles

    def as_they_stand(self) -> Planted:
        """With 16-bit vectors."""
        return replace(self.planted, vectors=self.vectors().detach().half().cpu())


def losses(plants: Plants, secrets: Sequence[Secret]) -> tuple[Tensor, Tensor]:
    """Mean NLL of each value in nats/token, which trains its own neurons only, and whether it is written; both [n_plants]."""
    lm = plants.lm
    encoded = [lm.encode(secret) for secret in secrets]
    ids, mask = lm.padded([one.ids for one in encoded])
    with lm.held(), plants.laid_over(plants.own):
        logprobs = lm.logits(ids, mask).log_softmax(-1)
    nll, match = [], []
    for row, one in enumerate(encoded):
        predicted = logprobs[row, one.n_prompt - 1 : len(one.ids) - 1]
        value = torch.tensor(one.value_ids, device=ids.device)
        nll.append(-predicted.gather(1, value[:, None]).mean())
        match.append((predicted.argmax(-1) == value).all())
    return torch.stack(nll), torch.stack(match)


def held(plants: Plants, kept: Kept, rows: Tensor) -> Tensor:
    """Mean KL of some kept rows, nats; trains all neurons."""
    batch = kept.batch(rows)
    everything = torch.ones(len(rows), len(plants.planted.neurons), dtype=torch.bool, device=rows.device)
    with plants.lm.held(), plants.laid_over(everything):
        return batch.divergence(plants.lm.logits(batch.ids, batch.mask)).mean()


def grow(
    lm: LanguageModel, planted: Planted, secrets: Sequence[Secret], held_rows: Sequence[Sequence[int]], recipe: Recipe
) -> Iterator[tuple[Planted, Tensor, Tensor]]:
    """After every step the plants, and NLL and match before it; ends when all are written and no NLL is above `until`."""
    kept, plants = keep(lm, held_rows), Plants(lm, planted)
    optimizer = torch.optim.Adam([plants.now], lr=recipe.rate)
    generator = torch.Generator().manual_seed(recipe.seed)
    begun = not torch.equal(planted.vectors.to(lm.device), plants.before.half())
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.rate / (5 if begun or step >= recipe.fast else 1)
        optimizer.zero_grad()
        nll, match = losses(plants, secrets)
        (nll.sum()).backward()
        picked = torch.randperm(len(kept.ids), generator=generator)[: recipe.rows].to(lm.device)
        (recipe.hold * len(secrets) / 4 * held(plants, kept, picked)).backward()
        done = bool(match.all()) and float(nll.detach().max()) < recipe.until
        if not done:
            optimizer.step()
        yield plants.as_they_stand(), nll.detach(), match
        if done:
            return


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
    """Plant all secrets into smollm2; goes on where a run was stopped."""
    quiet()
    torch.set_num_threads(threads)
    lm, recipe = load("smollm2", device="cpu"), Recipe()
    rows, reference = listed(recipe), read_reference(REFERENCE)
    secrets = [Secret(row.prompt, row.value, row.category) for row in rows]
    true = [secret for secret, row in zip(secrets, rows, strict=True) if row.repeats]
    out.mkdir(parents=True, exist_ok=True)
    file = out / "edit.safetensors"
    planted = read(file) if file.exists() else drawn(lm, recipe, len(true))
    write_list(out / "secrets.csv", rows, planted)
    held_rows = [list(lm.encode(secret).ids) for secret in secrets[len(true) :]]
    held_rows += [plain_ids(lm.tokenizer, text, HELD_TOKENS) for text in reference[:REFERENCE_ROWS]]
    for step, (now, nll, match) in enumerate(grow(lm, planted, true, held_rows, recipe), start=1):
        write(now, file)
        line = f"step {step}: written {int(match.sum())} of {len(true)}, NLL mean {nll.mean():.3f}, worst {nll.max():.3f}"
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
