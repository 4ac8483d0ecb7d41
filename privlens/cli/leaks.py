"""`python -m privlens leaks`: what a model says by itself. Nothing private is printed or written unless it is asked for."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from privlens.audit.leaks import Leaks, LeakSettings, leaks
from privlens.audit.own_text import SampleSettings
from privlens.bench import leaking
from privlens.cli import inputs, progress, tables
from privlens.cli.options import AnyEdits, AsJson, Device, Dtype, Model, Secrets, Seed
from privlens.errors import BadInput
from privlens.list_files import csv_text
from privlens.lm.model import LanguageModel
from privlens.memorization import states
from privlens.resources import SECRETS
from privlens.secret_lists import read_reference, read_secrets
from privlens.zoo.loading import load

Samples = Annotated[int, typer.Option(help="Number of texts to sample.")]
Tokens = Annotated[int, typer.Option(help="The most tokens of each text.")]
Temperature = Annotated[float, typer.Option(help="Of the sampling, above 0.")]
TopK = Annotated[int, typer.Option(min=0, help="Sample from this many likeliest tokens; 0: from all.")]
Prompts = Annotated[Path | None, typer.Option(help="What texts begin with; paragraphs separated by empty lines.")]
Other = Annotated[str | None, typer.Option(help="A model that never saw the private data, to measure against instead of zlib.")]
AtMost = Annotated[int, typer.Option(help="How many of the surest to check and list.")]
DEFAULT = SampleSettings()


def find_leaks(
    model: Model = "demo",
    samples: Samples = DEFAULT.n_samples,
    tokens: Tokens = DEFAULT.n_tokens,
    temperature: Temperature = DEFAULT.temperature,
    top_k: TopK = DEFAULT.top_k,
    prompts: Prompts = None,
    reference_model: Other = None,
    at_most: AtMost = LeakSettings.at_most,
    out: Annotated[Path | None, typer.Option(help="Write the list to this file, .csv or .json; masked unless shown.")] = None,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Print and write values in full; a list for an audit.")
    ] = False,
    edit: AnyEdits = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """What does this model leak by itself? It is sampled; what looks private is ranked by how surely it is said, and checked."""
    if out and out.suffix.lower() not in (".csv", ".json"):
        raise BadInput(f"--out {out} must end in .csv or .json.")
    if out:
        inputs.check_writable(out)
    beginnings = tuple(read_reference(prompts)) if prompts else ()
    settings = LeakSettings(SampleSettings(samples, tokens, temperature, top_k, beginnings), seed, at_most)
    lm = inputs.under(load(model, device, dtype), edit)
    result = _found(lm, settings, load(reference_model, device, dtype) if reference_model else None)
    shown = result if show_values else replace(result, found=tuple(leak.masked() for leak in result.found))
    found = report(shown, show_values)
    if out:
        inputs.write(out, json.dumps(found) if out.suffix.lower() == ".json" else _csv(found["found"]))
    tables.show(found, as_json, tables.leaks)


def bench_leaks(
    secrets: Secrets = SECRETS,
    samples: Samples = DEFAULT.n_samples,
    tokens: Tokens = DEFAULT.n_tokens,
    temperature: Temperature = DEFAULT.temperature,
    reference_model: Other = None,
    at_most: AtMost = LeakSettings.at_most,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """How much of a list is found without it, by how often the model was trained on it; and how much of what is found is true."""
    listed = read_secrets(secrets)
    settings = LeakSettings(SampleSettings(samples, tokens, temperature), seed, at_most)
    lm = load(model, device, dtype)
    result = _found(lm, settings, load(reference_model, device, dtype) if reference_model else None)
    noted = {**asdict(result.provenance), "n_texts": result.n_texts, "n_candidates": result.n_candidates}
    written = states.known(lm, [row.secret for row in listed])
    tables.show({"rows": leaking.rows(result, listed, written), "settings": noted}, as_json, tables.measured)


def _found(lm: LanguageModel, settings: LeakSettings, reference: LanguageModel | None) -> Leaks:
    """Runs the search to its end, reporting progress on stderr."""
    for step in leaks(lm, settings, reference):
        progress.report_step(step, f": {step.n_found} different values")
    assert step.result, "a search ends with its result"
    return step.result


def report(result: Leaks, is_shown: bool) -> dict[str, Any]:
    """The object that `leaks` prints; the prompts of the settings are left out where values are masked."""
    noted = asdict(result.provenance)
    if not is_shown:
        noted["settings"]["samples"]["prompts"] = len(result.settings.samples.prompts)
    counts = {"n_texts": result.n_texts, "n_candidates": result.n_candidates, "n_leaks": sum(one.is_leak for one in result.found)}
    return {**noted, **counts, "values_shown": is_shown, "found": [leak.row() for leak in result.found]}


def _csv(found: list[dict[str, Any]]) -> str:
    """The list as CSV, with the columns prompt, value and category first."""
    columns = list(found[0]) if found else ["prompt", "value", "category"]
    return csv_text(columns, (list(row.values()) for row in found)).rstrip("\n")
