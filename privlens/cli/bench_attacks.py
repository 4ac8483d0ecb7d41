"""`python -m privlens bench attacks`: how often the attacks' verdict is wrong where nothing is erased."""

from dataclasses import asdict
from typing import Annotated

import typer

from privlens.bench import attacking, hiding
from privlens.cli import inputs, progress, tables
from privlens.cli.options import AsJson, Device, Dtype, Model, Secrets, Seed
from privlens.resources import SECRETS
from privlens.secret_lists import read_secrets
from privlens.zoo.loading import load


def attacks(
    secrets: Secrets = SECRETS,
    at_once: Annotated[str, typer.Option(help="Secrets in one verdict: 1,4.")] = "1,4",
    most: Annotated[int, typer.Option(min=1, help="Secrets of each kind, at most.")] = 28,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """False alarms of the attacks on secrets that nobody trained on, and what they find in memorized ones; nothing is erased.

    Then whether "erased or hidden" tells neurons that were switched off from others that were turned up against a value.
    """
    counts = inputs.numbers(at_once, "--at-once")
    listed = read_secrets(secrets)
    lm = load(model, device, dtype)
    rows = [asdict(row) for row in attacking.run(lm, listed, counts, most, seed, progress.report_progress)]
    shifts = [asdict(row) for row in hiding.run(lm, listed, most, seed, progress.report_progress)]
    settings = {
        "model": lm.name,
        "fingerprint": lm.fingerprint,
        "seed": seed,
        "values": attacking.VALUES,
        "device": str(lm.device),
    }
    tables.show({"rows": rows, "erase_or_hide": shifts, "settings": settings}, as_json, tables.bench_attacks)
