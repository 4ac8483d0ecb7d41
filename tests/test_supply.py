"""What PrivLens runs on: the lock files are those of the requirements, every file of a package has a hash, licences are known."""

import re
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
LOCKS = ("requirements.lock", "requirements-cuda.lock", "requirements-dev.lock")
CPU = "requirements-cpu.lock"
ENTRY = re.compile(r"[\w.-]+==[\w.!+-]+(?: ; [^\\\n]+?)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+")
LICENCES = [sys.executable, ROOT / ".ci" / "licences"]


def entries(lock: str) -> list[str]:
    """A lock file's packages, each with its hashes."""
    lines = [line for line in (ROOT / lock).read_text().splitlines() if not line.startswith(("#", "-r "))]
    return re.split(r"\n(?=\S)", "\n".join(lines))


def pins(lines: list[str], **environment: str) -> dict[str, str]:
    """The versions that lines name where their markers hold."""
    wanted = [Requirement(line.split(" \\")[0]) for line in lines if line and not line.startswith(("#", "-r "))]
    active = [one for one in wanted if one.marker is None or one.marker.evaluate(environment or None)]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in active}


def locked(*names: str, **environment: str) -> dict[str, str]:
    return pins([entry for name in names for entry in entries(name)], **environment)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(("required", "locks"), [("requirements.txt", LOCKS[:2]), ("requirements-dev.txt", LOCKS)])
def test_every_pin_is_locked_at_its_version(required: str, locks: tuple[str, ...], python: str) -> None:
    linux = {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    asked = pins((ROOT / required).read_text().splitlines(), **linux)
    assert len(asked) >= 9
    found = locked(*locks, **linux)
    assert {name: found.get(name) for name in asked} == asked, "run .ci/lock"


@pytest.mark.parametrize(("lock", "least"), [(CPU, 1), *((lock, 15) for lock in LOCKS)])
def test_every_entry_of_a_lock_file_names_one_version_and_hashes(lock: str, least: int) -> None:
    assert [entry for entry in entries(lock) if not ENTRY.fullmatch(entry)] == []
    assert len(entries(lock)) >= least


def test_torch_without_cuda_is_of_the_same_version() -> None:
    assert locked(CPU) == {"torch": f"{locked(LOCKS[0])['torch']}+cpu"}


def test_no_package_that_is_locked_asks_for_one_that_is_not() -> None:
    found = locked(*LOCKS)
    for name in found:
        if name.startswith(("nvidia-", "cuda-", "triton")):
            continue  # not installed beside torch's build for CPUs
        needs = [
            need for need in map(Requirement, requires(name) or []) if need.marker is None or need.marker.evaluate({"extra": ""})
        ]
        assert {canonicalize_name(need.name) for need in needs} <= set(found), name


def test_the_tests_run_on_the_versions_that_are_locked() -> None:
    expected = locked("requirements.lock", "requirements-dev.lock")
    assert {name: version(name).split("+")[0] for name in expected} == expected, "run .ci/venv requirements-dev.lock"


def test_every_package_is_listed_with_a_licence_that_is_allowed() -> None:
    done = subprocess.run(LICENCES, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = dict(line.split("\t")[::2] for line in done.stdout.splitlines())
    assert rows["torch"].startswith("Apache-2.0 AND") and rows["rapidfuzz"] == "MIT" and rows["gguf"] == "MIT License"
    assert [name for name in locked("requirements.lock") if not rows[name]] == []


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ("License: GPL-3.0-only", "strange (GPL-3.0-only)"),
        ("License-Expression: MIT AND AGPL-3.0-or-later", "strange (MIT AND AGPL-3.0-or-later)"),
        ("License-Expression: LicenseRef-NVIDIA", "strange (LicenseRef-NVIDIA)"),
        ("Summary: none", "strange (no licence named)"),
    ],
)
def test_a_licence_that_is_not_allowed_is_told(about: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "strange-1.dist-info").mkdir()
    (tmp_path / "strange-1.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: strange\nVersion: 1\n{about}\n")
    done = subprocess.run(LICENCES, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr == f"Not among the licences that are allowed: {told}.\n"
    assert f"strange\t1\t{told[9:-1].removeprefix('no licence named')}\n" in done.stdout
