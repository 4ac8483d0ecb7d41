"""`python -m privlens bench speed`, `growth` and `cost`: the cost of localization.

Compared with other libraries; how it grows with the model and the text; and on one model.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from privlens.bench import growth as growing
from privlens.bench.cost import costs, described
from privlens.bench.speed import SpeedSettings, bench_model, cases, memory
from privlens.bench.timing import timed
from privlens.cli import inputs, tables
from privlens.cli.options import AsJson, Device, Dtype, Methods, Model, Secrets, Seed
from privlens.cli.progress import report_progress
from privlens.resources import SECRETS
from privlens.secret_lists import read_secrets
from privlens.zoo.loading import load
from privlens.zoo.random_models import random_llama

Repeats = Annotated[int, typer.Option(min=1, help="Runs of each case; the fastest counts.")]
LLAMA = "Instead of a real model, a Llama of this size with random weights."
BAR = 40
"""Characters of the longest bar of the plot."""


def speed(
    layers: Annotated[int, typer.Option(min=1)] = 12,
    neurons: Annotated[int, typer.Option(min=16, help="In each layer.")] = 1024,
    prompt: Annotated[list[int] | None, typer.Option(min=1, help="Tokens of a prompt; may be repeated.")] = None,
    value: Annotated[int, typer.Option(min=1, help="Tokens of the value.")] = 8,
    steps: Annotated[int, typer.Option(min=3, help="Steps of integrated gradients.")] = 20,
    repeats: Repeats = 3,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Seconds of this package and of others on a random GPT-2, as ratios within this run; and the memory of every method."""
    settings = SpeedSettings(layers, neurons, tuple(prompt or SpeedSettings.prompts), value, steps, repeats, seed)
    lm = bench_model(settings)
    rows = _reported(map(asdict, cases(lm, settings)))
    memory_rows = _reported(memory(lm, settings))
    report = {"rows": rows, "memory": memory_rows, "settings": {"model": lm.name, **asdict(settings)}}
    tables.show(report, as_json, lambda _: _parts(rows, memory_rows, settings=asdict(settings)))


def growth(repeats: Repeats = 3, seed: Seed = 0, as_json: AsJson = False) -> None:
    """How the cost of integrated gradients grows with layers, neurons, tokens of prompt and value, and secrets; with a plot."""
    rows = _reported(map(asdict, growing.growth(repeats, seed)))
    settings = {"repeats": repeats, "seed": seed, **asdict(growing.Size())}
    longest = max(row["growth"] for row in rows)
    with_bars = [{**row, "": "#" * max(1, round(BAR * row["growth"] / longest))} for row in rows]
    tables.show({"rows": rows, "settings": settings}, as_json, lambda _: _parts(with_bars, settings=settings))


def cost(
    model: Model = "demo",
    llama: Annotated[tuple[int, int, int], typer.Option(metavar="LAYERS HIDDEN NEURONS", help=LLAMA)] = (0, 0, 0),
    secrets: Secrets = SECRETS,
    methods: Methods = "token-gradient,integrated-gradients,hard-concrete",
    task: Annotated[str | None, typer.Option(help="Measure only this task, for example fingerprint.")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Seconds and memory of the main tasks for one model on this machine, for the first secret of a list."""
    first, *others = [row.secret for row in read_secrets(secrets)]
    method_names = inputs.methods(methods)
    loading_s, lm = timed(lambda: random_llama(*llama, device, dtype, seed) if any(llama) else load(model, device, dtype))
    rows = _reported(map(asdict, costs(lm, first, others, method_names, seed, task)))
    settings = {**described(lm, first), "loading_s": loading_s, "seed": seed}
    tables.show({"rows": rows, "settings": settings}, as_json, lambda _: _parts(rows, settings=settings))


def _reported(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows; each is reported on stderr as soon as it is measured."""
    collected = []
    for row in rows:
        report_progress(json.dumps(row))
        collected.append(row)
    return collected


def _parts(*row_lists: Sequence[dict[str, Any]], settings: dict[str, Any]) -> list[tables.Part]:
    """Tables of rows, and the settings as a last line."""
    return [*map(tables.records, row_lists), tables.line(json.dumps(settings))]
