"""`python -m privlens bench ...`: the commands that print the README's tables."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from privlens.bench import deletion
from privlens.bench import opening as opening_bench
from privlens.bench.repeats import by_repeats
from privlens.cli import inputs, progress, tables
from privlens.cli.bench_attacks import attacks
from privlens.cli.bench_audit import bench_audit
from privlens.cli.bench_erase import erase
from privlens.cli.bench_inj import inj, recall
from privlens.cli.bench_load import load as load_bench
from privlens.cli.bench_paper import both
from privlens.cli.bench_speed import cost, growth, speed
from privlens.cli.leaks import bench_leaks
from privlens.cli.options import (
    SITE,
    AsJson,
    Depth,
    Device,
    Dtype,
    Exchange,
    Hold,
    Methods,
    Model,
    PerLayer,
    Reference,
    Secrets,
    Seed,
    SkipLayers,
)
from privlens.deactivation import EvalContext, reference_perplexity
from privlens.localization.hard_concrete import MaskSettings, asked_for
from privlens.memorization.depth import depth as depth_of
from privlens.resources import RECORDED, REFERENCE, SECRETS
from privlens.secret_lists import read_reference, read_secrets
from privlens.types import Site, to_json
from privlens.zoo.loading import load

bench = typer.Typer(add_completion=False, rich_markup_mode=None, help="Measure methods against a known truth.")
bench.command()(inj)
bench.command()(recall)
bench.command("paper")(both)
bench.command()(erase)
bench.command()(attacks)
bench.command()(speed)
bench.command()(growth)
bench.command()(cost)
bench.command("load")(load_bench)
bench.command("audit")(bench_audit)
bench.command("leaks")(bench_leaks)


@bench.callback()
def group() -> None:
    """Measure methods against a known truth."""


@bench.command("del")
def delete(
    secrets: Secrets = SECRETS,
    reference: Reference = REFERENCE,
    methods: Methods = "hard-concrete,contrastive-gradient,random",
    share: Annotated[
        str, typer.Option(help="Shares of all neurons to compare at, in addition to the k that the mask suggests: 0.005,0.01")
    ] = "",
    n: Annotated[int, typer.Option(min=1, help="Targets, drawn by the seed from the memorized secrets.")] = 20,
    site: Annotated[Site, typer.Option(help=SITE)] = "mlp",
    depth: Depth = MaskSettings.depth,
    hold: Hold = MaskSettings.hold,
    exchange: Exchange = None,
    per_layer: PerLayer = False,
    skip_layers: SkipLayers = 0,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """DEL: is the target forgotten when its neurons are off, and what else is lost? Other methods also at the mask's own k."""
    method_names = inputs.methods(methods)
    budgets = inputs.shares(share)
    listed = [row.secret for row in read_secrets(secrets)]
    paragraphs = read_reference(reference)
    lm = load(model, device, dtype)
    choice, mask = inputs.choice(per_layer, skip_layers, lm), asked_for(depth, hold, exchange)
    rows = []
    for row in deletion.run(lm, listed, paragraphs, method_names, budgets, n, seed, site, mask=mask, choice=choice):
        rows.append(row)
        progress.report_progress(f"{row.method} {row.budget} {row.target.category}: forgotten {row.forgotten}")
    settings = {"model": lm.name, "fingerprint": lm.fingerprint, "site": site, "n": n, "seed": seed, "device": str(lm.device)}
    settings |= {"depth": depth, "hold": hold, "exchange": exchange, **asdict(choice)}
    each = [{**asdict(row), **depth_of(row.after), "forgotten": row.forgotten} for row in rows]
    tables.show({"rows": deletion.summary(rows), "settings": settings, "each": each}, as_json, tables.measured)


@bench.command("opening")
def opening(
    out: Annotated[Path, typer.Option(help="The JSON file to write.")] = RECORDED,
    secrets: Secrets = SECRETS,
    reference: Reference = REFERENCE,
    depth: Depth = MaskSettings.depth,
    hold: Hold = MaskSettings.hold,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Record the example that the page opens with: of the secrets a model knows best, the one a mask removes most cleanly."""
    listed, paragraphs = read_secrets(secrets), read_reference(reference)
    lm = load(model, device, dtype)
    command = f"privlens bench opening --model {lm.name} --depth {depth} --hold {hold:g} --seed {seed}"
    found = []
    for example in opening_bench.candidates(lm, listed, paragraphs, asked_for(depth, hold), seed, command):
        found.append(example)
        progress.report_progress(f"{example.secret.category}: {example.closed.verdict}, {len(example.off)} neurons")
    example = opening_bench.best(found)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(to_json(example), encoding="utf-8")
    rows = [opening_bench.summary(candidate) for candidate in found]
    settings = {"model": lm.name, "fingerprint": lm.fingerprint, "depth": depth, "hold": hold, "seed": seed}
    tables.show({"rows": rows, "settings": settings, "chosen": asdict(example.secret)}, as_json, tables.measured)


@bench.command("memorised", hidden=True)  # the former spelling, kept for scripts
@bench.command()
def memorized(
    secrets: Annotated[Path, typer.Option(help="A CSV file with the columns prompt, value and repeats.")] = SECRETS,
    reference: Reference = REFERENCE,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """What a model has memorized, by how often it was trained on it; and its perplexity on ordinary text."""
    listed, paragraphs = read_secrets(secrets), read_reference(reference)
    lm = load(model, device, dtype)
    perplexity = reference_perplexity(lm, (), EvalContext(reference=paragraphs))
    settings = {"model": lm.name, "fingerprint": lm.fingerprint, "seed": seed, "perplexity": perplexity}
    tables.show({"rows": list(by_repeats(lm, listed, seed)), "settings": settings}, as_json, tables.measured)
