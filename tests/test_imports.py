"""Imports run one way, downwards, and each heavy library stays in its room: the contracts of pyproject.toml, by import-linter."""

import pytest
from importlinter.cli import lint_imports


def test_every_contract_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert lint_imports() == 0, capsys.readouterr().out
