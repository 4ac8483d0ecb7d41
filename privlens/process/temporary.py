"""One private folder for all temporary files of this process, which is removed when the process ends.

A process that was killed cannot clean up, so the next one removes the folders of processes that no longer run. A folder's name
says which process it belongs to. A running process also holds a lock on its folder, which works across containers that share the
folder but not the process ids.
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

TEMP_DIR_VARIABLE = "GRADIO_TEMP_DIR"
"""The variable with which an administrator sets where temporary files go; we then set it to our folder for gradio."""
USER = getattr(os, "getuid", lambda: 0)()
NAME = re.compile(rf"privlens-{USER}-(?P<pid>\d+)-(?P<started>\d+)-\w+")
VISITOR_FILES = "opened"
"""The subfolder for files that visitors open and save."""
CREATION_TOLERANCE = 2
"""Seconds by which two readings of a process's start time may differ, if the clock was set between them."""


@contextmanager
def process_temp_folder() -> Iterator[Path]:
    """Creates the folder and makes gradio and `tempfile` use it. Import gradio inside, since it reads the variable only once.

    Raises:
        OSError: if no folder can be created.
    """
    parent = Path(os.environ.get(TEMP_DIR_VARIABLE) or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    remove_left_behind(parent)
    process = psutil.Process()
    prefix = f"privlens-{USER}-{process.pid}-{int(process.create_time())}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent)).resolve()
    lock = _try_lock(folder)
    original_variables = {name: os.environ.get(name) for name in (TEMP_DIR_VARIABLE, "TMPDIR")}
    original_tempdir = tempfile.tempdir
    visitor_files = folder / VISITOR_FILES
    other_files = folder / "other"
    for subfolder in (visitor_files, other_files):
        subfolder.mkdir(mode=0o700)
    os.environ |= {TEMP_DIR_VARIABLE: str(visitor_files), "TMPDIR": str(other_files)}
    tempfile.tempdir = str(other_files)
    try:
        yield folder
    finally:
        tempfile.tempdir = original_tempdir
        for name, value in original_variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        remove(folder)
        if lock is not None:
            os.close(lock)


def is_own(folder: Path) -> bool:
    """Whether this is our subfolder for gradio, so that all files in it are ours and may be deleted."""
    return folder.name == VISITOR_FILES and NAME.fullmatch(folder.parent.name) is not None


def remove(folder: Path) -> None:
    """Removes one of our folders; the second try removes what another thread writes there during the first."""
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)


def remove_left_behind(parent: Path) -> None:
    """Removes the folders of this user's processes that no longer run. Follows no links, and touches nothing else."""
    for folder in parent.iterdir():
        name = NAME.fullmatch(folder.name)
        with suppress(OSError):
            status = folder.lstat()
            if name is None or not stat.S_ISDIR(status.st_mode) or getattr(status, "st_uid", USER) != USER:
                continue
            if _is_running(int(name["pid"]), int(name["started"])):
                continue
            lock = _try_lock(folder)
            if lock is not None or fcntl is None:
                remove(folder)
            if lock is not None:
                os.close(lock)


def _is_running(pid: int, started: int) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - started) <= CREATION_TOLERANCE and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _try_lock(folder: Path) -> int | None:
    """Locks a folder until the returned descriptor is closed or the process ends; None if another process holds the lock."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
