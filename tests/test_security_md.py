"""Each promise of SECURITY.md names tests, and they exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def promises() -> list[str]:
    """The items of "What is promised", each with the tests below it."""
    part = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("\n## What is promised\n")[1].split("\n## ")[0]
    return re.findall(r"^- .*(?:\n  .*)*", part, re.MULTILINE)


@pytest.mark.parametrize("promise", promises(), ids=lambda promise: promise[2:60].split("\n")[0])
def test_every_promise_names_tests_that_exist(promise: str) -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", promise)
    assert named, "no test holds this"
    assert "TODO" not in promise
    for file, test in named:
        functions = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        assert test in {node.name for node in functions if isinstance(node, ast.FunctionDef)}, f"{file} has no {test}"


def test_no_promise_is_overlooked() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert len(promises()) >= 20
    assert sum(len(re.findall(r"`tests/\S+::", promise)) for promise in promises()) == len(re.findall(r"`tests/\S+::", text))
