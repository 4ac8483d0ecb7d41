"""`python -m privlens bench speed` and `bench growth`: what localization costs beside peers, and how the cost grows."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import pandas as pd
import typer

from privlens.benchmarks import growth as growing
from privlens.benchmarks.speed import SpeedSettings, bench_model, cases, memory
from privlens.cli.options import AsJson, Seed
from privlens.cli.telling import tell

Repeats = Annotated[int, typer.Option(min=1, help="Runs of every case; the fastest counts.")]
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


def _told(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows, each told to stderr as soon as it is there."""
    found = []
    for row in rows:
        tell(json.dumps(row))
        found.append(row)
    return found


def _table(rows: list[dict[str, Any]]) -> str:
    return pd.DataFrame(rows).to_string(index=False, justify="left", float_format=lambda number: f"{number:.3f}")
