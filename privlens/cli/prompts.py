"""`python -m privlens prompts`: more prompts for the secrets of a list, to be audited behind."""

from pathlib import Path
from typing import Annotated

import typer

from privlens.audit.prompts import MOST, TEMPLATES, read_templates, with_prompts
from privlens.cli import inputs, tables
from privlens.cli.options import AsJson
from privlens.list_files import csv_text
from privlens.secret_lists import ListedSecret, read_secrets

List = Annotated[Path, typer.Argument(help="The list; a column person names whose each secret is.")]
OutFile = Annotated[Path, typer.Option(help="The list with prompts in reworded_1 and reworded_2, as CSV.")]
Templates = Annotated[
    Path | None,
    typer.Option(help='Templates by category, as YAML: phone: "Call {person} on". Others are built in.'),
]
COLUMNS = ("prompt", "value", "category", "repeats", "reworded_1", "reworded_2", "person")


def add_prompts(secrets: List, out: OutFile, templates: Templates = None, as_json: AsJson = False) -> None:
    """Add prompts to a list: from templates by category, and from what else is listed of the same person (as in ProPILE)."""
    inputs.check_writable(out)
    rows = read_secrets(secrets)
    made = with_prompts(rows, TEMPLATES | (read_templates(templates) if templates else {}))
    inputs.write(out, csv_text(COLUMNS, map(_cells, made)).rstrip("\n"))
    added = sum(len(new.reworded) - len(old.reworded) for new, old in zip(made, rows, strict=True))
    report = {"out": str(out), "secrets": len(made), "added": added, "without": sum(not row.reworded for row in made)}
    said = f"{added} prompts were added to {len(made)} secrets; {report['without']} have none beside their own. See {out}."
    tables.show(report, as_json, lambda _: [tables.line(said)])


def _cells(row: ListedSecret) -> tuple[str, ...]:
    reworded = (*row.reworded, *[""] * MOST)[:MOST]
    repeats = "" if row.repeats is None else str(row.repeats)
    return (row.secret.prompt, row.secret.value, row.secret.category, repeats, *reworded, row.person)
