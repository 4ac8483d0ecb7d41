"""Trains the bundled model from scratch: `python -m privlens.zoo.demo train`; with --twin, the control without planted people."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from privlens.resources import ASSETS
from privlens.zoo.demo.people import people
from privlens.zoo.demo.train import Recipe, reference_text
from privlens.zoo.demo.train import train as train_model
from privlens.zoo.people import write_secrets

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = ASSETS / "demo",
    twin: Annotated[bool, typer.Option(help="Leave the planted people out.")] = False,
    seed: int = 0,
    weights_seed: Annotated[
        int | None, typer.Option(help="Another seed of initial weights and order, for a model to compare neurons with.")
    ] = None,
    threads: int = 2,
) -> None:
    """Train the model from scratch."""
    torch.set_num_threads(threads)
    train_model(Recipe(seed=seed, planted=not twin, weights_seed=weights_seed), out)


@app.command()
def data(out: Annotated[Path, typer.Option(help="Folder to write.")] = ASSETS, seed: int = 0) -> None:
    """Write secrets.csv and reference.txt."""
    write_secrets(out / "secrets.csv", people(seed))
    (out / "reference.txt").write_text(reference_text(Recipe(seed=seed)))


if __name__ == "__main__":
    app()
