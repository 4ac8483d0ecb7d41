"""Uploaded files: deleted once they were read or refused; each in its own folder, whose name nobody can guess."""

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
"""Seconds after which a file that was neither read nor downloaded is deleted: shorter keeps less on the disk, longer leaves
more time for a download."""


def once(handler: Handler) -> Handler:
    """For a listener whose last input is the path of an uploaded file: deletes the file once the listener is done with it."""

    @functools.wraps(handler)
    def handle_and_delete(*inputs: Any) -> Any:
        try:
            return handler(*inputs)
        finally:
            if inputs[-1]:
                forget(Path(inputs[-1]))

    return handle_and_delete


def is_gone(path: str | None) -> bool:
    """Whether a file was read and deleted before: a listener is called again e.g. when the browser redraws a component."""
    return bool(path) and not Path(str(path)).exists()


def forget(file: Path) -> None:
    """Deletes a file, and the folder that gradio made for it."""
    with suppress(OSError):
        file.unlink(missing_ok=True)
        if file.parent.resolve() != Path(get_upload_folder()).resolve():
            file.parent.rmdir()


class _SaltedUploadFile(route_utils.GradioUploadFile):
    """gradio names folders by a file's hash: two visitors' equal files share one, and the first deletion would hit both."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sha.update(secrets.token_bytes(32))


def keep_apart() -> None:
    """From now on stores each upload in its own folder, even if two have the same content."""
    route_utils.GradioUploadFile = _SaltedUploadFile  # type: ignore[misc]


def forget_unread(folder: Path, seconds: float = UNREAD) -> None:
    """Deletes every older file below a folder, including the remains of interrupted uploads."""
    oldest = time.time() - seconds
    for file in list(folder.rglob("*")):
        with suppress(OSError):
            status = file.lstat()
            if not file.is_dir() and status.st_mtime < oldest:
                forget(file)
