"""Who has come in: a random cookie per browser, and what it has sent so far."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from privlens.ui.door.settings import Door

KEPT = 2_000
"""Visits that are remembered; who came in the longest ago and has no page open is forgotten first."""


@dataclass
class Visit:
    """One browser. pages: how many of its pages are open now. uploaded: bytes so far."""

    pages: int = 0
    uploaded: int = 0


class Visits:
    """Visits by cookie, kept in memory alone."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._visits: OrderedDict[str, Visit] = OrderedDict()

    def of(self, scope: Scope) -> Visit | None:
        """The visit that a request belongs to."""
        cookies: SimpleCookie = SimpleCookie()
        for header in Headers(scope=scope).getlist("cookie"):
            try:
                cookies.load(header)
            except CookieError:
                continue
        cookie = cookies.get(_name(scope))
        visit = self._visits.get(cookie.value) if cookie else None
        if cookie and visit:
            self._visits.move_to_end(cookie.value)
        return visit

    def begin(self, scope: Scope, headers: MutableHeaders) -> Visit:
        """A new visit, whose cookie is set by those headers: not for scripts, and not sent along from other pages.

        Lax, not Strict: a link in a mail must not ask for the log-in again. In a frame of another page only None is sent.
        """
        if len(self._visits) >= KEPT:
            idle = next((key for key, visit in self._visits.items() if not visit.pages), next(iter(self._visits)))
            del self._visits[idle]
        key = secrets.token_urlsafe(32)
        self._visits[key] = visit = Visit()
        secure = scope["scheme"] == "https"
        site = "None" if self._door.allow_frames and secure else "Lax"
        cookie = f"{_name(scope)}={key}; Path={self._door.root_path or '/'}; HttpOnly; SameSite={site}"
        headers.append("set-cookie", cookie + "; Secure" * secure)
        return visit


def _name(scope: Scope) -> str:
    """Browsers keep one jar for all ports of a machine, so the port stands in the name."""
    return f"privlens-{(scope.get('server') or ('', 0))[1]}"
