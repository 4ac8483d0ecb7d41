"""Options that several commands share, each with its one line of help."""

from pathlib import Path
from typing import Annotated

import typer

from privlens.localization import METHODS

Model = Annotated[str, typer.Option(help="demo, a folder, a .gguf file, or a hub id.")]
Device = Annotated[str, typer.Option(help="auto (cuda, else mps, else cpu), or a device of torch.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides everything that is drawn at random.")]
AnySeed = Annotated[int, typer.Option(min=0, help="Decides everything that is drawn at random.")]
AnyEdits = Annotated[list[Path] | None, typer.Option("--edit", help="Under this edit, as erase --out wrote it; may be repeated.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Methods = Annotated[str, typer.Option(help="all, or " + ", ".join(METHODS))]
