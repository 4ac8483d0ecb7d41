"""`python -m privlens bench load`: many visitors of one page at once."""

from dataclasses import asdict
from typing import Annotated

import typer

from privlens.bench.load import Load, LoadSettings, Watch, longest_step, summary
from privlens.bench.serving import served
from privlens.cli import tables
from privlens.cli.options import AsJson, Model, Secrets, Seed
from privlens.cli.progress import report_progress
from privlens.resources import SECRETS
from privlens.secret_lists import read_secrets

N_SECRETS = 2
"""Secrets that the visitors ask about; more take longer to measure alone."""


def load(
    visitors: Annotated[int, typer.Option(min=1, help="Visitors at once.")] = 8,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="How long visitors keep coming; running requests are then waited for.")
    ] = 1.0,
    is_random: Annotated[bool, typer.Option("--random", help="Requests in random order instead of the usual one.")] = False,
    model: Model = "demo",
    secrets: Secrets = SECRETS,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Waiting times of light and heavy work on a busy page and an idle one, differing answers, errors, and memory."""
    settings = LoadSettings(visitors, minutes, is_random, seed=seed)
    asked_secrets = [row.secret for row in read_secrets(secrets)][:N_SECRETS]
    with served(model) as (address, process):
        visits = Load(address, asked_secrets, settings)
        report_progress("every kind of request alone")
        alone = visits.alone()
        report_progress(f"{visitors} visitors at once")
        watch = Watch(process)
        with watch.watching():
            together = visits.together()
    report = {
        "rows": summary(alone, together),
        "settings": {
            **asdict(settings),
            "model": model,
            "secrets": len(asked_secrets),
            "watched_s": watch.seconds[-1],
            "longest_step_alone_s": longest_step(alone),
            "mismatches_alone": sum(not request.is_same for request in alone),
            "errors": sorted({request.error for request in (*alone, *together) if request.error}),
            "memory_mib": {"first": watch.memory[0], "last": watch.memory[-1], "most": max(watch.memory)},
            "memory_slope_mib_per_minute": watch.slope(),
            "threads": {"first": watch.threads[0], "last": watch.threads[-1], "most": max(watch.threads)},
        },
    }
    tables.show(report, as_json, tables.measured)
