"""The folder of a process: whose it is, what of others it leaves alone, and what of the dead it removes."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from privlens.process import temporary
from privlens.process.temporary import TEMP_DIR_VARIABLE, USER, is_own, process_temp_folder, remove_left_behind

DEAD = 2**22 + 1
"""No process has such a number."""


def left(parent: Path, pid: int, started: int, user: int = USER) -> Path:
    folder = parent / f"privlens-{user}-{pid}-{started}-abc"
    (folder / "opened").mkdir(parents=True)
    (folder / "opened" / "mine.csv").write_text("secret")
    return folder


def test_inside_everything_temporary_is_in_it_and_after_it_all_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TEMP_DIR_VARIABLE, str(tmp_path / "made"))
    monkeypatch.delenv("TMPDIR", raising=False)
    before = tempfile.gettempdir()
    with suppress(KeyError), process_temp_folder() as folder:
        assert folder.parent == tmp_path / "made" and folder.stat().st_mode & 0o777 == 0o700
        assert Path(os.environ[TEMP_DIR_VARIABLE]).parent == folder == Path(tempfile.gettempdir()).parent
        assert is_own(Path(os.environ[TEMP_DIR_VARIABLE])) and not is_own(tmp_path)
        raise KeyError
    assert not folder.exists() and os.environ[TEMP_DIR_VARIABLE] == str(tmp_path / "made")
    assert tempfile.gettempdir() == before and "TMPDIR" not in os.environ


def test_only_folders_of_dead_processes_of_this_user_are_removed(tmp_path: Path) -> None:
    now = int(psutil.Process().create_time())
    living = left(tmp_path, os.getpid(), now)
    another = left(tmp_path, DEAD, now, USER + 1)
    foreign = tmp_path / "privlens-reports"
    foreign.mkdir()
    dead, same_number = left(tmp_path, DEAD, now), left(tmp_path, os.getpid(), now - 3600)
    target = tmp_path / "target"
    left(target, DEAD, now)
    link = tmp_path / f"privlens-{USER}-{DEAD}-{now}-link"
    link.symlink_to(target)
    (dead / "opened" / "link").symlink_to(target)
    remove_left_behind(tmp_path)
    assert living.exists() and another.exists() and foreign.exists() and link.is_symlink()
    assert not dead.exists() and not same_number.exists()
    assert len(list(target.rglob("mine.csv"))) == 1, "no link is followed"


def test_what_a_process_holds_stays_even_if_its_number_is_not_known_here(tmp_path: Path) -> None:
    folder = left(tmp_path, DEAD, 1)
    held = temporary._try_lock(folder)
    assert held is not None
    remove_left_behind(tmp_path)
    assert folder.exists(), "as where two containers share a folder"
    os.close(held)
    remove_left_behind(tmp_path)
    assert not folder.exists()
