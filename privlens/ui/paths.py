"""Paths of requests behind a reverse proxy."""


def below(path: str, root: str) -> str:
    """A request's path without the root path that the page is served below, whether or not the proxy has removed it."""
    root = root.rstrip("/")
    return path.removeprefix(root) if path.startswith(root + "/") else path or "/"
