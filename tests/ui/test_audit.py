"""The tab Audit without a browser: what it shows of findings, and that what was measured stays for the next Start."""

from dataclasses import replace

import pytest

from privlens.audit import run
from privlens.audit.population import population
from privlens.audit.records import Attack, Intervention
from privlens.resources import SECRETS
from privlens.secret_lists import read_secrets
from privlens.ui.tabs.audit import view
from privlens.ui.text import en
from tests.audits import audit_of, finding, measured
from tests.ui.test_forms import Pressed, pressed

__all__ = ["pressed"]


def test_the_likeliest_findings_come_first_and_of_a_long_list_no_more_than_a_browser_can_take() -> None:
    findings = [finding(row, False, measured=measured(False, -float(row % 300) - 1)) for row in range(1000)]
    shown = view.table(findings)
    rows = shown["value"].values.tolist()
    assert [row[0] for row in rows[:5]] == [0, 300, 600, 900, 1]
    assert len(rows) == 200 and shown["label"] == f"{en.AUDIT_TABLE}: 200 of 1,000; the CSV file has all"
    assert view.table([])["visible"] is False


def test_a_row_says_what_was_done_and_what_brought_it_back() -> None:
    after = measured(False, -20.0, verdict="hidden")
    off = Intervention("neurons", "stepwise", 57, 1000, after, 20, 21, 0.1, 1.01, (), (Attack("relearning", True),))
    random = replace(off, kind="random", attacks=())
    erased = replace(off, kind="erasure", method="emso", attacks=(Attack("sampling", False),))
    row = view._row(finding(3, True, interventions=(off, random, erased), note="asked twice"))
    assert row[-1] == (
        "57 neurons off by stepwise: hidden, 20 of 21 others kept, brought back by relearning; "
        "erased by emso: hidden, 20 of 21 others kept; asked twice"
    )
    assert view._row(finding(3, True, false_positive="in the prompt"))[-1] == "does not count: in the prompt"


def test_the_sentence_counts_neither_controls_nor_what_was_struck_out() -> None:
    findings = [
        finding(0, True),
        finding(1, True, false_positive="in the prompt"),
        finding(2, False, control=measured(True)),
        finding(3, True, repeats=0),
    ]
    result = population(audit_of(findings))
    assert view.sentence(result)["text"] == "1 of 2 secrets are written word for word, and 2 of 2 controls."
    assert view.so_far(findings)[0]["value"]["text"] == "So far 1 of 2 secrets are written word for word."


def test_start_goes_on_with_what_was_measured_and_begins_anew_for_another_question(
    pressed: Pressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[int] = []
    measure = run.check_all

    def counted(lm: object, chunk: list[object], *rest: object, **more: object) -> object:
        checked.append(len(chunk))
        return measure(lm, chunk, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("privlens.audit.run.check_all", counted)
    plan = {"audit_methods": [], "audit_seed": 5}
    pressed.press("audit-start", **plan)
    first = pressed.kept("Finished")[-1]
    n = len(first.audit.findings)
    assert sum(checked) == n == len(read_secrets(SECRETS))
    pressed.press("audit-start", **plan)
    assert sum(checked) == n, "nothing is measured twice"
    again = pressed.kept("Finished")[-1]
    assert again.audit.findings == first.audit.findings
    pressed.press("audit-start", **plan | {"audit_seed": 6})
    assert sum(checked) == 2 * n
    other = pressed.kept("Finished")[-1]
    assert other.audit.plan.seed == 6 and other.audit.findings[0].key != first.audit.findings[0].key
