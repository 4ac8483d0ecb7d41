"""Host names that the page accepts. A page elsewhere can let its own name point here (DNS rebinding), but keeps that name."""

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
EVERYWHERE = frozenset({"0.0.0.0", "::"})


def hostname(host_header: str) -> str:
    """The name or address in a Host header, in lower case and without port, final dot and brackets; "" if it is malformed."""
    if not host_header or any(character in host_header for character in "/?#@\\, \t"):
        return ""
    try:
        parts = urlsplit(f"//{host_header}")
        parts.port  # noqa: B018 (raises if the port is not a number)
    except ValueError:
        return ""
    return (parts.hostname or "").removesuffix(".")


def allowed_names(host: str, allow_hosts: Collection[str]) -> frozenset[str]:
    """Names that the page accepts: this machine's own, the one it is served on, and those that were allowed."""
    served = host.strip("[]").lower()
    names = {socket.gethostname().lower()} if served in EVERYWHERE else {served}
    return LOCAL | names | {hostname(name) for name in allow_hosts}


def is_allowed(host_header: str, names: Collection[str], any_address: bool) -> bool:
    """Whether to accept the host. any_address: IP addresses are accepted too, since no other page can own one."""
    name = hostname(host_header)
    if name in names:
        return bool(name)
    try:
        return any_address and bool(ipaddress.ip_address(name))
    except ValueError:
        return False
