"""The lock: a token, as Jupyter Server has it, or users with passwords. Whoever has shown one keeps a cookie."""

import hmac
from urllib.parse import parse_qsl, urlencode

import anyio
from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from privlens.ui.door.pages import in_json, login_page
from privlens.ui.door.passwords import verified
from privlens.ui.door.settings import Door
from privlens.ui.door.visits import Visits
from privlens.ui.paths import below

STARTED = "/gradio_api/startup-events"
"""gradio asks itself for it before the address is told. It starts the queue once, and answers true or false."""
LONGEST_FORM = 10_000
"""Bytes."""


class Login:
    """Lets nobody past without the token, a user's password, or the cookie of a visit that showed one; open where the door is.

    It stands before all of gradio, whose own `auth` leaves its heartbeat, cancel, reset and monitoring open, and works
    a password out on the thread that serves everybody.
    """

    def __init__(self, app: ASGIApp, door: Door, visits: Visits) -> None:
        self._app, self._door, self._visits = app, door, visits
        self._turn = anyio.CapacityLimiter(1)  # argon2 takes 64 MB and a core: one guess at a time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = below(scope["path"], self._door.root_path)
        if not self._door.locked or path == STARTED or self._visits.of(scope) or self._by_header(Headers(scope=scope)):
            if path == "/" and "token=" in scope["query_string"].decode("latin-1"):
                await self._page_without_token(scope)(scope, receive, send)
            else:
                await self._app(scope, receive, send)
            return
        answer = await self._asked(Request(scope, receive), path)
        await answer(scope, receive, send)

    def _is_token(self, text: str) -> bool:
        return bool(self._door.token) and hmac.compare_digest(text.encode(), self._door.token.encode())

    def _by_header(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() in ("bearer", "token") and self._is_token(token.strip())

    def _page_without_token(self, scope: Scope) -> Response:
        rest = [(name, text) for name, text in parse_qsl(scope["query_string"].decode("latin-1")) if name != "token"]
        # Always the page's own path: no address that a stranger made up is followed.
        query = "?" + urlencode(rest) if rest else ""
        return RedirectResponse(f"{self._door.root_path}/{query}", 303, {"Cache-Control": "no-store"})

    async def _asked(self, request: Request, path: str) -> Response:
        """The answer to somebody who has not come in yet: the page, where a token or password is right, or the form."""
        if request.method == "POST" and path.rstrip("/") == "/login":
            return await self._posted(request)
        if request.method in ("GET", "HEAD") and path == "/":
            token = request.query_params.get("token", "")
            if self._is_token(token):
                answer = self._page_without_token(request.scope)
                self._visits.begin(request.scope, answer.headers)
                return answer
            return self._form("That token is not right: the one that is printed when PrivLens starts is needed." if token else "")
        return in_json(401, "Log in first: open the page, or send the header Authorization: Bearer and the token.")

    def _form(self, words: str = "") -> Response:
        return login_page(f"{self._door.root_path}/login", bool(self._door.token), bool(self._door.users), words=words)

    async def _posted(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_FORM:
                return self._form("That is too long.")
        fields = dict(parse_qsl(body.decode("latin-1"), encoding="utf-8"))
        if "token" in fields:
            right = self._is_token(fields["token"].strip())
        else:
            user, password = fields.get("username", "").strip(), fields.get("password", "")
            users = self._door.users
            right = bool(users) and await to_thread.run_sync(verified, users, user, password, limiter=self._turn)
        if not right:
            return self._form("That token is not right." if "token" in fields else "User or password is not right.")
        in_browser = "text/html" in request.headers.get("accept", "")
        answer = self._page_without_token(request.scope) if in_browser else JSONResponse({"success": True})
        self._visits.begin(request.scope, answer.headers)
        return answer
