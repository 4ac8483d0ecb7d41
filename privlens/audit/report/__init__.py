"""An audit as files for people and programs: a report, a table of findings, the statistics, and the schema of audit.json."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from privlens.audit.population import population
from privlens.audit.records import FORMAT, Audit
from privlens.audit.report.csv_file import findings_csv
from privlens.audit.report.html import report_html
from privlens.process.private_files import write_private
from privlens.types import to_json

REPORT, FINDINGS, POPULATION, SCHEMA = "report.html", "findings.csv", "population.json", "audit.schema.json"


def write_report(audit: Audit, folder: Path) -> None:
    """Writes report.html, findings.csv, population.json and audit.schema.json into a folder that exists, for its owner only.

    Raises:
        OSError: if a file cannot be written; each file is complete or as it was.
    """
    result = population(audit)
    write_private(folder / REPORT, report_html(audit, result))
    write_private(folder / FINDINGS, findings_csv(audit.findings))
    write_private(folder / POPULATION, to_json(result) + "\n")
    write_private(folder / SCHEMA, json.dumps(schema(), indent=2) + "\n")


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of audit.json."""
    described = TypeAdapter(Audit).json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **described,
        "title": f"PrivLens audit, format {FORMAT}",
    }
