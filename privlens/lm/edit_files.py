"""Edits as files: one safetensors file holds indices, old and new values of every parameter, and how the edit was made.

The private values are not in it. Whether an edit belongs to a model is seen when it is put on one (`LanguageModel.under`).
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
ABOUT_MOST = 2**20
"""Characters of what an edit says about how it was made."""


def save_edit(edit: Edit, path: str | Path) -> None:
    """Writes an edit, which nobody else may read. Raises BadInput where no file can be written."""
    tensors = {f"{name}/{part}": getattr(change, part) for name, change in edit.changes.items() for part in PARTS}
    try:
        with private_file(path) as file:
            save_file(tensors, file, {"kind": KIND, "provenance": json.dumps(asdict(edit.provenance))})
    except (OSError, SafetensorError) as cause:
        raise BadInput(f"{path} cannot be written ({cause}): give the name of a file in a folder that exists.") from cause


def load_edit(path: str | Path) -> Edit:
    """Reads an edit.

    Raises:
        BadInput: for a file that cannot be read, or that is not a whole edit of plain numbers.
    """
    try:
        if not Path(path).is_file():
            raise BadInput(f"{path} cannot be read (there is no such file): give a file that exists and may be read.")
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
    except OSError as cause:
        raise BadInput(f"{path} cannot be read ({cause}): give a file that exists and may be read.") from cause
    except (SafetensorError, ValueError, TypeError, AttributeError) as cause:  # the last for types that numpy does not have
        raise BadInput(f"{path} is no edit, or a broken one ({' '.join(str(cause).split())}): erase again.") from cause
    if about.get("kind") != KIND:
        raise BadInput(f"{path} is a safetensors file, but no edit: give what `erase --out` wrote.")
    names = dict.fromkeys(name.rpartition("/")[0] for name in tensors)
    try:
        if len(about.get("provenance", "")) > ABOUT_MOST:
            raise BadInput(f"{path} is a broken edit, it says too much about itself: erase again.")
        provenance = TypeAdapter(Provenance).validate_json(about.get("provenance", ""))
        changes = {name: Change(*(tensors[f"{name}/{part}"] for part in PARTS)) for name in names}
    except (KeyError, ValidationError) as cause:
        raise BadInput(f"{path} is a broken edit, parts of it are missing: erase again.") from cause
    for name, change in changes.items():
        check_change(shown(name), change)
    return Edit(changes, provenance)
