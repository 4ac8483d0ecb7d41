"""`python -m privlens bench ...`: the commands that the README's tables are printed from."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from privlens.benchmarks import deletion
from privlens.benchmarks.repeats import by_repeats
from privlens.cli.bench_inj import Planting, Ratio, measured
from privlens.cli.bench_speed import growth, speed
from privlens.cli.inputs import shares
from privlens.deactivation import Surroundings, reference_perplexity
from privlens.errors import BadInput
from privlens.localization import METHODS
from privlens.models.loading import load
from privlens.secrets import read_reference, read_secrets

ASSETS = Path(__file__).parents[2] / "assets"
bench = typer.Typer(add_completion=False, rich_markup_mode=None, help="Measure methods against a known truth.")
bench.command()(speed)
bench.command()(growth)


@bench.callback()
def group() -> None:
    """Measure methods against a known truth."""


@bench.command("del")
def delete(
    secrets: Annotated[Path, typer.Option(help="A CSV file with the columns prompt and value.")] = ASSETS / "secrets.csv",
    reference: Annotated[Path, typer.Option(help="Ordinary text; paragraphs parted by empty lines.")] = ASSETS / "reference.txt",
    methods: Annotated[str, typer.Option(help="all, or " + ", ".join(METHODS))] = "hard-concrete,contrastive-gradient,random",
    share: Annotated[str, typer.Option(help="Shares of all neurons beside what the mask itself closed: 0.005,0.01")] = "",
    n: Annotated[int, typer.Option(min=1, help="Targets, drawn by the seed from the memorised secrets.")] = 20,
    model: Annotated[str, typer.Option(help="demo, a folder, a .gguf file, or a hub id.")] = "demo",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: str = "auto",
    dtype: str = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """DEL: is the target forgotten when its neurons are off, and what else is lost? Other methods at the mask's own k too."""
    chosen = list(METHODS) if methods == "all" else [name.strip() for name in methods.split(",") if name.strip()]
    for name in chosen:
        if name not in METHODS:
            raise BadInput(f"There is no method {name!r}: use all, or {', '.join(METHODS)}.")
    budgets = shares(share)
    listed = [row.secret for row in read_secrets(secrets)]
    paragraphs = read_reference(reference)
    lm = load(model, device, dtype)
    rows = []
    for row in deletion.run(lm, listed, paragraphs, chosen, budgets, n, seed):
        rows.append(row)
        print(f"{row.method} {row.budget} {row.target.category}: forgotten {row.forgotten}", file=sys.stderr, flush=True)
    settings = {"model": lm.name, "fingerprint": lm.fingerprint, "n": n, "seed": seed, "device": str(lm.device)}
    each = [{**asdict(row), "forgotten": row.forgotten} for row in rows]
    _print({"rows": deletion.summary(rows), "settings": settings, "each": each}, as_json)


@bench.command()
def inj(
    ratio: Ratio = 0.001,
    methods: Annotated[str, typer.Option(help="all, or " + ", ".join(METHODS))] = "gradient,contrastive-gradient",
    n: Annotated[int, typer.Option(min=1, help="Plants; secrets and neurons are drawn by the seed.")] = 20,
    planting: Planting = "fair",
    steps: Annotated[int, typer.Option(min=1, help="Training steps of a plant, at most.")] = 400,
    model: Annotated[str, typer.Option(help="demo, a folder, a .gguf file, or a hub id.")] = "demo",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: str = "auto",
    dtype: str = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """INJ: do methods find the neurons that a new sequence was planted in? Beside random, and norms of the weights."""
    _print(measured(model, device, dtype, ratio, methods, n, seed, planting, steps), as_json)


@bench.command()
def memorised(
    secrets: Annotated[Path, typer.Option(help="A CSV file with prompt, value and repeats.")] = ASSETS / "secrets.csv",
    reference: Annotated[Path, typer.Option(help="Ordinary text; paragraphs parted by empty lines.")] = ASSETS / "reference.txt",
    model: Annotated[str, typer.Option(help="demo, a folder, a .gguf file, or a hub id.")] = "demo",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: str = "auto",
    dtype: str = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """What a model knows by heart, by how often it was trained on it; and its perplexity on ordinary text."""
    listed, paragraphs = read_secrets(secrets), read_reference(reference)
    lm = load(model, device, dtype)
    perplexity = reference_perplexity(lm, (), Surroundings(reference=paragraphs))
    settings = {"model": lm.name, "fingerprint": lm.fingerprint, "seed": seed, "perplexity": perplexity}
    _print({"rows": list(by_repeats(lm, listed, seed)), "settings": settings}, as_json)


def _print(found: dict[str, Any], as_json: bool) -> None:
    """The whole as one JSON object, or its rows as a table above its settings."""
    if as_json:
        print(json.dumps(found))
    else:
        print(pd.DataFrame(found["rows"]).to_string(index=False, float_format=lambda number: f"{number:.3f}"))
        print(json.dumps(found["settings"]))
