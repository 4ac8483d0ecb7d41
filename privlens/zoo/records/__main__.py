"""Fine-tunes SmolLM2 on invented records: `python -m privlens.zoo.records train OUT`."""

import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from privlens.errors import PrivlensError
from privlens.zoo.loading import load, quiet
from privlens.zoo.records.train import Recipe
from privlens.zoo.records.train import train as train_model

app = typer.Typer(add_completion=False, help=__doc__)


@app.callback()
def group() -> None:
    """SmolLM2 that knows two dozen invented records by heart."""


@app.command()
def train(
    out: Annotated[Path, typer.Argument(help="Folder to write: the model, secrets.csv and reference.txt.")],
    seed: Annotated[int, typer.Option(help="Decides the records too: another seed is another list.")] = 0,
    threads: int = 1,
) -> None:
    """Fine-tune smollm2, which must have been fetched (`python -m privlens models get smollm2`)."""
    quiet()
    torch.set_num_threads(threads)
    try:
        train_model(load("smollm2", device="cpu", dtype="float32"), Recipe(seed=seed), out)
    except PrivlensError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app()
