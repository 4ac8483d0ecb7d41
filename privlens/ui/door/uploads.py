"""How much a visitor may send: no request is larger than the limit, nor all uploads of a visit than some times as much.

Uploads need a live visit: the cookie that the page sets, and its heartbeat, which is open as long as the page is. A stranger's
form, a program that never opened the page and a tab that is closed have none, so nobody fills the disk unseen.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from privlens.ui.door.pages import in_json
from privlens.ui.door.settings import MEGABYTE, UPLOADS, Door
from privlens.ui.door.visits import Visit, Visits
from privlens.ui.paths import below

FORM = 64 * 1024
"""Bytes that a form may add to the file in it."""
DISCARDED = 256 * MEGABYTE
"""Bytes of a file that is refused that are read all the same; whoever goes on sending is cut off."""


class Uploads:
    """Counts bodies as they come, whatever their header says."""

    def __init__(self, app: ASGIApp, door: Door, visits: Visits) -> None:
        self._app, self._door, self._visits = app, door, visits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, visit = below(scope["path"], self._door.root_path).rstrip("/"), self._visits.of(scope)
        if path.startswith("/gradio_api/heartbeat/") and visit:
            visit.pages += 1
            try:
                await self._app(scope, receive, send)
            finally:
                visit.pages -= 1
            return
        if not path and visit is None:
            send = self._beginning(scope, send)
        uploading = path == "/gradio_api/upload"
        if uploading and not (visit and visit.pages):
            words = "Files are taken from an open page alone: open the page and choose the file there."
            await in_json(403, words)(scope, receive, send)
            return
        await self._limited(scope, receive, send, visit if uploading else None)

    def _beginning(self, scope: Scope, send: Send) -> Send:
        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                self._visits.begin(scope, MutableHeaders(scope=message))
            await send(message)

        return with_cookie

    async def _limited(self, scope: Scope, receive: Receive, send: Send, visit: Visit | None) -> None:
        most = self._door.max_upload + FORM
        megabytes = f"{self._door.max_upload / MEGABYTE:g}"
        words = f"A file may have {megabytes} MB here; --max-upload allows more, where PrivLens is started."
        if visit and UPLOADS * self._door.max_upload - visit.uploaded < most:
            most = max(0, UPLOADS * self._door.max_upload - visit.uploaded)
            words = f"This visit has sent {UPLOADS} times {megabytes} MB, which is all; --max-upload allows more."
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > most:
            await _discard(receive)
            await in_json(413, words)(scope, receive, send)
            return
        size, cut, begun = 0, False, False

        async def counted() -> Message:
            nonlocal size, cut
            message = await receive()
            size += len(message.get("body", b""))
            if visit:
                visit.uploaded += len(message.get("body", b""))
            cut = cut or size > most
            if visit and (cut or (message["type"] == "http.disconnect" and not begun)):
                raise MultiPartException("The file was cut off.")  # gradio then deletes what it has of the file
            return {"type": "http.disconnect"} if cut else message

        async def unless_cut(message: Message) -> None:
            nonlocal begun
            if not cut:
                begun = True
                await send(message)

        try:
            await self._app(scope, counted, unless_cut)
        except Exception:
            if not cut:
                raise
        if cut and not begun:
            await _discard(receive)
            await in_json(413, words)(scope, receive, send)


async def _discard(receive: Receive) -> None:
    """Reads what still comes of a body, within limits: a proxy that cannot send all of it would not pass the answer on."""
    size, more = 0, True
    while more and size < DISCARDED:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
