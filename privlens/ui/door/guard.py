"""The first check of a request: its Host, and the page that it comes from."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from privlens.ui.door.hosts import allowed_names, hostname, is_allowed
from privlens.ui.door.origins import is_own
from privlens.ui.door.pages import refused
from privlens.ui.door.settings import Door

FORWARDED = (b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")


class Guard:
    """Refuses other hosts and requests from other pages. Removes Origin and the headers of unknown proxies from the rest."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door
        self._names = allowed_names(door.host, door.allow_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        forwarded = headers.get("x-forwarded-host") if self._door.root_path else None
        host = (forwarded or "").split(",")[0].strip() or "".join(hosts[:1])
        if len(hosts) != 1 or not all(is_allowed(name, self._names, self._door.public) for name in {*hosts, host}):
            name = hostname(host) or "that name"
            message = (
                f"PrivLens does not accept requests for {name}. To allow this name, start PrivLens with --allow-host and the "
                "name; behind a reverse proxy, let the proxy pass the Host header on."
            )
            await refused(403, message)(scope, receive, send)
            return
        if not is_own(scope["method"], headers, host):
            message = (
                "This request comes from another page, and PrivLens accepts only requests from its own page. "
                "Behind a reverse proxy, let the proxy pass the Host header on with its port."
            )
            await refused(403, message)(scope, receive, send)
            return
        await self._app(self._cleaned(scope, headers), receive, send)

    def _cleaned(self, scope: Scope, headers: Headers) -> Scope:
        proxied = bool(self._door.root_path)
        if proxied and headers.get("x-forwarded-proto", "").split(",")[0].strip() == "https":
            scope = {**scope, "scheme": "https"}
        dropped = {b"origin", b"x-gradio-server", *(() if proxied else FORWARDED)}
        return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name not in dropped]}
