"""gradio's app with the door around it. It is handed to gradio before the server starts, so the page is never open without it."""

from collections.abc import Sequence

from gradio.routes import App, ORJSONResponse
from starlette.middleware import Middleware
from starlette.types import Receive, Scope, Send

from privlens.ui.door.guard import Guard
from privlens.ui.door.headers import SafeHeaders
from privlens.ui.door.login import Login
from privlens.ui.door.settings import Door
from privlens.ui.door.uploads import Uploads
from privlens.ui.door.visits import Visits


class LockedApp(App):
    """Every request goes through the door first, outside of gradio's own CORS. There are no WebSockets here: they are refused."""

    def __init__(self, door: Door, middleware: Sequence[Middleware] = ()) -> None:
        super().__init__(default_response_class=ORJSONResponse, middleware=list(middleware))
        visits = Visits(door)
        self._door = SafeHeaders(Guard(Login(Uploads(super().__call__, door, visits), door, visits), door), door)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._door(scope, receive, send)
        elif scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})
