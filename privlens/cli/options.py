"""Options that several commands share, each with one line of help."""

from pathlib import Path
from typing import Annotated

import typer

from privlens.localization import METHODS
from privlens.localization.hard_concrete import MOST_ROUNDS
from privlens.retained.others import Keep
from privlens.validation import MAX_SEED

Model = Annotated[str, typer.Option(help="demo, smollm2, smollm2+planted, a folder, a .gguf file, or a hub id.")]
Device = Annotated[str, typer.Option(help="auto (cuda, else mps, else cpu), a device of torch, or spread: over GPUs, CPU, disk.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16; int8 or int4 where bitsandbytes is installed.")]
SITE = (
    "Neurons are the inputs of the output projections of the MLPs (mlp), of the attention blocks (attention), or of both, where "
    "the numbering of a layer's attention coordinates continues after its last MLP neuron."
)
Chat = Annotated[bool, typer.Option("--chat", help="Prompt in chat turns, by the template of a chat model.")]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of everything that is drawn at random.")]
AnyEdits = Annotated[list[Path] | None, typer.Option("--edit", help="Apply this edit, a file from erase --out; may be repeated.")]
Secrets = Annotated[Path, typer.Option(help="A CSV file with the columns prompt and value.")]
Reference = Annotated[Path, typer.Option(help="Ordinary text for perplexity; paragraphs separated by empty lines.")]
Retained = Annotated[
    Keep, typer.Option(help="Memorized rows to retain: half (every second; the rest are for judging), all, none.")
]
PerLayer = Annotated[bool, typer.Option("--per-layer", help="Choose the best of every layer alike, not the best of the model.")]
SkipLayers = Annotated[int, typer.Option(min=0, help="Choose from so many of the lowest layers last.")]
Depth = Annotated[
    str,
    typer.Option(
        help="For hard-concrete and stepwise: hidden, forgotten, or the number of tries that the value should take to appear."
    ),
]
Hold = Annotated[float, typer.Option(help="For hard-concrete and stepwise: what that may cost retained text, KL in nats/token.")]
Exchange = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=MOST_ROUNDS,
        help="For hard-concrete and stepwise: rounds, at most, in which neurons are exchanged for cheaper ones at the "
        "end; 0 leaves those that were found. Default: 10.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Methods = Annotated[str, typer.Option(help="all, or " + ", ".join(METHODS))]
