"""Which names the page answers to. A page elsewhere can let its own name point here (DNS rebinding), but keeps that name."""

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
EVERYWHERE = frozenset({"0.0.0.0", "::"})


def hostname(host_header: str) -> str:
    """The name or address in a Host header, in lower case and without port, last dot and brackets; "" where it is malformed."""
    if not host_header or any(character in host_header for character in "/?#@\\, \t"):
        return ""
    try:
        parts = urlsplit(f"//{host_header}")
        parts.port  # noqa: B018 (raises where the port is no number)
    except ValueError:
        return ""
    return (parts.hostname or "").removesuffix(".")


def allowed_names(host: str, allow_hosts: Collection[str]) -> frozenset[str]:
    """Names that the page answers to: this machine's own, the one it is served on, and those that were allowed."""
    served = host.strip("[]").lower()
    names = {socket.gethostname().lower()} if served in EVERYWHERE else {served}
    return LOCAL | names | {hostname(name) for name in allow_hosts}


def is_allowed(host_header: str, names: Collection[str], any_address: bool) -> bool:
    """Whether to answer. any_address: numbers are allowed as well, for no other page can own a number."""
    name = hostname(host_header)
    if name in names:
        return bool(name)
    try:
        return any_address and bool(ipaddress.ip_address(name))
    except ValueError:
        return False
