"""`privlens bench paper`: both experiments of Chang, Thomason & Jia on a list of one's own."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from privlens.bench import paper
from privlens.bench.journal import Journal
from privlens.cli import inputs, progress, tables
from privlens.cli.options import AsJson, Device, Dtype, Methods, Model, Reference, Secrets, Seed, SkipLayers
from privlens.errors import BadInput
from privlens.resources import REFERENCE, SECRETS
from privlens.retained.others import other_secrets
from privlens.secret_lists import ListedSecret, read_list, read_reference
from privlens.zoo.loading import load


def both(
    secrets: Secrets = SECRETS,
    rows: Annotated[str, typer.Option(help="Rows of the list, from 0, such as 3,5,9; all if none are given.")] = "",
    experiments: Annotated[str, typer.Option(help="inj, del, or inj,del.")] = "inj,del",
    methods: Methods = "hard-concrete,slimming,zero-out,integrated-gradients,activations",
    ratio: Annotated[float, typer.Option(help="Share of all neurons to plant in.")] = 0.001,
    share: Annotated[float, typer.Option(help="Share of all neurons to switch off.")] = 0.01,
    skip_layers: SkipLayers = 0,
    planting: Annotated[str, typer.Option(help="fair (norms stay) or published (output vectors grow).")] = "fair",
    steps: Annotated[int, typer.Option(min=1, help="Training steps of a plant, at most.")] = 400,
    reference: Reference = REFERENCE,
    out: Annotated[Path | None, typer.Option(help="JSON lines, a row as soon as it is known; a stopped run goes on.")] = None,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """INJ and DEL on a list of secrets, neurons chosen in one ranking and layer by layer."""
    asked = inputs.numbers(rows, "--rows") if rows else None
    names = [name.strip() for name in experiments.split(",")]
    if not set(names) <= {"inj", "del"}:
        raise BadInput(f"--experiments is {experiments!r}, but must be inj, del, or inj,del.")
    fair = inputs.is_fair(planting)
    inputs.check_proportion(ratio, "--ratio")
    inputs.check_proportion(share, "--share")
    if out:
        inputs.check_writable(out)
    found = read_list(secrets)
    usable = {row: entry.secret for row, entry in enumerate(found.entries) if isinstance(entry, ListedSecret)}
    listed = usable if asked is None else {row: found.at(row, secrets).secret for row in asked}
    texts = read_reference(reference)
    lm = load(model, device, dtype)
    settings = paper.PaperSettings(tuple(inputs.methods(methods)), ratio, share, skip_layers, fair, steps, seed)
    journal = Journal(out, paper.described(lm, settings, list(listed), secrets))
    others = other_secrets(usable.values(), listed.values())
    runs = {"inj": paper.inj(lm, listed, settings, journal), "del": paper.delete(lm, listed, others, texts, settings, journal)}
    for name in names:
        for row in runs[name]:
            progress.report_progress(f"{name}, row {row['row']}: {row['method']}")
    about = {"model": lm.name, "fingerprint": lm.fingerprint, **asdict(settings), "device": str(lm.device)}
    plants = [row for row in journal.rows if row["experiment"] == "inj"]
    about["plants"] = len({row["row"] for row in plants})
    about["plants_not_reached"] = sorted({row["row"] for row in plants if not row["reached"]})
    shown = {"rows": paper.summary(journal.rows), "settings": about, "journal": journal.rows}
    tables.show(shown, as_json, tables.measured)
