"""`python -m privlens bench erase`: what erasing from the weights costs everything else, at equal forgetting."""

from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from privlens.bench import erasing
from privlens.bench.journal import Journal
from privlens.cli import inputs, progress, tables
from privlens.cli.erase import DECAY_HELP, DEFAULTS, DEPTH_HELP, REPAIR_HELP, SHARE_HELP
from privlens.cli.options import AsJson, Device, Dtype, Model, Reference, Secrets, Seed
from privlens.erasure import Depth, ErasureSettings, Granularity, WeightMetric, method_settings
from privlens.resources import REFERENCE, SECRETS
from privlens.secret_lists import read_reference, read_secrets
from privlens.zoo.loading import load

METHODS_HELP = "all, or methods such as emso,npo; a name with the suffix :all trains all weights by Adam."

OUT_HELP = "JSON lines, a row as soon as it is known; a stopped run goes on, also with more draws or methods."


def erase(
    secrets: Secrets = SECRETS,
    reference: Reference = REFERENCE,
    methods: Annotated[str, typer.Option(help=METHODS_HELP)] = "emso,gradient-ascent,npo",
    forget: Annotated[str, typer.Option(help="How many secrets to erase at once: 1,8,32.")] = "1,8,32",
    draws: Annotated[int, typer.Option(min=1, help="Draws of forget texts for each number; rows are means over them.")] = 1,
    share: Annotated[float | None, typer.Option(help=SHARE_HELP)] = None,
    keep: Annotated[float, typer.Option(min=0, help="Weight of retained text; 0 retains nothing.")] = DEFAULTS.keep,
    decay: Annotated[float, typer.Option(help=DECAY_HELP)] = DEFAULTS.decay,
    repair: Annotated[int, typer.Option(min=0, help=REPAIR_HELP)] = DEFAULTS.repair,
    depth: Annotated[str, typer.Option(help=DEPTH_HELP)] = DEFAULTS.depth,
    steps: Annotated[int, typer.Option(min=1, help="Training steps, at most.")] = DEFAULTS.steps,
    choice: Annotated[str, typer.Option(help="The metric that chooses weights.")] = DEFAULTS.choice,
    spread: Annotated[str, typer.Option(help="neuron, global or matrix.")] = DEFAULTS.spread,
    rate: Annotated[float | None, typer.Option(help="One learning rate for all methods; by default each has its own.")] = None,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    out: Annotated[Path | None, typer.Option(help=OUT_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """Erase memorized secrets by every method to the same depth; how much else is lost?"""
    method_names = inputs.erasure_methods(methods)
    counts = inputs.numbers(forget, "--forget")
    settings = ErasureSettings(
        share=share,
        keep=keep,
        decay=decay,
        repair=repair,
        depth=inputs.one_of(depth, Depth, "--depth"),
        steps=steps,
        choice=inputs.one_of(choice, WeightMetric, "--choice"),
        spread=inputs.one_of(spread, Granularity, "--spread"),
    )
    rates = {name: method_settings(name, settings, rate).checked().learning_rate for name in method_names}
    if out:
        inputs.check_writable(out)
    listed = read_secrets(secrets)
    paragraphs = read_reference(reference)
    lm = load(model, device, dtype)
    reworded = {row.secret: row.reworded for row in listed}
    about = {"model": lm.name, "fingerprint": lm.fingerprint, "seed": seed, "device": str(lm.device), **asdict(settings)}
    journal = Journal(out, {**about, "rate": rate, "list": sha256(secrets.read_bytes()).hexdigest()[:16]})
    results = []
    for row in erasing.run(
        lm, [row.secret for row in listed], reworded, paragraphs, method_names, counts, draws, settings, rate, seed, journal
    ):
        results.append(row)
        progress.report_progress(erasing.described(row))
    recorded = {**about, "draws": draws, "rates": rates}
    each = [asdict(row) for row in results]
    tables.show({"rows": erasing.summary(results), "settings": recorded, "each": each}, as_json, tables.measured)
