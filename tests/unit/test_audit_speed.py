"""Batched checks of an audit beside the same checks of one secret at a time."""

from dataclasses import replace
from pathlib import Path

import pytest

from privlens.audit import checks
from privlens.bench import audit_speed
from privlens.bench.audit_speed import speed
from privlens.lm.model import LanguageModel
from privlens.types import Secret


def test_both_ways_give_the_same_numbers_and_the_batched_one_takes_fewer_passes(taught_folder: str) -> None:
    row = speed(Path(taught_folder) / "secrets.csv", 5, taught_folder, "cpu", "auto")
    assert row.secrets == 5 and row.differing == 0 and row.largest_difference < 1e-4
    assert row.batched_passes < row.one_by_one_passes / 2 and row.batched_tokens < row.one_by_one_tokens
    assert row.ratio == pytest.approx(row.one_by_one_s / row.batched_s)


def test_a_value_that_differs_is_counted_once(taught_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = checks._measured

    def off(lm: LanguageModel, secret: Secret, *rest: object) -> object:
        found = exact(lm, secret, *rest)
        return replace(found, nll=found.nll + 0.25, verdict=None) if secret.value == "Mira Holt" else found

    monkeypatch.setattr(checks, "_measured", off)
    row = speed(Path(taught_folder) / "secrets.csv", 5, taught_folder, "cpu", "auto")
    assert row.differing == 1 and row.largest_difference == pytest.approx(0.25, abs=1e-4)


def test_each_way_goes_first_in_every_other_chunk(taught_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    batched, one = audit_speed.check_all, audit_speed.asked_alone
    monkeypatch.setattr(audit_speed, "AT_ONCE", 2)
    monkeypatch.setattr(audit_speed, "check_all", lambda *args, **more: order.append("batched") or batched(*args, **more))
    monkeypatch.setattr(audit_speed, "asked_alone", lambda *args: order.append("alone") or one(*args))
    speed(Path(taught_folder) / "secrets.csv", 5, taught_folder, "cpu", "auto")
    assert order == ["batched", "batched", "alone", "alone", "alone", "alone", "batched", "batched", "alone"]
