"""What the command line draws: plain text in a pipe, bold headers and a bar on a terminal, and never markup."""

import io
import sys
from dataclasses import dataclass

import pytest

from privlens.cli import progress, tables

HOSTILE = "[bold red]x[/] :smile: \x1b[31m \x9b31m \u2028"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass
class Step:
    step: int
    n_steps: int
    stage: str


def test_a_pipe_gets_plain_text_that_is_not_wrapped_or_interpreted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    quoted = tables.quoted(HOSTILE)
    tables.print_parts([tables.pairs([("value", quoted), ("long name", "y " * 300 + "y")]), tables.line("[a] :b: " * 20)])
    out = capsys.readouterr().out
    assert out.splitlines()[0] == 'value      "[bold red]x[/] :smile: \\u001b[31m \\u009b31m \\u2028"'
    assert out.splitlines()[1:] == ["long name  " + "y " * 300 + "y", "", ("[a] :b: " * 20).rstrip()]
    assert "\x1b" not in out


def test_records_of_unlike_columns_are_aligned_and_keep_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_parts([tables.records([{"method": "a", "n": 5, "rate": 0.25}, {"method": "b[i]", "n": None, "rate": 12.0}])])
    assert capsys.readouterr().out.splitlines() == ["method  n    rate", "a       5   0.250", "b[i]    -  12.000"]


def test_a_narrow_terminal_wraps_long_texts_and_cuts_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    table = tables.columns(("text", "number"), [("word " * 30, "1234567.891")], ("number",))
    tables.print_parts([table, tables.line("[a] " * 30 + "end")])
    out = terminal.getvalue()
    assert out.endswith("\n\n" + "[a] " * 30 + "end\n"), "a line is left to the terminal"
    assert "1234567.891" in out and out.count("word") == 30 and out.count("\n") > 5


def test_a_terminal_shows_a_bar_that_is_gone_before_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    progress.report_step(Step(1, 3, "training"), ": NLL [red]0.50")
    progress.report_progress("a line [b]")
    progress.report_step(Step(3, 3, "done"))
    drawn = terminal.getvalue()
    assert "1/3" in drawn and "training: NLL [red]0.50" in drawn and "a line [b]" in drawn and "3/3" in drawn
    progress.close()
    assert terminal.getvalue().endswith("\x1b[2K"), "the bar's line is erased"
    assert "\x1b[?25h" in terminal.getvalue(), "and the cursor is shown again"


def test_a_pipe_gets_a_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    progress.report_step(Step(1, 3, "training"), ": NLL 0.50")
    assert capsys.readouterr().err == "1/3 training: NLL 0.50\n"
