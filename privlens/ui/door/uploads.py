"""Limits of what a visitor may send: the size of each request, and a multiple of it for all uploads of a visit.

Uploads need an open page: the cookie that the page sets, and its heartbeat, which stays connected while the page is open. A form
on another site, a program that never opened the page and a closed tab have none, so nobody fills the disk unseen.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from privlens.ui.door.pages import in_json
from privlens.ui.door.settings import MEGABYTE, UPLOADS, Door
from privlens.ui.door.visits import BrowserSession, BrowserSessions
from privlens.ui.paths import below

FORM = 64 * 1024
"""Bytes that a multipart form may add to the file in it."""
DISCARDED = 256 * MEGABYTE
"""Bytes of a refused file that are still read, so that a proxy can pass the answer on; a client that sends more is cut off."""


class Uploads:
    """Counts request bodies as they arrive, whatever their content-length says."""

    def __init__(self, app: ASGIApp, door: Door, sessions: BrowserSessions) -> None:
        self._app = app
        self._door = door
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = below(scope["path"], self._door.root_path).rstrip("/")
        session = self._sessions.find(scope)
        if path.startswith("/gradio_api/heartbeat/") and session:
            session.pages += 1
            try:
                await self._app(scope, receive, send)
            finally:
                session.pages -= 1
            return
        if not path and session is None:
            send = self._setting_cookie(scope, send)
        is_upload = path == "/gradio_api/upload"
        if is_upload and not (session and session.pages):
            message = "Files are accepted only from an open page: open the page and choose the file there."
            await in_json(403, message)(scope, receive, send)
            return
        await self._limited(scope, receive, send, session if is_upload else None)

    def _setting_cookie(self, scope: Scope, send: Send) -> Send:
        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                self._sessions.begin(scope, MutableHeaders(scope=message))
            await send(message)

        return send_with_cookie

    async def _limited(self, scope: Scope, receive: Receive, send: Send, session: BrowserSession | None) -> None:
        limit = self._door.max_upload + FORM
        megabytes = f"{self._door.max_upload / MEGABYTE:g}"
        error = f"A file may have at most {megabytes} MB; start PrivLens with --max-upload to allow more."
        if session and UPLOADS * self._door.max_upload - session.uploaded < limit:
            limit = max(0, UPLOADS * self._door.max_upload - session.uploaded)
            total = f"{UPLOADS} times {megabytes} MB"
            error = f"All files of a visit may have at most {total}; start PrivLens with --max-upload to allow more."
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > limit:
            await _discard(receive)
            await in_json(413, error)(scope, receive, send)
            return
        size = 0
        is_cut = False
        has_begun = False

        async def receive_counted() -> Message:
            nonlocal size, is_cut
            message = await receive()
            size += len(message.get("body", b""))
            if session:
                session.uploaded += len(message.get("body", b""))
            is_cut = is_cut or size > limit
            if session and (is_cut or (message["type"] == "http.disconnect" and not has_begun)):
                raise MultiPartException("The file was cut off.")  # gradio then deletes what it has of the file
            return {"type": "http.disconnect"} if is_cut else message

        async def send_unless_cut(message: Message) -> None:
            nonlocal has_begun
            if not is_cut:
                has_begun = True
                await send(message)

        try:
            await self._app(scope, receive_counted, send_unless_cut)
        except Exception:
            if not is_cut:
                raise
        if is_cut and not has_begun:
            await _discard(receive)
            await in_json(413, error)(scope, receive, send)


async def _discard(receive: Receive) -> None:
    """Reads the rest of a body, up to a limit: a proxy that cannot send all of it would not pass the answer on."""
    size = 0
    has_more = True
    while has_more and size < DISCARDED:
        message = await receive()
        size += len(message.get("body", b""))
        has_more = message.get("more_body", False)
