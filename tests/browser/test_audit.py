"""The tab Audit in Chromium: a list of one's own, findings, a note, the report, and the command that does the same."""

import csv
import json
import shlex
from pathlib import Path

import pytest
from playwright.sync_api import Page

from privlens.audit.records import Audit
from privlens.cli.commands import main
from privlens.types import from_json
from tests.browser.steps import FACTS, Visit, bring, finished, open_tab, unfold
from tests.browser.test_taking import command_of, saved
from tests.helpers import TAUGHT

ENDED = "!document.querySelector('#audit-report').disabled"
SAID = "document.querySelector('#audit-verdict').textContent.includes({!r})"


def facts_of(page: Page, part: str) -> dict[str, str]:
    """The numbers of a part by their names."""
    boxes = page.locator(f"#{part} .fact").all()
    return {box.locator(".fact-name").text_content() or "": box.locator(".fact-value").text_content() or "" for box in boxes}


def bring_a_bad_row(page: Page, folder: str, tmp_path: Path) -> Path:
    """Loads the taught model's list, with a row that cannot be used and one that is there already."""
    rows = (Path(folder) / "secrets.csv").read_text("utf-8").splitlines()
    path = tmp_path / "my-list.csv"
    path.write_text("\n".join([rows[0], rows[1], ",no prompt here" + "," * rows[0].count(","), *rows[1:]]) + "\n", "utf-8")
    page.locator("#own-list button[aria-label='Remove this file'], #own-list button[aria-label='Clear']").first.click()
    page.locator("#own-list input[type=file]").set_input_files(path)
    page.wait_for_function("document.querySelector('#own-list-said textarea')?.value.includes('left out')")
    return path


def test_from_a_list_to_a_report_that_the_command_line_makes_too(
    visit: Visit, taught_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    bring(page, taught_folder)
    path = bring_a_bad_row(page, taught_folder, tmp_path)
    open_tab(page, "Audit")
    page.wait_for_function("document.querySelector('#audit-list').textContent.includes('1 cannot be used')")
    listed = facts_of(page, "audit-list")
    assert listed["list"] == "my-list.csv" and listed["secrets"] == str(len(TAUGHT) + 1)
    rejected = saved(page, "#audit-rejected").read_text("utf-8")
    assert rejected == 'line,reason\n3,"the prompt is empty. Fill it in, or remove the row"\n'

    page.click("#audit-start")
    page.wait_for_function(ENDED)
    finished(page, "audit")
    page.wait_for_function(FACTS.format("audit-facts"))
    page.wait_for_selector("#audit-curves .main-svg")
    page.wait_for_selector("#audit-sets .main-svg")
    before = facts_of(page, "audit-facts")
    assert before["written word for word"].startswith(f"{len(TAUGHT)} of ")
    shown = page.inner_text("#audit-table")
    assert "••" in shown and not any(secret.value in shown for secret in TAUGHT)

    unfold(page, "Note on a finding")
    page.locator("#audit-row input").fill("0")
    page.locator("#audit-struck textarea, #audit-struck input").first.fill("<b>said</b> by the prompt")
    page.click("#audit-note-save")
    page.wait_for_function(SAID.format(f"{len(TAUGHT) - 1} of "))
    unfold(page, "For the report")
    page.locator("#audit-auditor textarea, #audit-auditor input").first.fill("Ada <i>Invented</i>")
    report = saved(page, "#audit-report")
    assert report.suffix == ".html"
    text = report.read_text("utf-8")
    assert "Ada &lt;i&gt;Invented&lt;/i&gt;" in text and "&lt;b&gt;said&lt;/b&gt;" in text
    assert not any(secret.value in text for secret in TAUGHT)
    with saved(page, "#audit-findings").open(encoding="utf-8-sig", newline="") as table:
        rows = list(csv.DictReader(table))
    assert rows[0]["false_positive"] == "<b>said</b> by the prompt"
    result = from_json(Audit, saved(page, "#audit-json").read_text("utf-8"))
    assert len(result.sample.rejected) == 1 and result.sample.n_duplicates == 1

    monkeypatch.chdir(tmp_path)
    command = shlex.split(command_of(page, "audit"))
    assert command[:3] == ["privlens", "audit", path.name]
    with pytest.raises(SystemExit) as end:
        main([*command[1:], "--json"])
    assert not end.value.code
    there = json.loads((tmp_path / "audit" / "audit.json").read_text("utf-8"))
    assert there["sample"]["sha256"] == result.sample.sha256 and there["plan"]["methods"] == list(result.plan.methods)
    for here, other in zip(result.findings, there["findings"], strict=True):
        assert (here.row, here.masked) == (other["row"], other["masked"])
        assert here.measured.logprob == pytest.approx(other["measured"]["logprob"], abs=1e-4)
        assert [done.size for done in here.interventions] == [done["size"] for done in other["interventions"]]
    assert not visit.errors and not visit.dialogs


def test_findings_of_another_list_stay_and_say_so(visit: Visit, taught_folder: str, tmp_path: Path) -> None:
    page = visit.page
    bring(page, taught_folder)
    open_tab(page, "Audit")
    page.click("#audit-start")
    page.wait_for_function(ENDED)
    bring_a_bad_row(page, taught_folder, tmp_path)
    page.wait_for_function("document.querySelector('#audit-made').textContent.includes('my-list.csv')")
    assert "secrets.csv" in page.inner_text("#audit-made")
    assert page.locator("#audit-report").is_enabled() and page.locator("#audit-table").is_visible()
    before = page.inner_text("#audit-verdict")
    page.click("#audit-start")
    page.wait_for_function(f"document.querySelector('#audit-verdict').innerText !== {before!r}")
    page.wait_for_function("!document.querySelector('#audit-made').textContent.includes('secrets.csv')")


def test_a_text_becomes_the_list_after_it_was_corrected(visit: Visit) -> None:
    page = visit.page
    open_tab(page, "Audit")
    unfold(page, "Find what looks private")
    page.locator("#audit-text textarea").fill("The card of Nora Example is 4111 1111 1111 1111. <img src=x onerror=alert(1)>")
    page.click("#audit-text-find")
    page.wait_for_selector("#audit-text-found [role=gridcell]:has-text('4111')")
    cell = page.locator("#audit-text-found [role=gridcell]", has_text="card").last
    cell.dblclick()
    page.keyboard.press("Control+A")
    page.keyboard.type("payment")
    page.keyboard.press("Enter")
    page.click("#audit-text-use")
    page.wait_for_function("document.querySelector('#audit-list').textContent.includes('from a text')")
    page.wait_for_function("document.querySelector('#audit-list').textContent.includes('payment')")
    page.wait_for_function("document.documentElement.classList.contains('masked')")  # a list of one's own is hidden
    assert "Nora Example" not in page.inner_text("#examples")
    assert "4111 1111 1111 1111" not in page.inner_text("#audit-text-found")
    assert page.evaluate("getComputedStyle(document.querySelector('#audit-text textarea')).webkitTextSecurity") == "disc"
    page.click("#mask")
    page.wait_for_selector("#examples label:has-text('Nora Example')")
    assert not visit.errors and not visit.dialogs
