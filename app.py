"""Starts the browser page: python app.py [--model M] [--device D] [--dtype T] [--host H] [--port P]."""

import os
from typing import Annotated

import typer

os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}


def main(
    model: Annotated[str, typer.Option(help="demo, smollm2, smollm2+planted, a folder, a .gguf file or a hub id")] = "demo",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps, or spread: over GPUs, CPU and disk")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16; int8, int4 with bitsandbytes")] = "auto",
    also: Annotated[list[str] | None, typer.Option(help="another model that visitors may load; repeatable")] = None,
    allow_paths: Annotated[
        list[str] | None, typer.Option(help="a folder below which visitors may name models by path; can be given several times")
    ] = None,
    host: Annotated[str, typer.Option(help="address to serve on; 0.0.0.0 for all")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="if not given, the first free one from 7860 on")] = None,
) -> None:
    """Starts the page; the address is printed when it is ready."""
    from privlens.errors import PrivlensError
    from privlens.process.signals import ending
    from privlens.process.temporary import own_folder, remove

    try:
        with own_folder() as folder, ending(lambda: remove(folder)):
            from privlens.ui import build_ui, launch  # gradio looks only once where temporary files go

            launch(build_ui(model, device, dtype, also or (), allow_paths or ()), host, port)
    except PrivlensError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except OSError as error:  # no free port, or no folder for what visitors open
        typer.echo(f"The page cannot be served ({' '.join(str(error).split())}): see to that, and start it again.", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
