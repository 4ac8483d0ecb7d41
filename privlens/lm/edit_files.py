"""Edits as files: a safetensors file with the indices, old and new values of every parameter, and how the edit was made.

The private values are not in it. Whether an edit fits a model is checked when it is applied (`LanguageModel.under`).
"""

import json
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from privlens.errors import BadInput
from privlens.lm.editing import check_change
from privlens.process.private_files import private_file
from privlens.types import Change, Edit, Provenance
from privlens.validation import shown

KIND = "privlens edit 1"
PARTS = ("indices", "old", "new")
MAX_PROVENANCE = 2**20
"""The maximum length in characters of an edit's provenance, so that a hostile file is not parsed."""


def save_edit(edit: Edit, path: str | Path) -> None:
    """Writes an edit to a file that only its owner can read. Raises BadInput if it cannot be written."""
    tensors = {f"{name}/{part}": getattr(change, part) for name, change in edit.changes.items() for part in PARTS}
    try:
        with private_file(path) as file:
            save_file(tensors, file, {"kind": KIND, "provenance": json.dumps(asdict(edit.provenance))})
    except (OSError, SafetensorError) as cause:
        raise BadInput(f"{path} cannot be written ({cause}): give the name of a file in a folder that exists.") from cause


def load_edit(path: str | Path) -> Edit:
    """Reads an edit.

    Raises:
        BadInput: if the file cannot be read, or is not a complete edit with plain numbers.
    """
    try:
        if not Path(path).is_file():
            raise BadInput(f"{path} cannot be read (there is no such file): give a file that exists and may be read.")
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except OSError as cause:
        raise BadInput(f"{path} cannot be read ({cause}): give a file that exists and may be read.") from cause
    except (SafetensorError, ValueError, TypeError, AttributeError) as cause:  # the last two for dtypes that numpy lacks
        raise BadInput(f"{path} is not an edit, or a broken one ({' '.join(str(cause).split())}): erase again.") from cause
    if metadata.get("kind") != KIND:
        raise BadInput(f"{path} is a safetensors file, but not an edit: give what `erase --out` wrote.")
    names = dict.fromkeys(name.rpartition("/")[0] for name in tensors)
    try:
        if len(metadata.get("provenance", "")) > MAX_PROVENANCE:
            raise BadInput(f"{path} is a broken edit, its description is too long: erase again.")
        provenance = TypeAdapter(Provenance).validate_json(metadata.get("provenance", ""))
        changes = {name: Change(*(tensors[f"{name}/{part}"] for part in PARTS)) for name in names}
    except (KeyError, ValidationError) as cause:
        raise BadInput(f"{path} is a broken edit, parts of it are missing: erase again.") from cause
    for name, change in changes.items():
        check_change(shown(name), change)
    return Edit(changes, provenance)
