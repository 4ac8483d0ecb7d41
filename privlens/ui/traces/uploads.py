"""Uploaded files: gone once they were read, or could not be; each in a place of its own, that nobody can guess."""

import functools
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gradio import route_utils
from gradio.utils import get_upload_folder

Handler = Callable[..., Any]
UNREAD = 600
"""Seconds after which a file goes that nobody came to read, or to fetch."""


def once(handler: Handler) -> Handler:
    """A listener whose last input is an uploaded file's path: the file is deleted as soon as the listener has read it."""

    @functools.wraps(handler)
    def reading(*given: Any) -> Any:
        try:
            return handler(*given)
        finally:
            if given[-1]:
                forget(Path(given[-1]))

    return reading


def is_gone(path: str | None) -> bool:
    """Whether a listener was called again for a file that was read before, as where a browser draws a part anew."""
    return bool(path) and not Path(str(path)).exists()


def forget(file: Path) -> None:
    """Deletes a file, and the folder that gradio made for it alone."""
    with suppress(OSError):
        file.unlink(missing_ok=True)
        if file.parent.resolve() != Path(get_upload_folder()).resolve():
            file.parent.rmdir()


class _Apart(route_utils.GradioUploadFile):
    """gradio puts equal files of two visitors into one place, so that one would lose what the other has read."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.sha.update(secrets.token_bytes(32))


def keep_apart() -> None:
    """From now on."""
    route_utils.GradioUploadFile = _Apart  # type: ignore[misc]


def forget_unread(folder: Path, seconds: float = UNREAD) -> None:
    """Deletes every file below a folder that is older, also what is left of an upload that broke off."""
    oldest = time.time() - seconds
    for file in list(folder.rglob("*")):
        with suppress(OSError):
            about = file.lstat()
            if not file.is_dir() and about.st_mtime < oldest:
                forget(file)
