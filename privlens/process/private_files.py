"""Files that nobody but their owner may read: mode 0600 before the first byte is in them, and whole or not there at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWNER_ONLY, FOLDER_OF_OWNER = 0o600, 0o700


@contextmanager
def private_file(path: str | Path) -> Iterator[Path]:
    """Gives a file to write to, which takes the place of `path` where the block goes well, and is gone where it does not.

    What is no plain file, such as /dev/stdout, is written to as it is; so is a file in a folder that takes no further one.
    Raises OSError where nothing can be written.
    """
    target = Path(path).resolve()
    if target.exists() and not (target.is_file() and os.access(target.parent, os.W_OK)):
        if target.is_file():
            target.chmod(OWNER_ONLY)
        yield target
        return
    number, name = tempfile.mkstemp(prefix=".privlens-", dir=target.parent)  # is 0600, whatever the umask
    os.close(number)
    new = Path(name)
    try:
        yield new
        new.chmod(OWNER_ONLY)  # whoever wrote it may have made it anew
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


def write_private(path: str | Path, text: str) -> None:
    """Writes a text in UTF-8. Raises OSError."""
    with private_file(path) as file:
        file.write_text(text, encoding="utf-8")


def append_private(path: str | Path, text: str) -> None:
    """Writes a text behind what a file holds, and makes the file where there is none. Raises OSError."""
    number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, OWNER_ONLY)
    with os.fdopen(number, "a", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def private_folder(path: Path) -> Iterator[None]:
    """For what writes many files by itself: nobody else may look into the folder meanwhile, nor read the files afterwards."""
    path.mkdir(mode=FOLDER_OF_OWNER, exist_ok=True)
    path.chmod(FOLDER_OF_OWNER)
    yield
    for file in path.rglob("*"):
        if not file.is_symlink():
            file.chmod(FOLDER_OF_OWNER if file.is_dir() else OWNER_ONLY)
