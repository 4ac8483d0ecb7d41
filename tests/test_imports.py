"""Imports run one way, downwards, and each heavy library stays in its room."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = [
    {"app", "__main__", "cli", "ui"},
    {"benchmarks", "figures", "method_comparison"},
    {"deactivation", "erasure", "localization"},
    {"provenance", "memorization", "retained"},
    {"own_text"},
    {"models", "others", "secrets"},
    {"outcomes", "list_files"},
    {"checks"},
    {"records", "errors", "value_match", "intervals", "process"},
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
SIDEWAYS = {("__main__", "cli"), ("app", "ui")}
"""Steps within a level that are meant; all others are refused."""
ONLY_IN = {
    "gradio": {"ui", "app"},
    "plotly": {"figures"},
    "transformers": {"models"},
    "tokenizers": {"models/demo", "models/random_weights"},
    "faker": {"models/demo"},
    "captum": {"localization"},
    "rapidfuzz": {"memorization"},
    "scipy": {"intervals"},
    "knowledge_neurons": {"benchmarks/speed"},
    "typer": {"cli", "models/demo", "benchmarks/planted", "benchmarks/pictures", "app"},
    "playwright": {"benchmarks/pictures"},
}
NO_TORCH = {"figures", "ui", "outcomes", "records", "errors", "secrets", "list_files", "checks", "cli"}
FILES = sorted(ROOT.glob("privlens/**/*.py")) + sorted(ROOT.glob("app.py"))


def imported(file: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in nodes), f"{file}: relative import"
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    # `from privlens import figures` names a room too, so the imported name is added.
    return plain | {f"{node.module}.{name.name}" for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_one_way_and_libraries_stay_in_their_rooms(file: Path) -> None:
    place = file.relative_to(ROOT / "privlens" if file.is_relative_to(ROOT / "privlens") else ROOT).with_suffix("").as_posix()
    room = place.split("/")[0]
    if room == "__init__":
        assert not any(name.startswith("privlens") for name in imported(file))
        return
    for name in imported(file):
        top, *rest = name.split(".")
        if top == "privlens" and rest and rest[0] not in ("__version__", room):
            below = LEVEL[room] < LEVEL[rest[0]] or (room, rest[0]) in SIDEWAYS
            assert below, f"{place} imports {name}, which is not below it"
        allowed = ONLY_IN.get(top)
        assert allowed is None or any(place == home or place.startswith(home + "/") for home in allowed), f"{place} imports {top}"
        assert top != "torch" or room not in NO_TORCH, f"{place} imports torch"


def test_every_room_that_is_named_exists() -> None:
    rooms = {path.stem for path in (ROOT / "privlens").iterdir() if path.stem not in ("__init__", "__pycache__")} | {"app"}
    assert set(LEVEL) == rooms
