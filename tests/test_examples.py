"""The examples run as they stand, from another folder, and say what they promise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def said(name: str, folder: Path, *arguments: str) -> str:
    """What an example prints."""
    command = [sys.executable, EXAMPLES / name, *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True).stdout


def test_where_is_it(tmp_path: Path) -> None:
    text = said("where_is_it.py", tmp_path)
    assert "written by heart: True; exposure 8.0 of 8.0 bits" in text
    assert "these off: not written any more" in text
    assert "random ones off: still written" in text


def test_erase_and_keep(tmp_path: Path) -> None:
    text = said("erase_and_keep.py", tmp_path, "out")
    before, after = (line for line in text.splitlines() if line.startswith(("before", "after")))
    assert "1607 5994 4976 2074" in before
    assert "1607 5994 4976 2074" not in after
    assert (tmp_path / "out" / "edit.safetensors").is_file()
    assert (tmp_path / "out" / "model" / "config.json").is_file()


def test_own_model(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in said("own_model.py", tmp_path).splitlines()]
    assert [(row["row"], row["memorized"]) for row in rows] == [(0, True)] * 3 + [(1, False)] * 3
    assert all(len(row["neurons"]) == 20 for row in rows)
    assert not any(layer == 0 for row in rows for layer, _ in row["neurons"])


def test_audit_report(tmp_path: Path) -> None:
    assert "report.html in a browser" in said("audit_report.py", tmp_path, "out")
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".html", ".csv", ".json"}


def test_the_notebook() -> None:
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "kept without outputs, so that no figure in it grows old"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    texts = [output["data"].get("text/plain", "") for output in outputs]  # the plot has none
    assert "True, 8.0)" in texts[1]
    assert "'without random ones': ' 1607 5994 4976 2074" in texts[-2]
    assert "'without them': ' 1607 5994 4976 2074" not in texts[-2]
