"""Sessions of browsers: a random cookie for each, and how much it has uploaded so far."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from privlens.ui.door.settings import Door

KEPT = 2_000
"""Sessions in memory, a bound on what strangers can fill; the least recently used one without an open page is dropped first."""


@dataclass
class BrowserSession:
    """One browser. pages: how many of its pages are open now. uploaded: bytes so far."""

    pages: int = 0
    uploaded: int = 0


class BrowserSessions:
    """Sessions by cookie, kept only in memory."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._sessions: OrderedDict[str, BrowserSession] = OrderedDict()

    def find(self, scope: Scope) -> BrowserSession | None:
        """The session that a request belongs to."""
        cookies: SimpleCookie = SimpleCookie()
        for header in Headers(scope=scope).getlist("cookie"):
            try:
                cookies.load(header)
            except CookieError:
                continue
        cookie = cookies.get(_cookie_name(scope))
        session = self._sessions.get(cookie.value) if cookie else None
        if cookie and session:
            self._sessions.move_to_end(cookie.value)
        return session

    def begin(self, scope: Scope, headers: MutableHeaders) -> BrowserSession:
        """A new session, whose cookie these headers set: not readable by scripts, and not sent with requests from other pages.

        Lax, not Strict: a link in a mail must not ask for the log-in again. In a frame of another page browsers send only None.
        """
        if len(self._sessions) >= KEPT:
            idle = next((key for key, session in self._sessions.items() if not session.pages), next(iter(self._sessions)))
            del self._sessions[idle]
        key = secrets.token_urlsafe(32)
        self._sessions[key] = session = BrowserSession()
        is_https = scope["scheme"] == "https"
        same_site = "None" if self._door.allow_frames and is_https else "Lax"
        cookie = f"{_cookie_name(scope)}={key}; Path={self._door.root_path or '/'}; HttpOnly; SameSite={same_site}"
        headers.append("set-cookie", cookie + "; Secure" * is_https)
        return session


def _cookie_name(scope: Scope) -> str:
    """Browsers share cookies between all ports of a machine, so the name contains the port."""
    return f"privlens-{(scope.get('server') or ('', 0))[1]}"
