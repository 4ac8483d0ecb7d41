"""`python -m privlens find-pii`: a list of secrets from a text, to be corrected by hand."""

from pathlib import Path
from typing import Annotated

import typer

from privlens.audit.from_text import COLUMNS, rows_of
from privlens.audit.names import names_by
from privlens.audit.national_ids import are_looked_for
from privlens.audit.pii import masked
from privlens.cli import inputs, progress, tables
from privlens.cli.options import AsJson
from privlens.list_files import csv_text, read_text

TextFile = Annotated[Path, typer.Argument(help="A UTF-8 text, such as letters or notes.")]
OutFile = Annotated[Path, typer.Option(help="The list, as CSV with the columns prompt, value and category.")]

Pipeline = Annotated[str | None, typer.Option(help="Find names by this spaCy pipeline: one that is installed, or its folder.")]
MORE_IDS = 'National ids of more countries are looked for where presidio is installed: pip install "privlens[pii]".'


def find_pii(text: TextFile, out: OutFile, names: Pipeline = None, as_json: AsJson = False) -> None:
    """Make a list of secrets from a text: what looks private in it, behind the words before it. Correct it by hand."""
    inputs.check_writable(out)
    rows = rows_of(read_text(text), names_by(names) if names else None)
    if not are_looked_for():
        progress.report_progress(MORE_IDS)
    inputs.write(out, csv_text(COLUMNS, (list(row.values()) for row in rows)).rstrip("\n"))
    found = [{"value": masked(row["value"]), "category": row["category"]} for row in rows]
    tables.show(
        {"out": str(out), "found": found},
        as_json,
        lambda report: [
            tables.columns(("value", "category"), [(row["value"], row["category"]) for row in found]),
            tables.line(f"{len(found)} strings that look private are in {report['out']}. Correct the list before you use it."),
        ],
    )
