"""The routes of the manual, beside those of the page."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from privlens.resources import DOCS
from privlens.ui.manual.pages import PAGES, PICTURES
from privlens.ui.manual.render import rendered

PATH = "/manual"
POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""No script, and nothing from elsewhere, whatever a page says."""


class Manual:
    """What is served beside the page (`door.Beside`); only the names of PAGES and PICTURES are, so no path leads out of them."""

    def __init__(self) -> None:
        self.routes: Sequence[BaseRoute] = [Route(PATH + "/{name:path}", answer)]
        self.lifespan: Callable[[], AbstractAsyncContextManager[None]] = nullcontext  # nothing has to be running for it


def answer(request: Request) -> Response:
    """A page, or a picture on one."""
    name = request.path_params["name"]
    if name in PICTURES:
        return FileResponse(DOCS / name)
    if name not in PAGES:
        raise HTTPException(404)
    return HTMLResponse(rendered(name), headers={"Content-Security-Policy": POLICY})
