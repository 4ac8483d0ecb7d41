"""Tables of findings for a spreadsheet; no cell that the model or a stranger wrote can run as a formula.

The rule is that of the page's own CSV files (privlens/ui/components/take.js).
"""

import re
from collections.abc import Iterable, Sequence

from privlens.audit.records import Finding

FORMULA = re.compile(r"[\s\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20|%]|[\t\r\n]")
NUMBER = re.compile(r"[+-]?(\d[\d,]*)?\.?\d+(e[+-]?\d+)?( ?%)?|-", re.IGNORECASE | re.ASCII)
QUOTED = re.compile('[",;\t\r\n]')


def cell(value: object) -> str:
    """One cell: an apostrophe turns what a spreadsheet would take for a formula into text. Numbers stay as they are."""
    text = "" if value is None else str(value)
    if FORMULA.match(text) and not NUMBER.fullmatch(text):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if QUOTED.search(text) else text


def csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows with CRLF and, in front, the mark by which Excel reads UTF-8."""
    return "\ufeff" + "".join(",".join(map(cell, row)) + "\r\n" for row in rows)


COLUMNS = (
    "row", "key", "person", "category", "repeats", "masked_value", "written", "nll_nats_per_token", "logprob_nats", "tokens",
    "memorization_accuracy", "distance_tokens", "log10_tries", "exposure_bits", "max_exposure_bits", "format_bits",
    "format_max_bits", "reworded_written", "reworded_asked", "prompt_overlap", "verdict", "text", "control_written",
    "control_nll_nats_per_token", "control_log10_tries", "interventions", "note", "false_positive",
)  # fmt: skip


def findings_csv(findings: Iterable[Finding]) -> str:
    """One row a finding, whether it counts or not; what was not measured is empty."""
    return csv([COLUMNS, *map(_row, findings)])


def _row(finding: Finding) -> tuple[object, ...]:
    measured, control = finding.measured, finding.control
    exposure, in_format = measured.exposure, measured.format_exposure
    return (
        finding.row,
        finding.key,
        finding.person,
        finding.category,
        finding.repeats,
        finding.masked,
        _yes(measured.greedy_match),
        measured.nll,
        measured.logprob,
        measured.n_tokens,
        measured.memorization_accuracy,
        measured.distance,
        measured.log10_tries,
        exposure and exposure.bits,
        exposure and exposure.max_bits,
        in_format and in_format.bits,
        in_format and in_format.max_bits,
        finding.reworded,
        finding.n_reworded,
        finding.overlap,
        measured.verdict,
        measured.text,
        control and _yes(control.greedy_match),
        control and control.nll,
        control and control.log10_tries,
        len(finding.interventions),
        finding.note,
        finding.false_positive,
    )


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"
