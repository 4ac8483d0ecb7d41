"""Reads the files a user gives beside a model: a list of secrets (CSV, JSON, Parquet), and a text of ordinary paragraphs.

Text is kept exactly as it is, including spaces.
"""

import gc
import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from privlens import validation
from privlens.errors import BadInput
from privlens.list_files import Rejected, Row, read_rows, read_text
from privlens.types import Secret

NEEDED = ("prompt", "value")
OPTIONAL = ("category", "repeats", "reworded_1", "reworded_2", "neurons", "person")
ALIASES = {"question": "prompt", "answer": "value"}
MAX_REASONS = 10
"""How many of the skipped rows are listed with their reasons, to keep the message readable."""
EMPTY_CELLS = {"", "nan", "NaN"}
"""How an empty cell is written; the last two by pandas."""
WHOLE_NUMBER = re.compile(r"(\d{1,9})(?:[.,]0+)?", re.ASCII)

logger = logging.getLogger("privlens.secret_lists")


@dataclass(frozen=True)
class ListedSecret:
    """One row of a list of secrets.

    Attributes:
        repeats: how often a model was trained on it, 0 for a control; None if the list does not say.
        reworded: other prompts for the same value.
        planted: whether it was planted into neurons of its own, which the list names, rather than learned from the training text.
        person: whose value it is, as the list names them; empty if it does not.
        line, unit: where it stands in its file, as in `Row`; line 0 if it comes from none.
    """

    secret: Secret
    repeats: int | None = None
    reworded: tuple[str, ...] = ()
    planted: bool = False
    person: str = ""
    line: int = field(default=0, compare=False)
    unit: str = field(default="line", compare=False)


@dataclass(frozen=True)
class SecretList:
    """A list of secrets as read from its file.

    Attributes:
        entries: its rows in order, including those that cannot be used; empty lines do not count as rows.
    """

    entries: tuple[ListedSecret | Rejected, ...]

    @property
    def rows(self) -> tuple[ListedSecret, ...]:
        """The rows that can be used."""
        return tuple(entry for entry in self.entries if isinstance(entry, ListedSecret))

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The rows that cannot be used, and why."""
        return tuple(entry for entry in self.entries if isinstance(entry, Rejected))

    @property
    def left_out(self) -> str:
        """A sentence that says how many rows were left out, which and why; empty if none was."""
        if not self.rejected:
            return ""
        n = len(self.rejected)
        first = "; ".join(map(str, self.rejected[:MAX_REASONS]))
        more = f"; and {n - MAX_REASONS} more" if n > MAX_REASONS else ""
        return f"{n} of {len(self.entries)} rows {'was' if n == 1 else 'were'} left out: {first}{more}."

    @property
    def doubt(self) -> str:
        """A sentence about values that look altered by another program; empty if none do."""
        rows = self.rows
        if not all(re.fullmatch(r"\d+\.0", row.secret.value) for row in rows):
            return ""
        return (
            "All values end in .0, as pandas writes whole numbers if some are missing: if these are whole numbers, write them as "
            "text."
        )

    def at(self, row: int, path: str | Path) -> ListedSecret:
        """The row with this number, from 0, counting those that were left out. Raises BadInput if it is missing or left out."""
        if not 0 <= row < len(self.entries):
            raise BadInput(
                f"There is no row {validation.shown(row)} in {path}: its rows count from 0 to {len(self.entries) - 1}."
            )
        entry = self.entries[row]
        if isinstance(entry, Rejected):
            raise BadInput(f"Row {row} of {path} cannot be used: {entry}.")
        return entry


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without the search for cycles, of which rows have none: it takes half of the seconds of a list of 100,000 rows."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_list(path: str | Path) -> SecretList:
    """A list of secrets, as CSV (separated by commas, semicolons, tabs or bars), JSON lines, a JSON list, or Parquet.

    The columns prompt and value (or question and answer) are needed; category, repeats, reworded_1, reworded_2, neurons and
    person are optional. A row that cannot be used is left out and reported, with its line as a spreadsheet counts it.

    Raises:
        BadInput: if the file cannot be read, lacks a column, or has no row that can be used.
    """
    with _collector_paused():
        secrets = SecretList(tuple(_listed(row) for row in read_rows(path, NEEDED, OPTIONAL, ALIASES)))
    if not secrets.entries:
        raise BadInput(f"{path} lists no secret: below the line with the column names add a line for each prompt and value.")
    if not secrets.rows:
        raise BadInput(f"{path} has no row that can be used. {secrets.left_out}")
    return secrets


@dataclass(frozen=True)
class ListFile:
    """A list as it was read from a file: the file's name, the SHA-256 of its bytes, and all entries.

    Two are the same by name and hash: the page compares and hashes them after every event, and a list may have 100,000 rows.
    """

    name: str
    sha256: str
    secrets: SecretList = field(compare=False)


def read_list_file(path: str | Path) -> ListFile:
    """A list of secrets with what tells its file from others. Raises as `read_list` does."""
    secrets = read_list(path)
    return ListFile(Path(path).name, hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest(), secrets)


def list_of_rows(name: str, rows: Iterable[Mapping[str, str]]) -> ListFile:
    """A list that lies in no file, from the cells of its rows by column; its hash is that of the rows as JSON lines.

    Raises:
        BadInput: if no row can be used.
    """
    entries = [Row(number, dict(cells), "row") for number, cells in enumerate(rows, 1)]
    secrets = SecretList(tuple(map(_listed, entries)))
    if not secrets.rows:
        raise BadInput(f"{name} has no row that can be used. {secrets.left_out}".rstrip())
    content = "\n".join(json.dumps(row.cells, sort_keys=True) for row in entries)
    return ListFile(name, hashlib.sha256(content.encode()).hexdigest(), secrets)


def read_secrets(path: str | Path) -> list[ListedSecret]:
    """The usable rows of a list of secrets, in order; the others are logged as a warning. Raises as `read_list` does."""
    secrets = read_list(path)
    for message in filter(None, (secrets.left_out, secrets.doubt)):
        logger.warning("%s: %s", path, message)
    return list(secrets.rows)


def trained_on(listed: Iterable[ListedSecret], category: str) -> tuple[Secret, ...]:
    """The secrets of a category, without those that the list calls controls."""
    return tuple(row.secret for row in listed if row.secret.category == category and row.repeats != 0)


def paragraphs(text: str) -> tuple[str, ...]:
    """The paragraphs of a text, separated by empty lines. Raises BadInput for a text that is too long."""
    validation.text(text, "text to retain", validation.MAX_TEXT)
    parts = (part.strip() for part in re.split(r"\n[^\S\n]*\n", text))
    return tuple(part for part in parts if part)


def read_reference(path: str | Path) -> tuple[str, ...]:
    """The paragraphs of a UTF-8 text file, separated by empty lines. Raises BadInput if there are none or it cannot be read."""
    reference = paragraphs(read_text(path))
    if not reference:
        raise BadInput(f"{path} contains no text: write ordinary paragraphs into it, separated by empty lines.")
    return reference


def _listed(row: Row | Rejected) -> ListedSecret | Rejected:
    """A row as a secret, or rejected with the reason."""
    if isinstance(row, Rejected):
        return row
    cells = {name: "" if cell.strip() in EMPTY_CELLS else cell for name, cell in row.cells.items()}
    for name in NEEDED:
        if not cells.get(name):
            return row.rejected(f"the {name} is {_empty_or_missing(row.cells.get(name))}. Fill it in, or remove the row")
    repeats = WHOLE_NUMBER.fullmatch(cells.get("repeats", "").strip() or "0")
    if not repeats:
        return row.rejected(f"repeats is {validation.shown(cells['repeats'])}. Write a whole number, or nothing")
    reworded = tuple(filter(None, (cells.get("reworded_1"), cells.get("reworded_2"))))
    try:
        for prompt in (cells["prompt"], *reworded):
            validation.secret(prompt, cells["value"])
        for name in ("category", "person"):
            validation.text(cells.get(name, ""), name, validation.MAX_CATEGORY)
    except BadInput as error:
        return row.rejected(str(error).rstrip("."))
    return ListedSecret(
        secret=Secret(cells["prompt"], cells["value"], cells.get("category", "").strip()),
        repeats=int(repeats[1]) if cells.get("repeats") else None,
        reworded=reworded,
        planted=bool(cells.get("neurons")),
        person=cells.get("person", "").strip(),
        line=row.line,
        unit=row.unit,
    )


def _empty_or_missing(cell: str | None) -> str:
    return "missing" if cell is None else f"{cell.strip()}, as pandas writes an empty cell" if cell.strip() else "empty"
