"""`privlens app`: starts the browser page. Nothing heavy is imported before gradio's folder for temporary files is set."""

import getpass
import os
from typing import Annotated

import typer


def serve(
    model: Annotated[str, typer.Option(help="demo, smollm2, smollm2+planted, a folder, a .gguf file or a hub id")] = "demo",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps, or spread: over GPUs, CPU and disk")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16; int8, int4 with bitsandbytes")] = "auto",
    also: Annotated[list[str] | None, typer.Option(help="another model that visitors may load; may be repeated")] = None,
    allow_paths: Annotated[
        list[str] | None, typer.Option(help="a folder below which visitors may name models by path; may be repeated")
    ] = None,
    host: Annotated[str, typer.Option(help="address to serve on; 0.0.0.0 for all")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="if not given, the first free one from 7860 on")] = None,
    token: Annotated[str, typer.Option(envvar="PRIVLENS_TOKEN", help="a token to come in with; auto makes one")] = "",
    auth: Annotated[list[str] | None, typer.Option(help="a user with a password, from PRIVLENS_PASSWORD or asked for")] = None,
    auth_file: Annotated[str, typer.Option(help="a file of users: lines that --hash printed")] = "",
    hash_for: Annotated[str, typer.Option("--hash", help="a user: prints a line for --auth-file, and ends")] = "",
    insecure: Annotated[bool, typer.Option("--insecure", help="no lock, although others reach this address")] = False,
    allow_host: Annotated[list[str] | None, typer.Option(help="a name that the page answers to; may be repeated")] = None,
    allow_frame: Annotated[list[str] | None, typer.Option(help="an origin that may frame the page; may be repeated")] = None,
    max_upload: Annotated[float, typer.Option(min=0.001, max=1e6, help="megabytes that a file may have")] = 32,
    root_path: Annotated[str, typer.Option(help="the path below which a reverse proxy serves the page, as /privlens")] = "",
) -> None:
    """Starts the page; the address is printed when it is ready. Where others than this machine reach it, a token locks it."""
    from privlens.errors import PrivlensError
    from privlens.process.signals import ending
    from privlens.process.temporary import own_folder, remove

    try:
        if hash_for:
            from privlens.ui.door.passwords import hash_line

            typer.echo(hash_line(hash_for, password_of(hash_for)))
            return
        with own_folder() as folder, ending(lambda: remove(folder)):
            from privlens.ui import build_ui, launch  # gradio looks only once where temporary files go
            from privlens.ui.door import make_door

            door = make_door(
                host,
                token=token,
                users=users_of(auth or [], auth_file),
                allow_hosts=allow_host or [],
                allow_frames=allow_frame or [],
                root_path=root_path,
                max_upload=max_upload,
                insecure=insecure,
            )
            if door.public and not door.locked:
                typer.echo("--insecure: whoever reaches this address can use the page and sees what it may load.", err=True)
            launch(build_ui(model, device, dtype, also or (), allow_paths or ()), host, port, door=door)
    except PrivlensError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except OSError as error:  # no free port, or no folder for what visitors open
        typer.echo(f"The page cannot be served ({' '.join(str(error).split())}): see to that, and start it again.", err=True)
        raise typer.Exit(2) from None


def password_of(user: str) -> str:
    """From the environment, or typed without being shown."""
    given = os.environ.get("PRIVLENS_PASSWORD")
    return getpass.getpass(f"Password of {user}: ") if given is None else given


def users_of(auth: list[str], auth_file: str) -> dict[str, str]:
    """Users and their argon2 hashes; a file that others can read is warned of."""
    from privlens.ui.door.passwords import hash_line, read_users

    users, warning = read_users(auth_file) if auth_file else ({}, "")
    if warning:
        typer.echo(warning, err=True)
    for user in auth:
        users[user] = hash_line(user, password_of(user)).partition(":")[2]
    return users


def main() -> None:
    """The command on its own, as app.py runs it."""
    typer.run(serve)
