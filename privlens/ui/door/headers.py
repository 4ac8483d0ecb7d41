"""Security headers of every response: who may frame it, no content sniffing, no referrer."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from privlens.ui.door.settings import Door


class SafeHeaders:
    """Sets the headers, and removes those by which gradio would admit other origins."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        frame_origins = " ".join(door.allow_frames)
        self._set = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
        if not frame_origins:
            self._set["x-frame-options"] = "DENY"
        self._csp = f"frame-ancestors {frame_origins or chr(39) + 'none' + chr(39)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name in [name for name in headers if name.lower().startswith("access-control-")]:
                    del headers[name]
                for name, value in self._set.items():
                    headers[name] = value
                headers.append("content-security-policy", self._csp)  # in addition to one of the app's own: both apply
            await send(message)

        await self._app(scope, receive, send_with_headers)
