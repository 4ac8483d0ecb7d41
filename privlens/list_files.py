"""Reads the rows of a list in CSV, JSON lines, JSON or Parquet, whatever program wrote it.

A row that cannot be read does not affect the others: it is reported beside them, with the line number that a spreadsheet shows.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from privlens.errors import BadInput

MAX_BYTES = 32 * 2**20
MAX_ROWS = 100_000
"""Larger files and longer lists are refused, since everything is held in memory."""
MAX_BROKEN = 1000
"""The most unclosed quotes in a file: for each, csv may read on for as long as the longest cell it allows."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
BYTE_ORDER_MARKS = [
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
"""What a file starts with if it marks its encoding; utf-32 first, since its mark starts with that of utf-16."""
FORMULA = re.compile(r'="((?:[^"]|"")*)"')
"""How a cell keeps a spreadsheet from changing a number: ="0171"."""


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be used: its line as a spreadsheet counts it, from 1, or its entry in a JSON list; and the reason."""

    line: int
    reason: str
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.unit} {self.line}: {self.reason}"


@dataclass(frozen=True)
class Row:
    """A row that could be read: its position as in `Rejected`, and its cells by column name."""

    line: int
    cells: dict[str, str]
    unit: str = "line"

    def rejected(self, reason: str) -> Rejected:
        """This row as one that cannot be used after all."""
        return Rejected(self.line, reason, self.unit)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as the CSV that lists are read from, below a line that names their columns."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return table.getvalue()


PARQUET_MARK = b"PAR1"
"""The first four bytes of every Parquet file."""
OBJECT_EXAMPLE = 'Write an object such as {"prompt": "...", "value": "..."}'


class JsonObject(tuple[tuple[str, Any], ...]):
    """A JSON object as its pairs, so that duplicate keys are not lost."""


DECODER = json.JSONDecoder(object_pairs_hook=JsonObject, parse_int=str, parse_float=str, parse_constant=lambda _: None)
"""Keeps numbers as they are written."""


def read_text(path: str | Path) -> str:
    """The content of a text file, with \\n as line ends.

    Raises:
        BadInput: if it is not a file, is too large, or is not text in UTF-8 or in UTF-16 with its mark; with what to do about it.
    """
    try:
        file = Path(path).expanduser()
        if file.exists() and not file.is_file():
            raise BadInput(f"{path} cannot be read (it is not a file): give a file that exists and may be read.")
        if file.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path} is larger than {MAX_BYTES // 2**20} MB: give a part of it.")
        content = file.read_bytes()
    except (OSError, RuntimeError, ValueError) as cause:  # also an unknown home folder or an invalid name
        reason = getattr(cause, "strerror", None) or cause
        raise BadInput(f"{path} cannot be read ({reason}): give a file that exists and may be read.") from cause
    if content.startswith(b"PK\x03\x04"):
        raise BadInput(f"{path} is a workbook or a zip file, not text: open it and save the table as CSV UTF-8.")
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as cause:
        raise BadInput(_encoding_problem(path, content, cause)) from cause
    if "\0" in text:
        raise BadInput(f"{path} contains zero bytes, so it is not text, or UTF-16 without its mark: save it as UTF-8.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding_problem(path: str | Path, content: bytes, cause: UnicodeDecodeError) -> str:
    """A message with the first invalid byte, where it is, and what it may mean."""
    if cause.encoding != "utf-8":
        return f"{path} is broken {cause.encoding.upper()} text (byte {cause.start}): save it as UTF-8."
    byte = content[cause.start : cause.start + 1]
    text_before = content[: cause.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    location = f"{path} is not UTF-8 text: line {text_before.count(10) + 1} holds the byte 0x{byte.hex().upper()}"
    try:
        return f"{location}, in Windows-1252 {byte.decode('cp1252')!r}. Save it as UTF-8; Excel calls that CSV UTF-8."
    except UnicodeDecodeError:
        return f"{location}. Save it as UTF-8."


def read_rows(path: str | Path, needed: Sequence[str], optional: Sequence[str], aliases: dict[str, str]) -> list[Row | Rejected]:
    """The rows of a file in order, without empty ones.

    Args:
        needed, optional: column names in lower case; other columns are ignored. aliases: other names for them.

    Raises:
        BadInput: if the file is not a list, or lacks a needed column.
    """
    columns = Columns(tuple(needed), tuple(optional), aliases)
    if _is_parquet(path):
        return list(_parquet_rows(path, columns))
    text = read_text(path)
    if not text.strip():
        names = " and ".join(needed)
        raise BadInput(f"{path} is empty: its first line must name the columns {names}, followed by a line for each row.")
    rows: list[Row | Rejected] = []
    for row in (_json_rows if text.lstrip()[0] in "{[" else _csv_rows)(path, text, columns):
        if len(rows) == MAX_ROWS:
            raise BadInput(f"{path} has more than {MAX_ROWS:,} rows: give a part of it.")
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Columns:
    """The columns to read. Upper case, surrounding spaces and hyphens in their names make no difference."""

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    aliases: dict[str, str]

    def normalized(self, names: Sequence[str]) -> list[str]:
        """The names in a file's header as ours; an alias is replaced unless the column it stands for is there itself."""
        if set(names) <= {*self.needed, *self.optional}:  # as on nearly every line of JSON
            return list(names)
        plain = [re.sub(r"[\s_-]+", "_", name.strip().casefold()) for name in names]
        return [self.aliases[name] if self.aliases.get(name, name) not in plain else name for name in plain]

    def missing(self, names: Sequence[str]) -> list[str]:
        """The needed columns that are not among these."""
        return [name for name in self.needed if name not in names]

    def duplicates(self, names: Sequence[str]) -> list[str]:
        """Our columns that occur more than once among these."""
        return [name for name in (*self.needed, *self.optional) if names.count(name) > 1]


def _csv_rows(path: str | Path, text: str, columns: Columns) -> Iterator[Row | Rejected]:
    """The rows below the header, which also shows what separates the cells."""
    lines = text.split("\n")
    first = next(index for index, line in enumerate(lines) if line.strip())
    declared = re.fullmatch(r'\s*"?sep=(.)"?\s*', lines[first], re.IGNORECASE)
    n_before = first  # lines that a spreadsheet shows above the header; it does not show sep=
    first += bool(declared)
    records = {mark: _records(lines, first, n_before, mark) for mark in ([declared[1]] if declared else SEPARATORS)}
    first_records = {mark: next(rows, None) for mark, rows in records.items()}
    headers = {mark: row.cells if row and isinstance(row.cells, list) else [] for mark, row in first_records.items()}
    mark = min(headers, key=lambda mark: (len(columns.missing(columns.normalized(headers[mark]))), -len(headers[mark])))
    names = columns.normalized(headers[mark])
    if columns.missing(names):
        raise BadInput(_missing_columns(path, headers[mark], columns.missing(names), columns))
    if columns.duplicates(names):
        raise BadInput(f"{path} has the column {' and '.join(columns.duplicates(names))} more than once: keep one of them.")
    for record in records[mark]:
        if isinstance(record.cells, str):
            yield Rejected(record.line, record.cells)
        elif len(record.cells) > len(names) and any(cell.strip() for cell in record.cells[len(names) :]):
            yield Rejected(record.line, _too_many_cells(record, record.cells, names, mark))
        elif any(map(str.strip, record.cells)):
            yield Row(record.line, dict(zip(names, map(_without_formula, record.cells), strict=False)))


@dataclass(frozen=True)
class CsvRecord:
    """What is between two line ends outside quotes: its cells, or what is wrong with them.

    Attributes:
        line: as a spreadsheet counts. text_line: in the file, which differs if earlier cells contain line breaks.
    """

    line: int
    text_line: int
    cells: list[str] | str


def _records(lines: Sequence[str], first: int, n_before: int, mark: str) -> Iterator[CsvRecord]:
    """The records from line index `first` on, numbered from n_before + 1.

    Where a quote is broken only its own line is rejected, not everything up to the next quote.
    """
    position = first
    number = n_before
    n_broken = 0

    def remaining() -> Iterator[str]:
        nonlocal position
        while position < len(lines):
            position += 1
            yield lines[position - 1] + "\n"

    reader = csv.reader(remaining(), delimiter=mark, strict=True)
    while position < len(lines):
        start = position
        number += 1
        try:
            yield CsvRecord(number, start + 1, next(reader))
        except csv.Error as cause:
            position = start + 1
            n_broken += 1
            if n_broken > MAX_BROKEN:
                raise BadInput(f"More than {MAX_BROKEN:,} lines have broken quotes: write quotes inside a cell twice.") from cause
            reader = csv.reader(remaining(), delimiter=mark, strict=True)
            yield CsvRecord(number, start + 1, _quoting_problem(str(cause)))


def _quoting_problem(cause: str) -> str:
    """The message of a csv.Error in plain words, with what to do."""
    if "field limit" in cause:
        return f"a cell has more than {csv.field_size_limit():,} characters. Shorten it, or close the double quote it begins with"
    if "end of data" in cause:
        return "a double quote is opened and never closed. Close it; a quote inside a cell is written twice"
    return "there is text after a closing double quote. Put the whole cell in quotes, and write a quote inside it twice"


def _too_many_cells(record: CsvRecord, cells: Sequence[str], columns: Sequence[str], mark: str) -> str:
    """A message for a row with more cells than the header."""
    location = f" (line {record.text_line} of the text)" if record.text_line != record.line else ""
    spaced = any(re.match(r'\s+"', cell) for cell in cells)
    return (
        f"{len(cells)} cells where the first line names {len(columns)}{location}. Cells are separated by "
        f"{SEPARATORS.get(mark, mark)} here: put text that contains one in double quotes"
        f"{', with no space before them' if spaced else ''}"
    )


def _missing_columns(path: str | Path, header: Sequence[str], missing: Sequence[str], columns: Columns) -> str:
    """A message with the columns that are missing and those that are there."""
    names = ", ".join(name if len(name) <= 40 else name[:37] + "..." for name in header[:20]) or "nothing that can be read"
    return (
        f"{path} has no column {' and no column '.join(missing)}: its first line must name the columns "
        f"{' and '.join(columns.needed)} ({', '.join(columns.optional)} are optional), but names {names}."
    )


def _without_formula(cell: str) -> str:
    """The text of a cell that is written as a formula to protect a number; any other cell unchanged."""
    if '="' not in cell:  # true of nearly every cell, so it is checked first
        return cell
    formula = FORMULA.fullmatch(cell.strip())
    return formula[1].replace('""', '"') if formula else cell


def _json_rows(path: str | Path, text: str, columns: Columns) -> Iterator[Row | Rejected]:
    """The rows of a text with one object on every line, or with a list of objects; entries of a list are numbered from 1."""
    try:
        content = _decode_json(text)
    except ValueError as cause:
        if text.lstrip().startswith("["):
            raise BadInput(f"{path} is not a JSON list ({cause}): fix it there, or write one object on every line.") from cause
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield _json_line(number, line, columns)
    else:
        entries = [content] if isinstance(content, JsonObject) else content
        yield from (replace(_json_row(number, entry, columns), unit="entry") for number, entry in enumerate(entries, 1))


def _json_line(number: int, line: str, columns: Columns) -> Row | Rejected:
    try:
        return _json_row(number, _decode_json(line), columns)
    except ValueError as cause:
        return Rejected(number, f"this is not JSON ({cause}). {OBJECT_EXAMPLE}")


def _decode_json(text: str) -> Any:
    """The content of a JSON text, with numbers as they are written. Raises ValueError if it is not JSON."""
    try:
        return DECODER.decode(text)
    except RecursionError as cause:
        raise ValueError("it is nested too deeply") from cause


def _json_row(number: int, entry: Any, columns: Columns) -> Row | Rejected:
    if not isinstance(entry, JsonObject):
        return Rejected(number, f"this is not a JSON object. {OBJECT_EXAMPLE}")
    keys = columns.normalized([key for key, _ in entry])
    cells = {key: value for key, (_, value) in zip(keys, entry, strict=True)}
    if columns.duplicates(keys):
        return Rejected(number, f"it has {' and '.join(columns.duplicates(keys))} more than once. Keep one of them")
    if columns.missing(keys):
        present = ", ".join(key[:40] for key in keys[:20]) or "nothing"
        return Rejected(number, f"there is no {' and no '.join(columns.missing(keys))}, but {present}. Add it")
    for name in columns.needed:
        if not isinstance(cells[name], str | None):
            return Rejected(number, f"the {name} is not text. Put it in quotation marks")
    return Row(number, {key: _cell_text(value) for key, value in cells.items()})


def _cell_text(value: Any) -> str:
    """A value as the text of a cell: empty for null and for an empty list."""
    return value if isinstance(value, str) else json.dumps(value, default=repr) if value else ""


def _is_parquet(path: str | Path) -> bool:
    """Whether a file begins as Parquet does; where it cannot be opened, `read_text` says why."""
    try:
        with open(Path(path).expanduser(), "rb") as file:
            return file.read(len(PARQUET_MARK)) == PARQUET_MARK
    except (OSError, RuntimeError, ValueError):
        return False


def _parquet_rows(path: str | Path, columns: Columns) -> Iterator[Row | Rejected]:
    """The rows of a Parquet file, numbered from 1; other columns than ours are not read."""
    import pyarrow  # here, because it takes a third of a second and few lists are Parquet
    import pyarrow.parquet

    file = Path(path).expanduser()
    try:
        if file.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path} is larger than {MAX_BYTES // 2**20} MB: give a part of it.")
        with pyarrow.parquet.ParquetFile(file) as stored:
            header = list(stored.schema_arrow.names)
            names = columns.normalized(header)
            if columns.missing(names):
                raise BadInput(_missing_columns(path, header, columns.missing(names), columns))
            if stored.metadata.num_rows > MAX_ROWS:
                raise BadInput(f"{path} has more than {MAX_ROWS:,} rows: give a part of it.")
            read = [name for name, plain in zip(header, names, strict=True) if plain in (*columns.needed, *columns.optional)]
            table = stored.read(columns=read).to_pylist()
    except (OSError, pyarrow.ArrowException) as cause:
        raise BadInput(f"{path} is a Parquet file that cannot be read: write it again, or save the list as CSV.") from cause
    for number, cells in enumerate(table, 1):
        entry = JsonObject((name, _parquet_cell(cell)) for name, cell in cells.items())
        yield replace(_json_row(number, entry, columns), unit="row")


def _parquet_cell(cell: Any) -> Any:
    """Numbers and dates as the text that they are written as; what is neither stays, and its row is rejected."""
    return cell if cell is None or isinstance(cell, str | bytes | list | dict | bool) else str(cell)
