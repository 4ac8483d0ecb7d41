"""Starting the page: what stands in its way is said in one line."""

import pytest
import typer

from privlens.cli import app
from privlens.errors import ModelNotFound


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (NotADirectoryError(20, "Not a directory", "/dev/null/gr"), "cannot be served ([Errno 20] Not a directory: '/dev"),
        (OSError("Cannot find empty port in range: 7860-7860.\nSet another."), "Cannot find empty port in range: 7860-7860. Set"),
        (ModelNotFound("No causal LM could be read."), "No causal LM could be read."),
    ],
)
def test_what_keeps_the_page_from_starting_is_said_in_one_line(
    raised: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: str) -> None:
        raise raised

    monkeypatch.setattr("privlens.ui.build_cache", broken)
    with pytest.raises(typer.Exit) as ended:
        app.serve()
    out, err = capsys.readouterr()
    assert (ended.value.exit_code, out, err.count("\n")) == (2, "", 1)
    assert words in err
