"""The page itself travels compressed: it brings all of its parts with it, and gradio compresses only files.

Nothing else is: answers hold private values, and how far a text shrinks tells about what is in it.
"""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from privlens.ui.paths import below


class CompressedPage:
    """Compresses the answer at the root."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._compressing, self._root_path = app, GZipMiddleware(app), root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = not below(scope["path"], self._root_path).rstrip("/")
        await (self._compressing if is_page else self._app)(scope, receive, send)
