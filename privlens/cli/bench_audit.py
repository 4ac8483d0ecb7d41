"""`python -m privlens bench audit`: secrets a second, batched, one by one, and in Ray workers; what a million takes."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from privlens.bench.audit_scaling import scaling
from privlens.bench.audit_speed import speed
from privlens.cli import inputs, progress, tables
from privlens.cli.options import AsJson, Device, Dtype, Model, Secrets, Seed
from privlens.resources import SECRETS

Workers = Annotated[str, typer.Option(help="Ray workers on this machine, one run each; 0 is this process without Ray.")]


def bench_audit(
    secrets: Secrets = SECRETS,
    workers: Workers = "0,1,2",
    n: Annotated[int, typer.Option(min=1, help="Secrets to check, the first of the list.")] = 64,
    one_by_one: Annotated[int, typer.Option(min=0, help="Of these, so many are checked one by one as well; 0 for none.")] = 32,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """How many secrets a second an audit checks, how much faster that is than one by one, and how long a million would take."""
    n_workers = inputs.numbers(workers, "--workers")
    alone = []
    if one_by_one:
        alone = [asdict(speed(secrets, min(one_by_one, n), model, device, dtype, seed))]
        progress.report_progress(f"{alone[0]['ratio']:.1f} times as fast as one by one")
    rows = []
    for row in scaling(secrets, n_workers, n, model, device, dtype, seed):
        rows.append(asdict(row))
        progress.report_progress(f"{row.workers} workers: {row.seconds:.0f} s")
    tables.show({"one_by_one": alone, "rows": rows, "settings": {"model": model, "n": n, "seed": seed}}, as_json, _view)


def _view(report: tables.Json) -> Sequence[tables.Part]:
    return [*([tables.records(report["one_by_one"])] if report["one_by_one"] else []), *tables.measured(report)]
