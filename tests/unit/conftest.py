"""The command line, run in this process."""

import pytest

from privlens.cli.commands import main
from tests.helpers import Run


@pytest.fixture
def run(taught_folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the taught model, in its folder; exit code, stdout, stderr."""
    monkeypatch.chdir(taught_folder)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *(["--model", "."] if "--model" not in arguments else [])])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
