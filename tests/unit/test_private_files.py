"""What may hold secrets is readable by its owner alone, whoever of us writes it, and whole or not there."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from privlens.cli import inputs
from privlens.lm.edit_files import load_edit, save_edit
from privlens.lm.export import write_model
from privlens.lm.model import LanguageModel
from privlens.process.private_files import private_file, write_private
from privlens.ui.tabs.erase.edit_list import written
from privlens.zoo.catalogue import last_used, remember
from privlens.zoo.packaged import cache_folder
from tests.helpers import edit_of


@pytest.fixture(autouse=True)
def _everybody_may_read() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Of every file below a folder."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.rglob("*") if file.is_file()}


WRITERS: dict[str, Callable[[LanguageModel, Path], object]] = {
    "result of a command": lambda _, folder: inputs.write(folder / "found.json", "{}"),
    "edit": lambda lm, folder: save_edit(edit_of(lm, 1), folder / "edit.safetensors"),
    "edit of the page": lambda lm, folder: written(edit_of(lm, 1), str(folder)),
    "model": lambda lm, folder: write_model(lm, folder / "model"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_makes_files_for_their_owner_alone(writer: str, lm: LanguageModel, tmp_path: Path) -> None:
    WRITERS[writer](lm, tmp_path)
    assert modes(tmp_path) and set(modes(tmp_path).values()) == {0o600}
    assert all(stat.S_IMODE(part.stat().st_mode) == 0o700 for part in tmp_path.iterdir() if part.is_dir())


def test_which_models_were_used_is_for_their_user_alone() -> None:
    remember("mine", "cpu", "auto")
    assert stat.S_IMODE((cache_folder() / "last-used.json").stat().st_mode) == 0o600
    assert last_used()[0].name == "mine"


def test_a_file_that_everybody_could_read_is_theirs_no_more(lm: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "edit.safetensors"
    path.write_text("old")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    save_edit(edit_of(lm, 2), path)
    assert modes(tmp_path) == {path.name: 0o600}
    assert load_edit(path).changes.keys() == edit_of(lm, 2).changes.keys()


def test_a_writer_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text("before")
    with suppress(ZeroDivisionError), private_file(path) as file:
        file.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_link_leads_to_the_file_and_a_device_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    link.symlink_to(target)
    write_private(link, "new")
    assert link.is_symlink() and target.read_text() == "new" and not target.is_symlink()
    write_private("/dev/null", "nothing")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and stat.S_IMODE(os.stat("/dev/null").st_mode) == 0o666
