"""Addresses of requests, wherever a reverse proxy serves the page."""


def below(path: str, root: str) -> str:
    """A request's path without the one below which the page is served, whether the proxy took that away or not."""
    root = root.rstrip("/")
    return path.removeprefix(root) if path.startswith(root + "/") else path or "/"
