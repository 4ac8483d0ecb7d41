"""The README's worked example, run as it stands on the bundled model."""

import doctest
import re
from pathlib import Path

import pytest

from privlens.models.language_model import LanguageModel

ROOT = Path(__file__).parents[1]


def test_the_worked_example(demo: LanguageModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    parsed = doctest.DocTestParser().get_doctest(example, {}, "README.md", "README.md", 0)
    outcome = doctest.DocTestRunner().run(parsed)
    assert outcome.failed == 0, capsys.readouterr().out
    assert outcome.attempted > 15
