"""The package as a stranger installs it: a wheel in an environment of its own, used from another folder."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import httpx
import pytest

import privlens
from privlens.bench.serving import served
from privlens.bench.visitors import Page, Visitor
from privlens.ui.manual.pages import PAGES, PICTURES

ROOT = Path(__file__).parents[1]
KNOWN = ["--prompt", "Please charge the trip of Nicholas Carter to card", "--value", "1607 5994 4976 2074"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's commands. Dependencies are those of the tests, the package is the wheel."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    return home / "bin"


def test_the_wheel_holds_everything_that_the_package_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [path.relative_to(ROOT).as_posix() for folder in ("privlens", "assets") for path in (ROOT / folder).rglob("*.*")]
    needed = {f"privlens/{name}" if name.startswith("assets/") else name for name in files if "__pycache__" not in name}
    needed |= {f"privlens/docs/{name}" for name in (*(f"{page}.md" for page in PAGES), *PICTURES)}
    assert needed <= names
    assert f"privlens-{privlens.__version__}.dist-info/METADATA" in names
    assert not {name for name in names if name.startswith(("tests/", "docs/"))}


def test_the_command_works_from_another_folder(installed: Path, tmp_path: Path) -> None:
    where = [installed / "python", "-c", "import privlens; print(privlens.__file__)"]
    file = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert file.startswith(str(installed.parent))
    checked = subprocess.run([installed / "privlens", "check", *KNOWN, "--json"], cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(checked.stdout)["greedy_match"] is True


def test_the_page_of_the_installed_package_answers(installed: Path, tmp_path: Path) -> None:
    with served("demo", [installed / "privlens"], tmp_path) as (address, _), Visitor(Page(address)) as visitor:
        answer = visitor.press("check-start", prompt=KNOWN[1], value=KNOWN[3])
        manual = httpx.get(f"{address.rstrip('/')}/manual/glossary", timeout=60, trust_env=False)
    assert "1607 5994 4976 2074" in json.dumps(answer.shown)
    assert manual.status_code == 200 and "exposure" in manual.text
