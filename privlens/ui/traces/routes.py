"""The routes that stay open: of gradio's only those that the page and its interface need, and what is served beside the page.

gradio serves many more: some keep what a visitor typed (deep_link), show other visitors' activity (monitoring, queue/status),
accept files that nobody reads (process_recording), fetch URLs (proxy), or give a log-in's token to scripts (token). Routes that a
later gradio adds stay closed until they have been reviewed.
"""

import re
from urllib.parse import parse_qs

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from privlens.ui.paths import below

API = "/gradio_api"
OPEN = re.compile(
    r"|".join(
        [
            r"/",
            r"/config/?",
            r"/theme\.css",
            r"/favicon\.ico",
            r"/robots\.txt",
            r"/manifest\.json",
            r"/login/?",
            r"/logout",
            r"/mcp",
            r"/manual/.+",
            r"/(static|assets)/.+",
            rf"{API}/(info|openapi\.json|app_id|user|login_check|startup-events|theme\.css|cancel|reset|upload)/?",
            rf"{API}/(upload_progress|queue/join|queue/data)",
            rf"{API}/heartbeat/[^/]+",
            rf"{API}/(call|run|api)/.+",
            rf"{API}/file=.+",
        ]
    )
)
SAVED = "deep_link"
"""The query parameter that asks gradio for a page as somebody saved it."""


def path_of(scope: Scope) -> str:
    """A request's path, relative to the one that the page is served at."""
    return below(str(scope["path"]), str(scope.get("root_path", "")))


class OpenRoutes:
    """Answers 404 for all other routes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # gradio uses none
            await send({"type": "websocket.close"})
        elif scope["type"] == "http" and not _is_open(scope):
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return OPEN.fullmatch(path_of(scope)) is not None and SAVED not in query
