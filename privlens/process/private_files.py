"""Files that only their owner can read: mode 0600 before the first byte is written, and either complete or absent."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWNER_ONLY = 0o600
OWNER_ONLY_FOLDER = 0o700


@contextmanager
def private_file(path: str | Path) -> Iterator[Path]:
    """Yields a file to write to, which replaces `path` if the block succeeds and is removed if it does not.

    Anything but a plain file, such as /dev/stdout, is written to directly; so is a file in a folder where no other can be
    created. Raises OSError if it cannot be written.
    """
    target = Path(path).resolve()
    if target.exists() and not (target.is_file() and os.access(target.parent, os.W_OK)):
        if target.is_file():
            target.chmod(OWNER_ONLY)
        yield target
        return
    descriptor, name = tempfile.mkstemp(prefix=".privlens-", dir=target.parent)  # 0600 regardless of the umask
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(OWNER_ONLY)  # the block may have recreated it
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_private(path: str | Path, text: str) -> None:
    """Writes a private file in UTF-8. Raises OSError if it cannot be written."""
    with private_file(path) as file:
        file.write_text(text, encoding="utf-8")


def append_private(path: str | Path, text: str) -> None:
    """Writes a text behind what a file holds, and makes the file where there is none. Raises OSError."""
    number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, OWNER_ONLY)
    with os.fdopen(number, "a", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def private_folder(path: Path) -> Iterator[None]:
    """For code that writes many files: others cannot open the folder while it writes, nor read the files afterwards."""
    path.mkdir(mode=OWNER_ONLY_FOLDER, exist_ok=True)
    path.chmod(OWNER_ONLY_FOLDER)
    yield
    for file in path.rglob("*"):
        if not file.is_symlink():
            file.chmod(OWNER_ONLY_FOLDER if file.is_dir() else OWNER_ONLY)
