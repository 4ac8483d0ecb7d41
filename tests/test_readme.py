"""The README's worked example, run as it stands on the bundled model."""

import doctest
import re
from pathlib import Path

import pytest

from privlens.erasure import ERASURE_INFO, LOSSES
from privlens.lm.model import LanguageModel
from privlens.localization import METHOD_INFO

ROOT = Path(__file__).parents[1]


def test_the_worked_example(demo: LanguageModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    parsed = doctest.DocTestParser().get_doctest(example, {}, "README.md", "README.md", 0)
    outcome = doctest.DocTestRunner().run(parsed)
    assert outcome.failed == 0, capsys.readouterr().out
    assert outcome.attempted > 15


def test_the_table_of_methods_is_what_the_program_says() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Methods")[1].split("## Measured")[0]
    rows = re.findall(r"^\| ([a-z-]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    assert rows[1:] == [(name, info.meaning, info.unit, info.cost) for name, info in METHOD_INFO.items()]


def test_the_table_of_erasers_is_what_the_program_says() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Erasing")[1].split("## Measured")[0]
    rows = re.findall(r"^\| ([a-z-]+) \| ([^|]+) \|$", section, re.MULTILINE)
    assert rows[1:] == [(name, info.meaning) for name, info in ERASURE_INFO.items()]
    assert list(ERASURE_INFO) == list(LOSSES)
