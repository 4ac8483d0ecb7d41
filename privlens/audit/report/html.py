"""The report as one HTML file: no script, nothing that is fetched, every foreign text escaped by jinja's autoescape.

A content security policy in the file forbids what should not be there anyway.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from privlens import intervals
from privlens.audit.comparison import AuditComparison
from privlens.audit.mitigation import Mitigation
from privlens.audit.population import EXPONENTS, FEWEST_CONTROLS, Group, Population
from privlens.audit.records import Audit, Finding
from privlens.audit.report import figures, words
from privlens.audit.report.conclusion import conclusion, named, short
from privlens.audit.report.limits import limits
from privlens.neurons.entropy_records import ENTROPY_CAUTIONS

HERE = Path(__file__).parent
MOST_ROWS = 500
"""Rows of a table; beyond it a printed report is no longer read, and findings.csv has them all."""
SECTIONS = (
    ("identification", "Identification"),
    ("target", "Target"),
    ("threat", "Threat model"),
    ("sample", "Sample"),
    ("controls", "Controls"),
    ("findings", "Findings"),
    ("population", "Population"),
    ("localization", "Localization"),
    ("mitigation", "Mitigation and collateral"),
    ("attacks", "Attacks on the mitigation"),
    ("limits", "Limits"),
    ("conclusion", "Conclusion"),
)
FILTERS = {
    "visible": words.visible,
    "percent": words.percent,
    "interval": words.interval,
    "rate": words.rate,
    "tries": words.tries,
    "power": words.power,
    "p_value": words.p_value,
    "number": words.number,
    "signed": words.signed,
    "moment": words.moment,
    "duration": words.duration,
    "count": words.counted,
}


def render(template: str, values: Mapping[str, Any]) -> str:
    """A template of this folder, with the style sheet in it. A value that a template misses is an error, not an empty place."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    environment.filters.update(FILTERS)
    style = Markup((HERE / "style.css").read_text("utf-8"))  # ours, and no place for foreign text
    return environment.get_template(template).render(style=style, **values)


@dataclasses.dataclass(frozen=True)
class Labelled(Mitigation):
    """With its name in words, and how much likelier another secret became at worst."""

    label: str = ""

    @property
    def in_words(self) -> str:
        """What was done, as part of a sentence."""
        return named(self.kind, self.method)

    @property
    def factor(self) -> str:
        """exp of the rise, rounded."""
        factor = math.exp(min(self.worst_rise or 0.0, 700.0))
        return f"{factor:.2g}" if factor < 100 else f"{factor:,.0f}" if factor < 1e6 else f"10^{math.log10(factor):.0f}"


def report_html(audit: Audit, result: Population) -> str:
    """The whole report."""
    labelled = [Labelled(**_fields(done), label=short(done.kind, done.method)) for done in result.interventions]
    result = dataclasses.replace(result, interventions=tuple(labelled))
    rising = [done for done in labelled if done.kind != "random" and done.worst_rise is not None]
    values = {
        "audit": audit,
        "result": result,
        "limbs": conclusion(audit, result),
        "limits": limits(audit, result),
        "sections": SECTIONS,
        "findings": sorted(audit.findings, key=_likeliest),
        "most": MOST_ROWS,
        "fewest": FEWEST_CONTROLS,
        "needed": [intervals.n_without_hit(bound) for bound in (0.1, 0.05, 0.01)],
        "half": intervals.rate(result.extraction.n / 2, result.extraction.n) if result.extraction.n else None,
        "given_away": result.extraction.n - result.not_given_away.n,
        "random": any(done.kind == "random" for done in labelled),
        "localized": [done for done in labelled if done.kind != "erasure"],
        "worked_on": sum(bool(finding.interventions) for finding in audit.findings),
        "attacked": [done for done in labelled if done.attacks],
        "seesaw": max(rising, key=lambda done: done.worst_rise or 0.0, default=None),
        "details": list(_details(audit)),
        "figures": _figures(audit, result),
        "cautions": ENTROPY_CAUTIONS,
    }
    return render("report.html.j2", values)


def _fields(done: Mitigation) -> dict[str, Any]:
    return {field.name: getattr(done, field.name) for field in dataclasses.fields(done)}


def _likeliest(finding: Finding) -> tuple[bool, float, float, int]:
    tries = finding.measured.log10_tries
    return bool(finding.false_positive), math.inf if tries is None else tries, finding.measured.nll, finding.row


def _details(audit: Audit) -> Iterator[tuple[Finding, Any, str]]:
    for finding in audit.findings:
        for intervention in finding.interventions:
            yield finding, intervention, short(intervention.kind, intervention.method)


def _figures(audit: Audit, result: Population) -> dict[str, Markup]:
    secrets = [finding for finding in audit.findings if finding.counts]
    controls = [finding.control.log10_tries for finding in secrets if finding.control]
    never_trained = [finding for finding in audit.findings if finding.repeats == 0 and not finding.false_positive]
    controls += [finding.measured.log10_tries for finding in never_trained]
    of_controls = zip(figures.CONTROL_ROWS, (result.controls, result.never_trained), strict=True)
    rows = [*result.by_category, *(Group(name, rate) for name, rate in of_controls if rate.n)]
    return {
        "rates": figures.rates("rates", rows),
        "curves": figures.curves("curves", [curve for curve in result.curves if curve.secrets], EXPONENTS),
        "entropy": figures.entropy_sets("entropy-sets", result.entropy.groups, result.entropy.line)
        if result.entropy
        else Markup(),
        "histogram": figures.histogram("histogram", [finding.measured.log10_tries for finding in secrets], controls),
    }


def comparison_html(a: Audit, b: Audit, diff: AuditComparison) -> str:
    """The comparison of two audits, as a file of the same kind."""
    values = {
        "a": a,
        "b": b,
        "diff": diff,
        "same_weights": a.target.fingerprint == b.target.fingerprint,
        "most": MOST_ROWS,
        "both_sets": [
            (name, sets, figures.entropy_sets(f"entropy-{name.lower()}", sets.groups, sets.line))
            for name, sets in (("A", diff.sets.a), ("B", diff.sets.b))
            if sets
        ],
        "cautions": ENTROPY_CAUTIONS,
    }
    return render("diff.html.j2", values)
