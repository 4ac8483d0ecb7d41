"""What the tab Audit shows of findings: a sentence, numbers, a table and two figures. Values are masked before they come here."""

import heapq
from collections.abc import Collection
from typing import Any

import gradio as gr
import pandas as pd

from privlens import plots
from privlens.audit.population import EXPONENTS, Population, Rate, population
from privlens.audit.records import Audit, Finding, Intervention
from privlens.audit.report import words
from privlens.audit.sample import ReadSample
from privlens.ui.text import en
from privlens.ui.text.wording import Fact, fact, folded

SHOWN_MOST = 200
"""Rows of the table: a browser is never sent a whole list."""
WIDTHS = ["50px", "135px", "95px", "60px", "80px", "75px", "110px", "250px"]


def of_list(read: ReadSample) -> list[Fact]:
    """What was read of a list, before anything is measured."""
    sample = read.sample
    note = en.audit_list_note(sample.n_rows, len(sample.rejected), sample.n_duplicates)
    categories = ", ".join(f"{n:,} {name or en.NO_CATEGORY}" for name, n in sorted(sample.categories.items()))
    n_controls = sum(secret.listed.repeats == 0 for secret in read.secrets)
    return [
        fact("list", sample.name, note=note),
        fact("secrets", f"{len(read.secrets) - n_controls:,}", note=en.audit_of_list(n_controls, sample.n_people)),
        fact("categories", f"{len(sample.categories):,}", note=categories),
    ]


def table(findings: Collection[Finding]) -> Any:
    """The findings as far as they go, the likeliest first."""
    ordered = heapq.nsmallest(SHOWN_MOST, findings, key=lambda finding: (-finding.measured.logprob, finding.row))
    frame = pd.DataFrame([_row(finding) for finding in ordered], columns=list(en.AUDIT_COLUMNS), dtype=object)
    label = en.AUDIT_TABLE if len(ordered) == len(findings) else en.audit_table_cut(len(ordered), len(findings))
    return gr.update(value=frame, visible=bool(findings), label=label)


def _row(finding: Finding) -> tuple[object, ...]:
    """The cells, numbers as numbers, by which a person can sort the table."""
    measured = finding.measured
    struck = f"does not count: {finding.false_positive}" if finding.false_positive else ""
    return (
        finding.row,
        words.visible(finding.masked),
        finding.category,
        finding.repeats,
        "yes" if measured.greedy_match else "no",
        None if measured.log10_tries is None else round(measured.log10_tries, 1),
        measured.verdict or en.AUDIT_UNDECIDED,
        "; ".join(filter(None, (struck, *map(_then, finding.interventions), finding.note))),
    )


def _then(done: Intervention) -> str:
    """What was done, and what the secret is after it; nothing of random neurons, which are in the report."""
    said = en.AUDIT_THEN[done.kind].format(size=done.size, method=done.method)
    back = [attack.name for attack in done.attacks if attack.success]
    brought_back = f", brought back by {', '.join(back)}" if back else ""
    kept = f", {done.kept} of {done.known} others kept" if done.known else ""
    return said and f"{said}: {done.after.verdict or en.AUDIT_UNDECIDED}{kept}{brought_back}"


def sentence(result: Population) -> dict[str, str]:
    """The verdict on the whole list."""
    secrets, controls = result.extraction, result.false_positives
    text = en.audit_written(secrets.k, secrets.n, controls.k, controls.n)
    return {"kind": "known" if secrets.k else "unknown", "text": text, "detail": ""}


def numbers(audit: Audit, result: Population) -> list[Fact]:
    """Rates with their intervals, how well secrets and controls are told apart, and what the plan reached."""
    counted = [finding for finding in audit.findings if finding.counts]
    memorized = sum(finding.measured.is_memorized for finding in counted)
    facts = [
        _rate("written word for word", result.extraction),
        fact("memorized", f"{memorized:,}", f"of {len(counted):,}", "written, or conspicuously likely"),
        _rate("controls written", result.false_positives),
        *([_rate("people with a written secret", result.people)] if result.people else []),
        *([_rate("behind reworded prompts", result.reworded)] if result.reworded.n else []),
    ]
    for group in result.by_category:
        facts += folded([_rate(group.name, group.rate)])
    for membership in result.membership:
        area = fact("AUC", f"{membership.auc:.3f}", note=f"secrets against {membership.against}; 0.5 is guessing")
        facts += folded([area])
    return facts


def _rate(name: str, rate: Rate) -> Fact:
    share = words.percent(rate.k / rate.n) if rate.n else words.ABSENT
    note = f"95\N{NO-BREAK SPACE}% interval {words.interval(rate.bounds)}" if rate.bounds else ""
    return fact(name, f"{rate.k:,} of {rate.n:,}", "", note, beside=share)


def curves(result: Population) -> Any:
    """The share of values that appear within n samples, secrets beside controls."""
    curve = next((curve for curve in result.curves if curve.chance == 0.5 and curve.secrets), None)
    if curve is None:
        return gr.update(value="")
    shares = {en.AUDIT_SECRETS: curve.secrets} | ({en.AUDIT_CONTROLS: curve.controls} if curve.controls else {})
    return gr.update(value=plots.extraction(shares, EXPONENTS).to_json())


def sets(audit: Audit) -> Any:
    """Distance against entropy of sets of secrets; empty where an earlier version measured some of them."""
    return gr.update(value=plots.entropy_of_sets(audit.entropy).to_json() if audit.entropy else "")


def of_result(audit: Audit) -> tuple[Any, ...]:
    """Sentence, numbers, table, curve and sets of a whole audit."""
    result = population(audit)
    return (
        gr.update(value=sentence(result)),
        gr.update(value=numbers(audit, result)),
        table(audit.findings),
        curves(result),
        sets(audit),
    )


def so_far(findings: Collection[Finding]) -> tuple[Any, ...]:
    """Sentence and table while an audit is under way."""
    counted = [finding for finding in findings if finding.counts]
    text = en.audit_so_far(sum(finding.measured.greedy_match for finding in counted), len(counted))
    return gr.update(value={"kind": "note", "text": text}), table(findings)


def of_part(findings: Collection[Finding], n: int) -> tuple[Any, ...]:
    """The same of an audit that was stopped."""
    said = {"kind": "note", "text": en.audit_stopped(len(findings), n)}
    return gr.update(value=said), gr.update(value=[]), table(findings), *[gr.update(value="")] * 2


def nothing() -> tuple[Any, ...]:
    """Before anything was measured."""
    said = {"kind": "none", "text": en.AUDIT_EMPTY}
    return gr.update(value=said), gr.update(value=[]), gr.update(visible=False), *[gr.update(value="")] * 2
