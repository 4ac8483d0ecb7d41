"""One folder for all temporary files of this process, which nobody else may look into, and which is gone when it ends.

A process that was killed cannot clean up, so the next one does: it removes the folders of processes that are no more. The name
of a folder says whose it is, and while a process lives it holds a lock on its folder as well, which is seen from containers too
that share the folder but not the numbers of processes.
"""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PARENT = "GRADIO_TEMP_DIR"
"""The variable by which an administrator says where temporary files go; gradio itself is then given our folder by it."""
USER = getattr(os, "getuid", lambda: 0)()
NAME = re.compile(rf"privlens-{USER}-(?P<pid>\d+)-(?P<started>\d+)-\w+")
OPENED = "opened"
"""The part of the folder for what visitors open and save."""
CLOSE = 2
"""Seconds: two looks at when a process was started may differ by a moment, where the clock was set between them."""


@contextmanager
def own_folder() -> Iterator[Path]:
    """Makes the folder, and has gradio and `tempfile` put everything there. Import gradio inside, as it looks only once.

    Raises:
        OSError: where no folder can be made.
    """
    parent = Path(os.environ.get(PARENT) or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    remove_left_behind(parent)
    me = psutil.Process()
    folder = Path(tempfile.mkdtemp(prefix=f"privlens-{USER}-{me.pid}-{int(me.create_time())}-", dir=parent)).resolve()
    held = _locked(folder)
    before = {name: os.environ.get(name) for name in (PARENT, "TMPDIR")}, tempfile.tempdir
    opened, other = folder / OPENED, folder / "other"
    for part in (opened, other):
        part.mkdir(mode=0o700)
    os.environ |= {PARENT: str(opened), "TMPDIR": str(other)}
    tempfile.tempdir = str(other)
    try:
        yield folder
    finally:
        variables, tempfile.tempdir = before
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        remove(folder)
        if held is not None:
            os.close(held)


def is_own(folder: Path) -> bool:
    """Whether all files in gradio's folder are ours, and may be deleted."""
    return folder.name == OPENED and NAME.fullmatch(folder.parent.name) is not None


def remove(folder: Path) -> None:
    """Removes a folder of ours; what another thread writes there meanwhile goes with the second try."""
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)


def remove_left_behind(parent: Path) -> None:
    """Removes the folders of this user's processes that live no more. Follows no links, and touches nothing else."""
    for folder in parent.iterdir():
        name = NAME.fullmatch(folder.name)
        with suppress(OSError):
            about = folder.lstat()
            if name is None or not stat.S_ISDIR(about.st_mode) or getattr(about, "st_uid", USER) != USER:
                continue
            if _lives(int(name["pid"]), int(name["started"])):
                continue
            held = _locked(folder)
            if held is not None or fcntl is None:
                remove(folder)
            if held is not None:
                os.close(held)


def _lives(pid: int, started: int) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - started) <= CLOSE and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _locked(folder: Path) -> int | None:
    """Holds a folder until the number that is returned is closed, or the process ends. None where another holds it."""
    if fcntl is None:
        return None
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(number)
        return None
    return number
