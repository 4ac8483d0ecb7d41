"""What the documentation shows is run: doctests of its pages, and the recipes for a method and a tab."""

import doctest
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privlens import localization
from privlens.erasure import ERASURE_INFO, ERASURE_METHODS
from privlens.lm.model import LanguageModel
from privlens.localization import METHOD_INFO, Task, result_of
from tests.docs.pages import DOCS, ROOT, blocks
from tests.helpers import SECRET

WITH_DOCTESTS = [page for page in DOCS if any(">>>" in block for block in blocks(page, "python"))]


@pytest.mark.parametrize("page", WITH_DOCTESTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_doctests(page: Path, demo: LanguageModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    example = "\n".join(block for block in blocks(page, "python") if ">>>" in block)
    parsed = doctest.DocTestParser().get_doctest(example, {}, page.name, str(page), 0)
    outcome = doctest.DocTestRunner().run(parsed)
    assert outcome.failed == 0, capsys.readouterr().out
    assert outcome.attempted


def test_the_recipe_of_a_method(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    [source] = blocks(ROOT / "docs/extend/method.md", "python")
    module: dict[str, Any] = {}
    exec(source, module)
    monkeypatch.setitem(localization.METHODS, "absolute-gradient", module["absolute_gradient"])
    found, signed = (result_of(name, Task(lm, SECRET)).scores for name in ("absolute-gradient", "gradient"))
    np.testing.assert_allclose(found, np.abs(signed), rtol=1e-4, atol=1e-6)
    assert signed.min() < 0 < found.max()


BUILT = """
import sys
import gradio as gr
from privlens.ui.sidebar.panel import sidebar
from privlens.ui.state.session import ModelCache, ModelName
module = {}
exec(sys.stdin.read(), module)
with gr.Blocks() as page:
    shelf = ModelCache(ModelName("demo", "cpu", "auto"))
    side = sidebar(shelf)
    module["length_tab"](shelf, side)
print(*sorted(str(block.elem_id) for block in page.blocks.values() if str(block.elem_id).startswith("length-")))
"""


def test_the_recipe_of_a_tab() -> None:
    """In a process of its own: gradio leaves what it opened to the garbage collector."""
    [source] = blocks(ROOT / "docs/extend/tab.md", "python")
    built = subprocess.run([sys.executable, "-c", BUILT], cwd=ROOT, input=source, capture_output=True, text=True)
    assert built.stdout.split() == ["length-cancel", "length-facts", "length-progress", "length-start"], built.stderr


@pytest.mark.parametrize("page", sorted((ROOT / "docs/extend").glob("*.md")), ids=lambda page: page.stem)
def test_a_recipe_is_short(page: Path) -> None:
    assert len(page.read_text(encoding="utf-8").splitlines()) < 40


def rows(page: str, columns: int) -> list[tuple[str, ...]]:
    """The first table of a page that has so many columns and names of methods in the first; without its heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^\| (?:[a-z-]+) \|" + r" [^|\n]+ \|" * (columns - 1) + "$", text, re.MULTILINE)
    return [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in found]


def test_the_table_of_methods_is_what_the_program_says() -> None:
    assert rows("docs/methods.md", 4)[1:] == [(name, info.meaning, info.unit, info.cost) for name, info in METHOD_INFO.items()]


def test_the_table_of_erasers_is_what_the_program_says() -> None:
    table = [row for row in rows("docs/erasing.md", 2) if row[0] in ERASURE_INFO]
    assert table == [(name, info.meaning) for name, info in ERASURE_INFO.items()]
    assert tuple(ERASURE_INFO) == ERASURE_METHODS


def test_every_method_and_eraser_has_its_place() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    methods = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    table = readme.split("## Methods")[1].split("## Your own model")[0]
    for name in (*METHOD_INFO, *ERASURE_INFO):
        assert re.search(rf"[ ,|]{name}[,;| ]", table), f"the README's table has no {name}"
    for name in METHOD_INFO:
        assert methods.count(f"`{name}`") >= 1, f"docs/methods.md does not explain {name}"
