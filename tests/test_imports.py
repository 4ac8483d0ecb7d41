"""Imports run one way, downwards, and each heavy library stays in its room: the contracts of pyproject.toml, by import-linter."""

import subprocess
import sys

from tests.docs.pages import ROOT

LINT = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"


def test_every_contract_is_kept() -> None:
    """In a process of its own: it follows long chains of imports, and deep within another test run that is one call too many."""
    linted = subprocess.run([sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout + linted.stderr
