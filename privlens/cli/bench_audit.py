"""`python -m privlens bench audit`: secrets a second, with and without Ray workers, and what a million would take."""

from dataclasses import asdict
from typing import Annotated

import typer

from privlens.bench.audit_scaling import scaling
from privlens.cli import inputs, progress, tables
from privlens.cli.options import AsJson, Device, Dtype, Model, Secrets, Seed
from privlens.resources import SECRETS

Workers = Annotated[str, typer.Option(help="Ray workers on this machine, one run each; 0 is this process without Ray.")]


def bench_audit(
    secrets: Secrets = SECRETS,
    workers: Workers = "0,1,2",
    n: Annotated[int, typer.Option(min=1, help="Secrets to check, the first of the list.")] = 64,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """How many secrets a second an audit checks, and how long a million would take at that pace."""
    rows = []
    for row in scaling(secrets, inputs.numbers(workers, "--workers"), n, model, device, dtype, seed):
        rows.append(asdict(row))
        progress.report_progress(f"{row.workers} workers: {row.seconds:.0f} s")
    tables.show({"rows": rows, "settings": {"model": model, "n": n, "seed": seed}}, as_json, tables.measured)
