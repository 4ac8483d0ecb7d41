"""gradio's app behind the access checks. gradio gets it before the server starts, so the page is never open without them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gradio.routes import App, ORJSONResponse
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from privlens.ui.door.compressed import CompressedPage
from privlens.ui.door.guard import Guard
from privlens.ui.door.headers import SafeHeaders
from privlens.ui.door.login import Login
from privlens.ui.door.settings import Door
from privlens.ui.door.uploads import Uploads
from privlens.ui.door.visits import BrowserSessions


class Beside(Protocol):
    """Something that is served beside the page: what it adds to the app's routes, and what is entered while the app runs."""

    routes: Sequence[BaseRoute]
    lifespan: Callable[[], AbstractAsyncContextManager[None]]


class LockedApp(App):
    """Every request passes the access checks first, outside gradio's own CORS. The page uses no WebSockets: they are refused."""

    def __init__(self, door: Door, middleware: Sequence[Middleware] = (), routes: Sequence[BaseRoute] = ()) -> None:
        super().__init__(default_response_class=ORJSONResponse, middleware=list(middleware), routes=list(routes))
        sessions = BrowserSessions(door)
        page = CompressedPage(super().__call__, door.root_path)
        self._door = SafeHeaders(Guard(Login(Uploads(page, door, sessions), door, sessions), door), door)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._door(scope, receive, send)
        elif scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})
