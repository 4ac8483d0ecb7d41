"""The log-in: a token, as in Jupyter Server, or users with passwords. Whoever has logged in gets a cookie."""

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
from privlens.ui.door.visits import BrowserSessions
from privlens.ui.paths import below

STARTED = "/gradio_api/startup-events"
"""gradio requests this from itself before it reports the address. It starts the queue once, and returns true or false."""
LONGEST_FORM = 10_000
"""Bytes of a log-in form: far more than a token or a password needs, and little enough to read from strangers."""


class Login:
    """Requires the token, a user's password, or the cookie of an earlier log-in; admits everyone if neither is set.

    It wraps all of gradio, whose own `auth` leaves heartbeat, cancel, reset and monitoring open, and verifies passwords on the
    thread that serves everybody.
    """

    def __init__(self, app: ASGIApp, door: Door, sessions: BrowserSessions) -> None:
        self._app = app
        self._door = door
        self._sessions = sessions
        self._limiter = anyio.CapacityLimiter(1)  # argon2 takes 64 MB and a core: one guess at a time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = below(scope["path"], self._door.root_path)
        if not self._door.locked or path == STARTED or self._sessions.find(scope) or self._has_token(Headers(scope=scope)):
            if path == "/" and "token=" in scope["query_string"].decode("latin-1"):
                await self._page_without_token(scope)(scope, receive, send)
            else:
                await self._app(scope, receive, send)
            return
        response = await self._respond(Request(scope, receive), path)
        await response(scope, receive, send)

    def _is_token(self, text: str) -> bool:
        return bool(self._door.token) and hmac.compare_digest(text.encode(), self._door.token.encode())

    def _has_token(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() in ("bearer", "token") and self._is_token(token.strip())

    def _page_without_token(self, scope: Scope) -> Response:
        fields = [(name, value) for name, value in parse_qsl(scope["query_string"].decode("latin-1")) if name != "token"]
        # Always the page's own path, so that no link can redirect elsewhere.
        query = "?" + urlencode(fields) if fields else ""
        return RedirectResponse(f"{self._door.root_path}/{query}", 303, {"Cache-Control": "no-store"})

    async def _respond(self, request: Request, path: str) -> Response:
        """The response before log-in: a redirect to the page if the token or password is right, otherwise the form."""
        if request.method == "POST" and path.rstrip("/") == "/login":
            return await self._check_form(request)
        if request.method in ("GET", "HEAD") and path == "/":
            token = request.query_params.get("token", "")
            if self._is_token(token):
                response = self._page_without_token(request.scope)
                self._sessions.begin(request.scope, response.headers)
                return response
            return self._form("That token is not right: use the one that is printed when PrivLens starts." if token else "")
        return in_json(401, "Log in first: open the page, or send the header Authorization: Bearer TOKEN.")

    def _form(self, message: str = "") -> Response:
        return login_page(f"{self._door.root_path}/login", bool(self._door.token), bool(self._door.users), message=message)

    async def _check_form(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_FORM:
                return self._form("That input is too long.")
        fields = dict(parse_qsl(body.decode("latin-1"), encoding="utf-8"))
        if "token" in fields:
            is_valid = self._is_token(fields["token"].strip())
        else:
            user = fields.get("username", "").strip()
            password = fields.get("password", "")
            users = self._door.users
            is_valid = bool(users) and await to_thread.run_sync(verified, users, user, password, limiter=self._limiter)
        if not is_valid:
            return self._form("That token is not right." if "token" in fields else "The user name or the password is not right.")
        is_browser = "text/html" in request.headers.get("accept", "")
        response = self._page_without_token(request.scope) if is_browser else JSONResponse({"success": True})
        self._sessions.begin(request.scope, response.headers)
        return response
