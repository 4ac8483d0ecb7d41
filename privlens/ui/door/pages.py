"""The two pages shown to visitors who are not admitted: a refusal, and the log-in. They need no script and no other file."""

from html import escape

from starlette.responses import HTMLResponse, JSONResponse, Response

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="referrer" content="same-origin"><title>PrivLens: {title}</title>
<style>:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 10vh auto; padding: 0 1rem; }}
label, button {{ display: block; margin-top: 1rem; }} input {{ display: block; width: 100%; }} input, button {{ font: inherit; }}
</style></head><body><main><h1>{title}</h1><p>{message}</p>{form}</main></body></html>"""
TOKEN = """<label>Token <input name="token" type="password" autocomplete="off" autofocus required></label>"""
USER = """<label>User <input name="username" autocomplete="username" autofocus required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>"""


def refused(status: int, message: str, title: str = "Access denied") -> Response:
    """A page that says why the request was refused."""
    return HTMLResponse(PAGE.format(title=escape(title), message=escape(message), form=""), status)


def login_page(action: str, by_token: bool, by_user: bool, status: int = 401, message: str = "") -> Response:
    """The log-in page: a form for the token, one for users, or both, depending on what unlocks the page."""
    credentials = ", or ".join(
        ["the token that was printed when the page was started"] * by_token + ["your user name and password"] * by_user
    )
    form = "".join(
        f'<form method="post" action="{escape(action)}">{fields}<button>Log in</button></form>'
        for fields in [TOKEN] * by_token + [USER] * by_user
    )
    text = PAGE.format(title="Log in", message=escape(message or f"This page is locked. Enter {credentials}."), form=form)
    return HTMLResponse(text, status, {"Cache-Control": "no-store"})


def in_json(status: int, message: str) -> Response:
    """An error message for a program."""
    return JSONResponse({"detail": message}, status)
