"""The README: short, and its example runs on the bundled model as it stands."""

import doctest
import re

import pytest

from privlens.lm.model import LanguageModel
from tests.docs.pages import ROOT, blocks


def test_it_has_fewer_than_200_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


def test_the_example_runs(demo: LanguageModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    [example] = blocks(ROOT / "README.md", "python")
    parsed = doctest.DocTestParser().get_doctest(example, {}, "README.md", "README.md", 0)
    outcome = doctest.DocTestRunner().run(parsed)
    assert outcome.failed == 0, capsys.readouterr().out
    assert outcome.attempted > 15


def test_its_figures_are_those_of_the_results() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Key results")[1].split("## Limits")[0]
    rows = re.findall(r"^\| ([a-z-]+) \| ([\d.]+) \| ([\d.^]+) \| ([\d.]+) \| (x[\d.]+) \|$", section, re.MULTILINE)
    page = (ROOT / "docs/results/deletion.md").read_text(encoding="utf-8")
    page = page[: page.index("\n\n", page.index("\n| method |"))]  # its first table; another one follows
    table = re.findall(r"^\| ([a-z-]+) \|" + r" ([^|]+) \|" * 9 + "$", page, re.MULTILINE)
    assert rows == [(row[0], row[2], row[4], row[8], row[9]) for row in table[1:]]
