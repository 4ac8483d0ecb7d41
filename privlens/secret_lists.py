"""Reads what a person lists beside a model: a list of secrets (CSV, JSON), and a text of ordinary paragraphs.

Text is kept as it stands, spaces and all. Knows nothing of models.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from privlens import validation
from privlens.errors import BadInput
from privlens.list_files import Rejected, Row, read_rows, read_text
from privlens.types import Secret

NEEDED = ("prompt", "value")
OPTIONAL = ("category", "repeats", "reworded_1", "reworded_2", "neurons")
ALIASES = {"question": "prompt", "answer": "value"}
SHOWN = 10
"""So many of the rows that were left out are told with their reasons."""
NOTHING = {"", "nan", "NaN"}
"""What an empty cell is written as; the last two by pandas."""
WHOLE = re.compile(r"(\d{1,9})(?:[.,]0+)?", re.ASCII)

logger = logging.getLogger("privlens.secret_lists")


@dataclass(frozen=True)
class ListedSecret:
    """One row of a list of secrets.

    Attributes:
        repeats: how often a model was trained on it, 0 for a control; None where the list does not say.
        reworded: other prompts for the same value.
        planted: it was not in the training text, but trained into neurons of its own, which the list names.
    """

    secret: Secret
    repeats: int | None = None
    reworded: tuple[str, ...] = ()
    planted: bool = False


@dataclass(frozen=True)
class SecretList:
    """A list of secrets as its file has it.

    Attributes:
        entries: its rows in their order, those among them that cannot be used too; empty lines are no rows.
    """

    entries: tuple[ListedSecret | Rejected, ...]

    @property
    def rows(self) -> tuple[ListedSecret, ...]:
        """The rows that can be used."""
        return tuple(entry for entry in self.entries if isinstance(entry, ListedSecret))

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The rows that were left out, and why."""
        return tuple(entry for entry in self.entries if isinstance(entry, Rejected))

    @property
    def left_out(self) -> str:
        """How many rows were left out, which and why, in a sentence; nothing where none was."""
        if not self.rejected:
            return ""
        n, first = len(self.rejected), "; ".join(map(str, self.rejected[:SHOWN]))
        more = f"; and {n - SHOWN} more" if n > SHOWN else ""
        return f"{n} of {len(self.entries)} rows {'was' if n == 1 else 'were'} left out: {first}{more}."

    @property
    def doubt(self) -> str:
        """What looks as if it had been changed on its way here; nothing where nothing does."""
        rows = self.rows
        if not all(re.fullmatch(r"\d+\.0", row.secret.value) for row in rows):
            return ""
        return (
            "All values end in .0, as pandas writes whole numbers where some are missing: if they are such, write them as text."
        )

    def at(self, row: int, path: str | Path) -> ListedSecret:
        """The row of this number, from 0; those that were left out count too. Raises BadInput for one of them, or none."""
        if not 0 <= row < len(self.entries):
            raise BadInput(
                f"There is no row {validation.shown(row)} in {path}: its rows count from 0 to {len(self.entries) - 1}."
            )
        entry = self.entries[row]
        if isinstance(entry, Rejected):
            raise BadInput(f"Row {row} of {path} cannot be used: {entry}.")
        return entry


def read_list(path: str | Path) -> SecretList:
    """A list of secrets, as CSV (parted by commas, semicolons, tabs or bars), JSON lines or a JSON list.

    Columns prompt and value (or question and answer) are needed; category, repeats, reworded_1, reworded_2 and neurons are used
    where they are there. A row that cannot be used is left out and told, with its line as a spreadsheet counts.

    Raises:
        BadInput: for a file that cannot be read, a missing column, or where no row can be used.
    """
    found = SecretList(tuple(_listed(row) for row in read_rows(path, NEEDED, OPTIONAL, ALIASES)))
    if not found.entries:
        raise BadInput(f"{path} lists no secret: below the line with the column names add a line for each prompt and value.")
    if not found.rows:
        raise BadInput(f"{path} has no row that can be used. {found.left_out}")
    return found


def read_secrets(path: str | Path) -> list[ListedSecret]:
    """The rows of a list of secrets that can be used, in their order; a warning tells the others. Raises as `read_list`."""
    found = read_list(path)
    for said in filter(None, (found.left_out, found.doubt)):
        logger.warning("%s: %s", path, said)
    return list(found.rows)


def paragraphs(text: str) -> tuple[str, ...]:
    """The paragraphs of a text, parted by empty lines. Raises BadInput for one that is too long to be run through a model."""
    validation.text(text, "text to hold on to", validation.TEXT_MOST)
    parts = (part.strip() for part in re.split(r"\n[^\S\n]*\n", text))
    return tuple(part for part in parts if part)


def read_reference(path: str | Path) -> tuple[str, ...]:
    """The paragraphs of a utf-8 text, parted by empty lines. Raises BadInput for a file without one, or not readable."""
    found = paragraphs(read_text(path))
    if not found:
        raise BadInput(f"{path} holds no text: write ordinary paragraphs into it, parted by empty lines.")
    return found


def _listed(row: Row | Rejected) -> ListedSecret | Rejected:
    """A row as a secret, or why it is none."""
    if isinstance(row, Rejected):
        return row
    cells = {name: "" if cell.strip() in NOTHING else cell for name, cell in row.cells.items()}
    for name in NEEDED:
        if not cells.get(name):
            return row.rejected(f"the {name} is {_empty(row.cells.get(name))}. Fill it in, or take the row out")
    repeats = WHOLE.fullmatch(cells.get("repeats", "").strip() or "0")
    if not repeats:
        return row.rejected(f"repeats is {validation.shown(cells['repeats'])}. Write a whole number, or nothing")
    reworded = tuple(filter(None, (cells.get("reworded_1"), cells.get("reworded_2"))))
    try:
        for prompt in (cells["prompt"], *reworded):
            validation.secret(prompt, cells["value"])
        validation.text(cells.get("category", ""), "category", validation.CATEGORY_MOST)
    except BadInput as error:
        return row.rejected(str(error).rstrip("."))
    return ListedSecret(
        secret=Secret(cells["prompt"], cells["value"], cells.get("category", "").strip()),
        repeats=int(repeats[1]) if cells.get("repeats") else None,
        reworded=reworded,
        planted=bool(cells.get("neurons")),
    )


def _empty(cell: str | None) -> str:
    return "missing" if cell is None else f"{cell.strip()}, as pandas writes an empty cell" if cell.strip() else "empty"
