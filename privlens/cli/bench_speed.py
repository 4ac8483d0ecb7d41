"""`python -m privlens bench speed`, `growth` and `cost`: what localization costs beside peers, how it grows, and on one model."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import pandas as pd
import typer

from privlens.bench import growth as growing
from privlens.bench.cost import costs, described
from privlens.bench.speed import SpeedSettings, bench_model, cases, memory
from privlens.bench.timing import timed
from privlens.cli import inputs
from privlens.cli.options import AsJson, Device, Dtype, Methods, Model, Secrets, Seed
from privlens.cli.progress import report_progress
from privlens.resources import SECRETS
from privlens.secret_lists import read_secrets
from privlens.zoo.loading import load
from privlens.zoo.random_models import random_llama

Repeats = Annotated[int, typer.Option(min=1, help="Runs of every case; the fastest counts.")]
LLAMA = "Instead of a model that exists, a Llama of this size with random weights."
BAR = 40
"""Characters of the longest bar of the plot."""


def speed(
    layers: Annotated[int, typer.Option(min=1)] = 12,
    neurons: Annotated[int, typer.Option(min=16, help="In each layer.")] = 1024,
    prompt: Annotated[list[int] | None, typer.Option(min=1, help="Tokens of a prompt; may be given several times.")] = None,
    value: Annotated[int, typer.Option(min=1, help="Tokens of the value.")] = 8,
    steps: Annotated[int, typer.Option(min=3, help="Steps of the integral.")] = 20,
    repeats: Repeats = 3,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Seconds of ours and of peers on a random GPT-2, as ratios within this run; and the memory of every method."""
    settings = SpeedSettings(layers, neurons, tuple(prompt or SpeedSettings.prompts), value, steps, repeats, seed)
    lm = bench_model(settings)
    rows = _told(map(asdict, cases(lm, settings)))
    used = _told(memory(lm, settings))
    if as_json:
        print(json.dumps({"rows": rows, "memory": used, "settings": {"model": lm.name, **asdict(settings)}}))
    else:
        print(_table(rows), _table(used), json.dumps(asdict(settings)), sep="\n\n")


def growth(repeats: Repeats = 3, seed: Seed = 0, as_json: AsJson = False) -> None:
    """How the cost of integrated gradients grows with layers, neurons, tokens of prompt and value, and secrets; with a plot."""
    rows = _told(map(asdict, growing.growth(repeats, seed)))
    settings = {"repeats": repeats, "seed": seed, **asdict(growing.Size())}
    if as_json:
        print(json.dumps({"rows": rows, "settings": settings}))
        return
    longest = max(row["growth"] for row in rows)
    plotted = [{**row, "": "#" * max(1, round(BAR * row["growth"] / longest))} for row in rows]
    print(_table(plotted), json.dumps(settings), sep="\n\n")


def cost(
    model: Model = "demo",
    llama: Annotated[tuple[int, int, int], typer.Option(metavar="LAYERS HIDDEN NEURONS", help=LLAMA)] = (0, 0, 0),
    secrets: Secrets = SECRETS,
    methods: Methods = "token-gradient,integrated-gradients,hard-concrete",
    task: Annotated[str | None, typer.Option(help="Measure this task alone, fingerprint for example.")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Seconds and memory of the main tasks on one model on this machine, for the first secret of a list."""
    first, *others = [row.secret for row in read_secrets(secrets)]
    chosen = inputs.methods(methods)
    loading_s, lm = timed(lambda: random_llama(*llama, device, dtype, seed) if any(llama) else load(model, device, dtype))
    rows = _told(map(asdict, costs(lm, first, others, chosen, seed, task)))
    settings = {**described(lm, first), "loading_s": loading_s, "seed": seed}
    if as_json:
        print(json.dumps({"rows": rows, "settings": settings}))
    else:
        print(_table(rows), json.dumps(settings), sep="\n\n")


def _told(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows, each told to stderr as soon as it is there."""
    found = []
    for row in rows:
        report_progress(json.dumps(row))
        found.append(row)
    return found


def _table(rows: list[dict[str, Any]]) -> str:
    return pd.DataFrame(rows).to_string(index=False, justify="left", float_format=lambda number: f"{number:.3f}")
