"""Rows of a long run as JSON lines, written one by one. A run that was stopped resumes where it ended."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privlens.errors import BadInput
from privlens.list_files import read_text
from privlens.process.private_files import append_private, write_private

Row = dict[str, Any]


class Journal:
    """The rows of a run, each written to the file as soon as it is known."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        """Reads the rows of an earlier run. Raises BadInput for a file of a different run, or of something else."""
        self.path = path
        self.rows: list[Row] = []
        if path is None or not path.exists():
            self._append({"settings": dict(settings)})
            return
        text = read_text(path)
        try:
            complete, _, cut_off = text.rpartition("\n")
            header, *rows = map(json.loads, complete.split("\n"))
            is_same = header["settings"] == json.loads(json.dumps(settings))
        except (ValueError, KeyError, TypeError) as cause:
            raise BadInput(f"{path} does not hold the rows of such a run: give another file to --out.") from cause
        if not is_same:
            raise BadInput(f"{path} is of a run with other settings, model or list: give another file to --out.")
        if cut_off:  # the earlier run was stopped while it wrote a row
            write_private(path, complete + "\n")
        self.rows = rows

    def add(self, row: Row) -> Row:
        """Stores a row, in the file first."""
        self._append(row)
        self.rows.append(row)
        return row

    def _append(self, row: Row) -> None:
        if self.path is not None:
            append_private(self.path, json.dumps(row) + "\n")
