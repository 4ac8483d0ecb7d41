"""Reads what a person lists beside a model: a CSV file of secrets, and a text of ordinary paragraphs.

Text is kept as it stands, spaces and all. Knows nothing of models.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from privlens.errors import BadInput
from privlens.records import Secret

NEEDED = ("prompt", "value")


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


def read_secrets(path: str | Path) -> list[ListedSecret]:
    """The rows of a CSV file (utf-8, comma, double quotes) in their order.

    Columns prompt and value are needed; category, repeats, reworded_1, reworded_2 and neurons are used where they are there.

    Raises:
        BadInput: for a file that cannot be read, a missing column, an empty cell or a wrong number, naming the row.
    """
    frame = _frame(path)
    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        alone = len(frame.columns) == 1
        hint = " Cells are parted by commas: save the table with commas, not semicolons or tabs." if alone else ""
        raise BadInput(
            f"{path} has no column {' and no column '.join(missing)}: its first line must name the columns prompt and value "
            f"(category, repeats, reworded_1, reworded_2 are optional), but names {', '.join(map(str, frame.columns))}.{hint}"
        )
    if frame.empty:
        raise BadInput(f"{path} lists no secret: below the line with the column names add a line for each prompt and value.")
    rows = (dict(zip(frame.columns, cells, strict=True)) for cells in frame.itertuples(index=False, name=None))
    return [_listed(path, row, cells) for row, cells in enumerate(rows)]


def paragraphs(text: str) -> tuple[str, ...]:
    """The paragraphs of a text, parted by empty lines."""
    parts = (part.strip() for part in re.split(r"\n[^\S\n]*\n", text))
    return tuple(part for part in parts if part)


def read_reference(path: str | Path) -> tuple[str, ...]:
    """The paragraphs of a utf-8 text, parted by empty lines. Raises BadInput for a file without one, or not readable."""
    found = paragraphs(_text(path))
    if not found:
        raise BadInput(f"{path} holds no text: write ordinary paragraphs into it, parted by empty lines.")
    return found


def _text(path: str | Path) -> str:
    try:
        return Path(path).expanduser().read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as cause:
        raise BadInput(f"{path} cannot be read ({cause.strerror or cause}): give a file that exists and may be read.") from cause
    except UnicodeDecodeError as cause:
        raise BadInput(f"{path} is not utf-8 text (byte {cause.start}): save it as utf-8.") from cause


def _frame(path: str | Path) -> pd.DataFrame:
    """All cells as text; nothing is read as a number or as missing."""
    text = _text(path)
    if not text.strip():
        raise BadInput(f"{path} is empty: its first line must name the columns prompt and value, then a line for each secret.")
    try:
        frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as cause:
        reason = " ".join(str(cause).split())
        raise BadInput(f"{path} is not a CSV table ({reason}): put text with a comma or a quote in double quotes.") from cause
    if not isinstance(frame.index, pd.RangeIndex):
        raise BadInput(f"{path} has a row with more cells than columns: put text that holds a comma in double quotes.")
    frame = frame.fillna("")
    frame.columns = frame.columns.str.strip()
    return frame


def _listed(path: str | Path, row: int, cells: dict[str, str]) -> ListedSecret:
    for name in NEEDED:
        if not cells[name].strip():
            raise BadInput(f"{path}, row {row} (rows count from 0): the {name} is empty. Fill it in, or take the row out.")
    repeats = cells.get("repeats", "").strip()
    if repeats and not (repeats.isascii() and repeats.isdigit()):
        raise BadInput(f"{path}, row {row} (rows count from 0): repeats is {repeats!r}, but must be a whole number, or empty.")
    reworded = (cells.get(name, "") for name in ("reworded_1", "reworded_2"))
    return ListedSecret(
        secret=Secret(cells["prompt"], cells["value"], cells.get("category", "").strip()),
        repeats=int(repeats) if repeats else None,
        reworded=tuple(prompt for prompt in reworded if prompt.strip()),
        planted=bool(cells.get("neurons", "").strip()),
    )
