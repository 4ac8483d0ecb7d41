"""The pace of an audit, from when its chunks were there."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from privlens.bench.audit_scaling import pace, scaling
from privlens.cli.commands import main
from privlens.errors import BadInput


def test_the_pace_leaves_out_the_first_chunk_of_every_worker() -> None:
    alone = [40.0, 48.0, 56.0, 64.0]
    assert pace(alone, 64, 1) == 0.5, "three chunks of 16 in 24 seconds"
    two = [40.0, 41.0, 50.0, 51.0]
    assert pace(two, 64, 2) == pytest.approx(10 / 32), "the first two chunks hold the start of both"


def test_a_row_hangs_together(taught_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("privlens.audit.run", "privlens.audit.checks", "privlens.bench.audit_scaling"):
        monkeypatch.setattr(f"{module}.AT_ONCE", 2)
    [row] = scaling(Path(taught_folder) / "secrets.csv", [0], 4, taught_folder, "cpu", "auto")
    assert (row.workers, row.secrets) == (0, 4)
    assert row.seconds_each == pytest.approx((row.seconds - row.start_s) / 2), "two of the four secrets are of the first chunk"
    assert row.a_second == pytest.approx(1 / row.seconds_each)
    assert row.million_days == pytest.approx(row.seconds_each * 1e6 / 86_400)
    assert json.dumps(asdict(row))


def test_too_few_secrets_are_told(taught_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    listed = Path(taught_folder) / "secrets.csv"
    with pytest.raises(BadInput, match="5 secrets give each worker no second chunk of 16"):
        next(scaling(listed, [0], 64, taught_folder, "cpu", "auto"))
    with pytest.raises(SystemExit) as ended:
        main(["bench", "audit", "--secrets", str(listed), "--model", taught_folder, "--workers", "none"])
    assert ended.value.code == 2
    assert "--workers 'none' is not a list of whole numbers" in capsys.readouterr().err
