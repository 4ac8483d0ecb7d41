"""Trains `natural` from scratch: `python -m privlens.zoo.natural train OUT`; with --twin, the control without planted people."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from privlens.zoo.natural.train import Recipe
from privlens.zoo.natural.train import train as train_model

app = typer.Typer(add_completion=False, help=__doc__)


@app.callback()
def group() -> None:
    """A small Llama that knows invented villagers by heart."""


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="Folder to write: the model, secrets.csv and reference.txt.")],
    twin: Annotated[bool, typer.Option(help="Leave the planted people out.")] = False,
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Train the model from scratch."""
    torch.set_num_threads(threads)
    train_model(Recipe(seed=seed, planted=not twin), out)


if __name__ == "__main__":
    app()
