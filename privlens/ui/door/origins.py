"""Which pages a request may come from: this one alone, but a link that is followed may stand anywhere."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

DEFAULT_PORTS = {"http": 80, "https": 443}


def same_origin(origin: str, host: str) -> bool:
    """Whether an Origin header names the host, and the port, that a Host header names."""
    try:
        page = urlsplit(origin)
        default = DEFAULT_PORTS.get(page.scheme)
        here = urlsplit(f"{page.scheme}://{host}")
        return default is not None and (page.hostname, page.port or default) == (here.hostname, here.port or default)
    except ValueError:
        return False


def is_own(method: str, headers: Headers, host: str) -> bool:
    """Whether a request comes from this page, from no page, or is a link or a bookmark that a person followed.

    Sec-Fetch-Site is the browser's own word, sent to this machine and over TLS; Origin comes with every post, and with
    every read of another page's script. A program sends neither.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if origin is not None and not same_origin(origin, host) and not (origin == "null" and site == "same-origin"):
        return False
    followed = method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
    return followed or site in (None, "none", "same-origin")
