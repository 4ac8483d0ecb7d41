"""What every answer tells the browser: who may frame it, that its kind is not guessed, that its address is not passed on."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from privlens.ui.door.settings import Door


class SafeHeaders:
    """Sets them, and takes away what gradio would allow other origins."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        framers = " ".join(door.allow_frames)
        self._set = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
        if not framers:
            self._set["x-frame-options"] = "DENY"
        self._csp = f"frame-ancestors {framers or chr(39) + 'none' + chr(39)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name in [name for name in headers if name.lower().startswith("access-control-")]:
                    del headers[name]
                for name, words in self._set.items():
                    headers[name] = words
                headers.append("content-security-policy", self._csp)  # beside one of the app's own: both hold
            await send(message)

        await self._app(scope, receive, safely)
