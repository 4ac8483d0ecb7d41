"""Which pages a request may come from: only this one, except for links, which may be on any page."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

DEFAULT_PORTS = {"http": 80, "https": 443}


def same_origin(origin: str, host: str) -> bool:
    """Whether an Origin header has the same host and port as a Host header."""
    try:
        source = urlsplit(origin)
        default = DEFAULT_PORTS.get(source.scheme)
        target = urlsplit(f"{source.scheme}://{host}")
        return default is not None and (source.hostname, source.port or default) == (target.hostname, target.port or default)
    except ValueError:
        return False


def is_own(method: str, headers: Headers, host: str) -> bool:
    """Whether a request comes from this page, from no page, or from a link or bookmark that a person followed.

    Browsers set Sec-Fetch-Site themselves, on requests to this machine and over TLS. They send Origin with every POST, and with
    every read by another page's script. A program sends neither.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if origin is not None and not same_origin(origin, host) and not (origin == "null" and site == "same-origin"):
        return False
    is_navigation = method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
    return is_navigation or site in (None, "none", "same-origin")
