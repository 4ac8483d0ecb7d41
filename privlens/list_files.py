"""From a file that lists something to its rows, whatever program wrote it: CSV, JSON lines, or a JSON list.

A row that cannot be read never costs the others: it is told beside them, with the line that a spreadsheet shows it in. Knows
nothing of what the rows mean.
"""

import codecs
import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from privlens.errors import BadInput

BYTES_MOST = 32 * 2**20
ROWS_MOST = 100_000
BROKEN_MOST = 1000
"""Of quotes that are not closed so many are looked for; each may be sought to the end of the longest cell that csv reads."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MARKS = [
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
"""What a file begins with where it says its encoding; utf-32 first, which begins as utf-16 does."""
FORMULA = re.compile(r'="((?:[^"]|"")*)"')
"""How a spreadsheet is told to leave a number alone: ="0171"."""


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be used: the line that a spreadsheet shows it in, from 1, or the entry of a JSON list; and why."""

    line: int
    reason: str
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.unit} {self.line}: {self.reason}"


@dataclass(frozen=True)
class Row:
    """A row that could be read: where it stands, as in `Rejected`, and its cells by the names of their columns."""

    line: int
    cells: dict[str, str]
    unit: str = "line"

    def rejected(self, reason: str) -> Rejected:
        """The row as one that cannot be used after all."""
        return Rejected(self.line, reason, self.unit)


OBJECT = 'Write an object such as {"prompt": "...", "value": "..."}'


class Pairs(tuple[tuple[str, Any], ...]):
    """A JSON object as it stands in the file, with what it names twice."""


DECODER = json.JSONDecoder(object_pairs_hook=Pairs, parse_int=str, parse_float=str, parse_constant=lambda _: None)
"""Numbers stay as they are written."""


def read_text(path: str | Path) -> str:
    """A whole text file, its line ends as \\n.

    Raises:
        BadInput: for what is no file, is too large, or is no text in UTF-8, or UTF-16 with its mark; with the remedy for it.
    """
    try:
        file = Path(path).expanduser()
        if file.exists() and not file.is_file():
            raise BadInput(f"{path} cannot be read (it is no file): give a file that exists and may be read.")
        if file.stat().st_size > BYTES_MOST:
            raise BadInput(f"{path} is larger than {BYTES_MOST // 2**20} MB: give a part of it.")
        content = file.read_bytes()
    except (OSError, RuntimeError, ValueError) as cause:  # also a home that is not known, or a name that no file can have
        reason = getattr(cause, "strerror", None) or cause
        raise BadInput(f"{path} cannot be read ({reason}): give a file that exists and may be read.") from cause
    if content.startswith(b"PK\x03\x04"):
        raise BadInput(f"{path} is a workbook or a zip file, not text: open it and save the table as CSV UTF-8.")
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as cause:
        raise BadInput(_not_text(path, content, cause)) from cause
    if "\0" in text:
        raise BadInput(f"{path} holds bytes of 0, so it is no text, or UTF-16 without its mark: save it as UTF-8.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_text(path: str | Path, content: bytes, cause: UnicodeDecodeError) -> str:
    """What the first byte that is wrong may be, and where."""
    if cause.encoding != "utf-8":
        return f"{path} is broken {cause.encoding.upper()} text (byte {cause.start}): save it as UTF-8."
    byte = content[cause.start : cause.start + 1]
    before = content[: cause.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    where = f"{path} is not UTF-8 text: line {before.count(10) + 1} holds the byte 0x{byte.hex().upper()}"
    try:
        return f"{where}, in Windows-1252 {byte.decode('cp1252')!r}. Save it as UTF-8; Excel calls that CSV UTF-8."
    except UnicodeDecodeError:
        return f"{where}. Save it as UTF-8."


def read_rows(path: str | Path, needed: Sequence[str], optional: Sequence[str], aliases: dict[str, str]) -> list[Row | Rejected]:
    """The rows of a file in their order, without those that are empty.

    Args:
        needed, optional: names of columns, in lower case; other columns are left aside. aliases: other names for them.

    Raises:
        BadInput: for a file that is no list, or whose columns are not those that are needed.
    """
    text, names = read_text(path), Names(tuple(needed), tuple(optional), aliases)
    if not text.strip():
        columns = " and ".join(needed)
        raise BadInput(f"{path} is empty: its first line must name the columns {columns}, then a line for each.")
    rows: list[Row | Rejected] = []
    for row in (_json_rows if text.lstrip()[0] in "{[" else _csv_rows)(path, text, names):
        if len(rows) == ROWS_MOST:
            raise BadInput(f"{path} has more than {ROWS_MOST:,} rows: give a part of it.")
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Names:
    """Which columns are wanted, and how their names are read: upper case, spaces around and hyphens make no difference."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    aliases: dict[str, str]

    def of(self, found: Sequence[str]) -> list[str]:
        """The columns' names as they are wanted; an alias stands for a column that is not there by its own name."""
        if set(found) <= {*self.needed, *self.optional}:  # as on nearly every line of JSON
            return list(found)
        plain = [re.sub(r"[\s_-]+", "_", name.strip().casefold()) for name in found]
        return [self.aliases[name] if self.aliases.get(name, name) not in plain else name for name in plain]

    def missing(self, found: Sequence[str]) -> list[str]:
        """The needed columns that are not there."""
        return [name for name in self.needed if name not in found]

    def twice(self, found: Sequence[str]) -> list[str]:
        """The wanted columns that are there more than once."""
        return [name for name in (*self.needed, *self.optional) if found.count(name) > 1]


def _csv_rows(path: str | Path, text: str, names: Names) -> Iterator[Row | Rejected]:
    """The rows below the line that names the columns; that line also says what cells are parted by."""
    lines = text.split("\n")
    first = next(at for at, line in enumerate(lines) if line.strip())
    told = re.fullmatch(r'\s*"?sep=(.)"?\s*', lines[first], re.IGNORECASE)
    before = first  # lines that a spreadsheet shows above the names; it does not show sep=
    first += bool(told)
    records = {mark: _records(lines, first, before, mark) for mark in ([told[1]] if told else SEPARATORS)}
    headers = {mark: next(rows, None) for mark, rows in records.items()}
    named = {mark: row.cells if row and isinstance(row.cells, list) else [] for mark, row in headers.items()}
    mark = min(named, key=lambda mark: (len(names.missing(names.of(named[mark]))), -len(named[mark])))
    columns = names.of(named[mark])
    if names.missing(columns):
        raise BadInput(_no_columns(path, named[mark], names.missing(columns), names))
    if names.twice(columns):
        raise BadInput(f"{path} has the column {' and '.join(names.twice(columns))} more than once: keep one of them.")
    for record in records[mark]:
        if isinstance(record.cells, str):
            yield Rejected(record.line, record.cells)
        elif len(record.cells) > len(columns) and any(cell.strip() for cell in record.cells[len(columns) :]):
            yield Rejected(record.line, _too_many(record, record.cells, columns, mark))
        elif any(map(str.strip, record.cells)):
            yield Row(record.line, dict(zip(columns, map(_unwrapped, record.cells), strict=False)))


@dataclass(frozen=True)
class Record:
    """What stands between two line ends outside quotes: its cells, or what is wrong with them.

    Attributes:
        line: as a spreadsheet counts. text_line: in the file, which is another where cells before it hold line breaks.
    """

    line: int
    text_line: int
    cells: list[str] | str


def _records(lines: Sequence[str], first: int, before: int, mark: str) -> Iterator[Record]:
    """The records from a line of the text on; the first has the number before + 1.

    Where a quote is broken only the line it stands in is given up, and not what follows up to the next quote.
    """
    at, broken, number = first, 0, before

    def following() -> Iterator[str]:
        nonlocal at
        while at < len(lines):
            at += 1
            yield lines[at - 1] + "\n"

    reader = csv.reader(following(), delimiter=mark, strict=True)
    while at < len(lines):
        started, number = at, number + 1
        try:
            yield Record(number, started + 1, next(reader))
        except csv.Error as cause:
            at, broken = started + 1, broken + 1
            if broken > BROKEN_MOST:
                raise BadInput(
                    f"More than {BROKEN_MOST:,} lines have broken quotes: write quotes inside a cell twice."
                ) from cause
            reader = csv.reader(following(), delimiter=mark, strict=True)
            yield Record(number, started + 1, _broken(str(cause)))


def _broken(cause: str) -> str:
    """What csv found, as what to do."""
    if "field limit" in cause:
        return f"a cell has more than {csv.field_size_limit():,} characters. Shorten it, or close the double quote it begins with"
    if "end of data" in cause:
        return "a double quote is opened and never closed. Close it; a quote inside a cell is written twice"
    return "text stands behind a closing double quote. Put the whole cell in quotes, and write a quote inside it twice"


def _too_many(record: Record, cells: Sequence[str], columns: Sequence[str], mark: str) -> str:
    where = f" (line {record.text_line} of the text)" if record.text_line != record.line else ""
    spaced = any(re.match(r'\s+"', cell) for cell in cells)
    return (
        f"{len(cells)} cells where the first line names {len(columns)}{where}. Cells are parted by {SEPARATORS.get(mark, mark)} "
        f"here: put text that holds one in double quotes{', with no space before them' if spaced else ''}"
    )


def _no_columns(path: str | Path, found: Sequence[str], missing: Sequence[str], names: Names) -> str:
    """Which columns are missing, and what stands in their place."""
    named = ", ".join(name if len(name) <= 40 else name[:37] + "..." for name in found[:20]) or "nothing that can be read"
    return (
        f"{path} has no column {' and no column '.join(missing)}: its first line must name the columns "
        f"{' and '.join(names.needed)} ({', '.join(names.optional)} are optional), but names {named}."
    )


def _unwrapped(cell: str) -> str:
    if '="' not in cell:  # as nearly every cell of a long list
        return cell
    formula = FORMULA.fullmatch(cell.strip())
    return formula[1].replace('""', '"') if formula else cell


def _json_rows(path: str | Path, text: str, names: Names) -> Iterator[Row | Rejected]:
    """One object on every line, or a list of objects; then the rows count from 1 in the list."""
    try:
        whole = _parsed(text)
    except ValueError as cause:
        if text.lstrip().startswith("["):
            raise BadInput(f"{path} is no JSON list ({cause}): mend it there, or write one object on every line.") from cause
        for line, content in enumerate(text.split("\n"), 1):
            if content.strip():
                yield _json_line(line, content, names)
    else:
        entries = [whole] if isinstance(whole, Pairs) else whole
        yield from (replace(_json_row(number, entry, names), unit="entry") for number, entry in enumerate(entries, 1))


def _json_line(line: int, content: str, names: Names) -> Row | Rejected:
    try:
        return _json_row(line, _parsed(content), names)
    except ValueError as cause:
        return Rejected(line, f"this is no JSON ({cause}). {OBJECT}")


def _parsed(text: str) -> Any:
    """The content of a JSON text, numbers as they are written. Raises ValueError where it is none."""
    try:
        return DECODER.decode(text)
    except RecursionError as cause:
        raise ValueError("it is nested too deeply") from cause


def _json_row(line: int, entry: Any, names: Names) -> Row | Rejected:
    if not isinstance(entry, Pairs):
        return Rejected(line, f"this is no JSON object. {OBJECT}")
    keys = names.of([key for key, _ in entry])
    cells = {key: value for key, (_, value) in zip(keys, entry, strict=True)}
    if names.twice(keys):
        return Rejected(line, f"it has {' and '.join(names.twice(keys))} more than once. Keep one of them")
    if names.missing(keys):
        there = ", ".join(key[:40] for key in keys[:20]) or "nothing"
        return Rejected(line, f"there is no {' and no '.join(names.missing(keys))}, but {there}. Add it")
    for name in names.needed:
        if not isinstance(cells[name], str | None):
            return Rejected(line, f"the {name} is no text. Put it in quotation marks")
    return Row(line, {key: _cell(value) for key, value in cells.items()})


def _cell(value: Any) -> str:
    """A value as a cell would have it: nothing for null and for an empty list."""
    return value if isinstance(value, str) else json.dumps(value) if value else ""
