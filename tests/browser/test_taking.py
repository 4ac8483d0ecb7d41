"""What a visitor takes along: figures, tables, results, neurons and the commands that make them; and what they bring back."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from privlens.cli.commands import main
from tests.browser.steps import (
    FACTS,
    Visit,
    bring,
    check,
    finished,
    localize,
    neurons_off,
    open_tab,
    show_tokens,
    unfold,
    wait_for_off,
)
from tests.helpers import TAUGHT

SESSION = "Save or open this session"
OPEN_NEURONS = ".exports:has(#neurons-open) input[type=file]"
MADE = "document.querySelector('#{}-said code').textContent.length > 0"


def saved(page: Page, press: str) -> Path:
    """The file that a press of this button saves; its name is as the page gives it."""
    with page.expect_download() as download:
        page.click(press)
    path = Path(download.value.path()).with_name(download.value.suggested_filename)
    download.value.save_as(path)
    return path


def command_of(page: Page, part: str) -> str:
    """The command that a press copies and shows."""
    page.click(f"#{part}-command")
    page.wait_for_function(MADE.format(part))
    shown = page.inner_text(f"#{part}-said code")
    assert page.evaluate("navigator.clipboard.readText()") == shown
    return shown


def printed(command: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a command prints with --json."""
    capsys.readouterr()
    program, *arguments = shlex.split(command)
    assert program == "privlens"
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--json"])
    assert not end.value.code, capsys.readouterr().err
    return dict(json.loads(capsys.readouterr().out))


def same(first: Any, second: Any) -> bool:
    """Whether two objects are equal but for the seconds that they took and the last digits of their numbers."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first if key != "seconds")
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float) and isinstance(second, float | int):
        return bool(np.isclose(first, second, rtol=1e-4, atol=1e-5))
    return bool(first == second)


def test_the_commands_print_the_files_that_the_page_saves(
    visit: Visit, taught_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(taught_folder) / "secrets.csv", tmp_path / "my-list.csv")
    bring(page, taught_folder)
    check(page)
    report = json.loads(saved(page, "#check-json").read_text())
    assert same(report, printed(command_of(page, "check"), capsys))

    localize(page, "activations")
    report = json.loads(saved(page, "#localize-json").read_text())
    localized = printed(command_of(page, "localize"), capsys)
    assert same(report | {"retained": localized["retained"]}, localized), "of the others the command retains the known ones only"
    assert (tmp_path / "neurons.json").exists(), "the command writes them"

    shutil.copy(saved(page, "#neurons-save"), tmp_path / "neurons.json")
    page.click("#to-deactivate")
    page.click("#measure-start")
    finished(page, "measure")
    report = json.loads(saved(page, "#measure-json").read_text())
    measured = printed(command_of(page, "measure"), capsys)
    assert report["neurons"] == measured["neurons"]
    assert same(report["target"], measured["target"])
    assert report.keys() == measured.keys()
    assert not visit.errors


def test_figures_and_tables_are_saved_by_keys_alone_and_from_the_page_alone(visit: Visit, taught_folder: str) -> None:
    page = visit.page
    bring(page, taught_folder)
    check(page)
    show_tokens(page)
    files = {}
    for number, form in enumerate(("png", "svg", "html"), 1):
        page.locator("#check-bars summary").focus()
        page.keyboard.press("Enter")
        for _ in range(number):
            page.keyboard.press("Tab")
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert download.value.suggested_filename == f"privlens-check-bars.{form}"
        files[form] = Path(download.value.path()).read_bytes()
    assert files["png"].startswith(b"\x89PNG")
    assert b"<svg" in files["svg"][:300]
    assert b"private value" in files["svg"]
    assert b"src=" not in files["html"].split(b"<body")[1][:200]
    alone = page.context.browser.new_context(offline=True).new_page()  # type: ignore[union-attr]
    alone.set_content(files["html"].decode())
    alone.wait_for_selector("#figure .main-svg")
    assert "private value" in alone.inner_text("#figure")
    alone.context.close()
    table = saved(page, "#own-tokens-csv").read_text("utf-8-sig")
    assert table.startswith("token,probability,NLL (nats),rank\n")
    assert visit.hosts == {"127.0.0.1", ""} or visit.hosts == {"127.0.0.1"}
    assert not visit.errors


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("  =1+1", "'  =1+1"),
        ("+49 170 1234", "'+49 170 1234"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", '"\'\t=1"'),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ('=HYPERLINK("x";"y")', '"\'=HYPERLINK(""x"";""y"")"'),
        ("-1.5", "-1.5"),
        ("-", "-"),
        ("1,234", '"1,234"'),
        ("a, b", '"a, b"'),
    ],
)
def test_no_cell_of_a_table_is_a_formula(visit: Visit, cell: str, written: str) -> None:
    assert visit.page.evaluate("cell => privlens.cell(cell)", cell) == written


def one_on_again(page: Page, folder: str) -> int:
    """Localizes the first of the taught secrets and switches one of its neurons on again; how many are still off."""
    bring(page, folder)
    localize(page, "activations")
    n_off = neurons_off(page) - 1
    page.locator("#neuron-toggles input").first.click()
    wait_for_off(page, n_off)
    return n_off


def test_a_set_of_neurons_is_saved_and_opened_again(visit: Visit, taught_folder: str, tmp_path: Path) -> None:
    page = visit.page
    n_off = one_on_again(page, taught_folder)
    file = saved(page, "#neurons-save")
    content = json.loads(file.read_text())
    assert content["k"] == len(content["neurons"]) == n_off
    assert {"site", "target", "retained", "fingerprint"} <= content.keys()
    page.click("#undo")
    wait_for_off(page, n_off + 1)
    page.set_input_files(OPEN_NEURONS, file)
    wait_for_off(page, n_off)
    page.wait_for_function(FACTS.format("quick-facts"))
    listed = tmp_path / "listed.json"
    listed.write_text("[[0, 3], [1, 9]]")
    page.set_input_files(OPEN_NEURONS, listed)
    wait_for_off(page, 2)
    assert "layer 0, neuron 3" in page.inner_text("#neuron-toggles")
    deeper = tmp_path / "deeper.json"
    deeper.write_text("[[7, 3]]")
    page.set_input_files(OPEN_NEURONS, deeper)
    page.wait_for_function("window.toasts.some(toast => toast.includes('not one of this model'))")
    assert neurons_off(page) == 2
    open_tab(page, "Switch off")
    assert not visit.errors


def test_a_session_is_saved_and_opened_by_another_visitor(visit: Visit, other: Visit, taught_folder: str) -> None:
    page = visit.page
    n_off = one_on_again(page, taught_folder)
    unfold(page, SESSION)
    file = saved(page, "#session-save")
    assert TAUGHT[0].value not in file.read_text(), "values are left out unless the visitor says otherwise"
    bring(other.page, taught_folder)
    unfold(other.page, SESSION)
    other.page.set_input_files("#session input[type=file]", file)
    open_tab(other.page, "Localize")
    wait_for_off(other.page, n_off)
    assert other.page.input_value("#method input") == "activations"
    assert TAUGHT[0].value in other.page.inner_text("#header")
    assert not visit.errors + other.errors
