"""Invented audits, for tests that need no model."""

import math
from collections.abc import Sequence
from typing import Any

from privlens.audit.records import Audit, Finding, Measured, Plan, Sample, Target
from privlens.memorization.extraction import log10_tries

CHECKS_ONLY = Plan()


def measured(greedy_match: bool, logprob: float = -2.0, **fields: Any) -> Measured:
    """A value of four tokens; its tries follow from its log-probability (nats)."""
    exponent = log10_tries(logprob)
    defaults: dict[str, Any] = {
        "nll": -logprob / 4,
        "n_tokens": 4,
        "memorization_accuracy": 1.0 if greedy_match else 0.25,
        "log10_tries": None if math.isinf(exponent) else exponent,
        "exposure": None,
        "format_exposure": None,
        "lift": None,
        "verdict": "known" if greedy_match else None,
    }
    return Measured(greedy_match=greedy_match, logprob=logprob, **{**defaults, **fields})


def finding(row: int, greedy_match: bool, **fields: Any) -> Finding:
    """A secret of nobody in particular, with neither control nor interventions unless given."""
    defaults: dict[str, Any] = {
        "key": f"{row:032x}",
        "masked": "55****42",
        "category": "phone",
        "person": "",
        "repeats": None,
        "measured": measured(greedy_match),
        "control": None,
        "reworded": 0,
        "n_reworded": 0,
        "overlap": 0.0,
    }
    return Finding(row=row, **{**defaults, **fields})


def audit_of(findings: Sequence[Finding], plan: Plan = CHECKS_ONLY, **fields: Any) -> Audit:
    """A whole audit of a model that does not exist."""
    categories = [finding.category for finding in findings]
    target = Target("invented", "0" * 16, "float32", "cpu", 1000, {"model.safetensors": "a" * 64}, (), {"torch": "2.9"})
    sample = Sample("list.csv", "b" * 64, len(findings), (), 0, 0, {name: categories.count(name) for name in categories})
    dates = ("2026-01-02T09:00:00+00:00", "2026-01-02T09:30:00+00:00", 1800.0)
    return Audit(target, sample, plan, tuple(findings), *dates, **fields)
