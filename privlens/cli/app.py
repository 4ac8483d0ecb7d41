"""`privlens app`: starts the browser page. gradio is imported only after its folder for temporary files is set."""

import getpass
import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from privlens.ui.programs.mcp_tools import McpServer
    from privlens.ui.state.session import ModelCache


def serve(
    model: Annotated[str, typer.Option(help="demo, smollm2, smollm2+planted, a folder, a .gguf file or a hub id")] = "demo",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps, or spread: over GPUs, CPU and disk")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16; int8, int4 with bitsandbytes")] = "auto",
    also: Annotated[list[str] | None, typer.Option(help="another model that visitors may load; may be repeated")] = None,
    allow_paths: Annotated[
        list[str] | None, typer.Option(help="a folder below which visitors may name models by path; may be repeated")
    ] = None,
    host: Annotated[str, typer.Option(help="address to serve on; 0.0.0.0 for all")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="default: the first free one from 7860 on")] = None,
    token: Annotated[str, typer.Option(envvar="PRIVLENS_TOKEN", help="an access token; auto generates one")] = "",
    auth: Annotated[list[str] | None, typer.Option(help="a user name; the password is PRIVLENS_PASSWORD or asked for")] = None,
    auth_file: Annotated[str, typer.Option(help="a file of users, one line each, as --hash prints it")] = "",
    hash_for: Annotated[str, typer.Option("--hash", help="a user name: print a line for --auth-file, and exit")] = "",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="no authentication, even if others can reach this address")
    ] = False,
    allow_host: Annotated[list[str] | None, typer.Option(help="a host name that the page answers to; may be repeated")] = None,
    allow_frame: Annotated[
        list[str] | None, typer.Option(help="an origin that may embed the page in a frame; may be repeated")
    ] = None,
    max_upload: Annotated[float, typer.Option(min=0.001, max=1e6, help="the largest upload, in megabytes")] = 32,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="offer tools to agents at /mcp, behind the same lock (Model Context Protocol)")
    ] = False,
    root_path: Annotated[str, typer.Option(help="the path under which a reverse proxy serves the page, such as /privlens")] = "",
) -> None:
    """Start the page; its address is printed when it is ready. If other machines can reach it, a token is required."""
    from privlens.errors import PrivlensError
    from privlens.process.signals import ending
    from privlens.process.temporary import process_temp_folder, remove

    try:
        if hash_for:
            from privlens.ui.door.passwords import hash_line

            typer.echo(hash_line(hash_for, password_of(hash_for)))
            return
        with process_temp_folder() as folder, ending(lambda: remove(folder)):
            # Here, because gradio reads the folder for temporary files once, on import.
            from privlens.ui import build_cache, build_ui, launch
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
                typer.echo(
                    "--insecure: anyone who can reach this address can use the page and see which models it may load.", err=True
                )
            cache = build_cache(model, device, dtype, also or (), allow_paths or ())
            launch(build_ui(cache), host, port, door=door, beside=tools_of(cache) if mcp else ())
    except PrivlensError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except OSError as error:  # no free port, or no folder for what visitors open
        typer.echo(f"The page cannot be served ({' '.join(str(error).split())}): fix this and start it again.", err=True)
        raise typer.Exit(2) from None


def tools_of(cache: "ModelCache") -> "list[McpServer]":
    """The tools for agents. Raises BadInput if the package that they need is not installed."""
    from privlens.ui.programs.mcp_tools import McpServer

    return [McpServer(cache)]


def password_of(user: str) -> str:
    """From the environment variable PRIVLENS_PASSWORD, or typed without echo."""
    password = os.environ.get("PRIVLENS_PASSWORD")
    return getpass.getpass(f"Password of {user}: ") if password is None else password


def users_of(auth: list[str], auth_file: str) -> dict[str, str]:
    """Users and their argon2 hashes; warns about a file that others can read."""
    from privlens.ui.door.passwords import hash_line, read_users

    users, warning = read_users(auth_file) if auth_file else ({}, "")
    if warning:
        typer.echo(warning, err=True)
    for user in auth:
        users[user] = hash_line(user, password_of(user)).partition(":")[2]
    return users


def main() -> None:
    """Runs this command alone, for app.py."""
    typer.run(serve)
