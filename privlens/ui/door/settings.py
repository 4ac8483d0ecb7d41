"""The access settings given at the command line."""

import ipaddress
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from privlens.errors import BadInput
from privlens.ui.door.hosts import EVERYWHERE, hostname

MEGABYTE = 2**20
UPLOADS = 8
"""All uploads of one visit, in files of the largest size: limits how much of the disk one visitor can fill."""


@dataclass(frozen=True)
class Door:
    """Who may reach the page; with the defaults this machine alone.

    users: name -> argon2 hash. max_upload: bytes of one request. root_path: the path below which a reverse proxy serves the page;
    if it is given, X-Forwarded-Host and X-Forwarded-Proto are trusted, since such a proxy sets them.
    """

    host: str = "127.0.0.1"
    allow_hosts: Sequence[str] = ()
    allow_frames: Sequence[str] = ()
    token: str = field(default="", repr=False)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    root_path: str = ""
    max_upload: int = 32 * MEGABYTE

    @property
    def locked(self) -> bool:
        return bool(self.token or self.users)

    @property
    def public(self) -> bool:
        return not is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only; a name other than localhost counts as public."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def make_door(
    host: str,
    *,
    token: str = "",
    users: Mapping[str, str] | None = None,
    allow_hosts: Sequence[str] = (),
    allow_frames: Sequence[str] = (),
    root_path: str = "",
    max_upload: float = 32,
    insecure: bool = False,
) -> Door:
    """The access settings for an address: if other machines can reach it and no lock was chosen, a new token locks it.

    Args:
        token: "auto" for a new one. max_upload: megabytes. insecure: no lock on a public address.

    Raises:
        BadInput: an invalid origin, host, token or path, or `insecure` together with a lock.
    """
    users = users or {}
    if insecure and (token or users):
        raise BadInput("--insecure cannot be combined with --token, --auth or --auth-file: leave one of the two out.")
    for origin in allow_frames:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
            raise BadInput(f"--allow-frame needs an origin such as https://huggingface.co, but is {origin!r}.")
        if any(character.isspace() or character in ";,'\"" for character in origin):
            raise BadInput(f"--allow-frame takes one origin; repeat it for more. It is {origin!r}.")
    if root_path and not root_path.startswith("/"):
        raise BadInput(f"--root-path begins with /, such as /privlens, but is {root_path!r}.")
    for name in allow_hosts:
        if not hostname(name):
            raise BadInput(f"--allow-host needs a name such as privlens.example, but is {name!r}.")
    if token == "auto" or (not token and not users and not insecure and not is_loopback(host)):
        token = secrets.token_urlsafe(32)
    if token and len(token) < 16:
        raise BadInput("A token needs at least 16 characters, since it alone keeps strangers out: --token auto makes one.")
    return Door(host, allow_hosts, allow_frames, token, users, root_path.rstrip("/"), int(max_upload * MEGABYTE))


def served_on(host: str) -> str:
    """An address as in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def addresses(door: Door, port: int) -> list[str]:
    """URLs of the page, with the token, so that a click is enough."""
    hosts = [socket.gethostname(), "127.0.0.1"] if door.host in EVERYWHERE else [served_on(door.host)]
    return [f"http://{host}:{port}/{f'?token={door.token}' if door.token else ''}" for host in hosts]
