"""Both experiments of the paper in one command: rows as they come, a stopped run that goes on, plants that were not reached."""

import csv
import json
from pathlib import Path

import pytest

from privlens.bench import paper
from privlens.bench.journal import Journal
from privlens.bench.paper import NOT_REACHED, PaperSettings, summary
from privlens.cli.commands import main
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.types import Secret
from tests.helpers import TAUGHT

SETTINGS = PaperSettings(("gradient", "random"), ratio=0.3, share=0.1, fair=False, steps=300)
LISTED = dict(enumerate(TAUGHT))


def planted_rows(lm: LanguageModel, path: Path | None = None, settings: PaperSettings = SETTINGS) -> Journal:
    journal = Journal(path, {"a": 1})
    list(paper.inj(lm, {0: Secret("the code of Lupo is", "77-31")}, settings, journal))
    return journal


def test_inj_names_the_planted_neurons_and_recalls_both_ways(taught: LanguageModel) -> None:
    rows = planted_rows(taught).rows
    assert [row["method"] for row in rows] == ["gradient", "random", *[name for name in paper.CONTROLS if name != "random"]]
    [first, *_] = rows
    assert first["reached"]
    assert len(first["neurons"]) == first["k"] == round(0.3 * taught.n_neurons)
    assert set(first["recall"]) == {"global", "per-layer"}
    assert all(0 <= recall <= 1 for row in rows for recall in row["recall"].values())


def test_a_plant_that_is_not_reached_is_told_and_left_out_of_every_mean(taught: LanguageModel) -> None:
    journal = planted_rows(taught, settings=PaperSettings(("gradient",), ratio=0.3, fair=False, steps=1))
    [row] = journal.rows
    assert (row["reached"], row["method"]) == (False, NOT_REACHED)
    assert summary(journal.rows) == []
    assert not list(paper.inj(taught, {0: Secret("the code of Lupo is", "77-31")}, SETTINGS, journal)), "it is not tried again"


def test_a_stopped_run_goes_on_where_it_ended(taught: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    whole = planted_rows(taught, path).rows
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:3]) + '\n{"experiment": "inj", "ro')  # killed in the midst of a row
    journal = planted_rows(taught, path)
    assert [row["method"] for row in journal.rows] == [row["method"] for row in whole]
    strip = [{name: value for name, value in row.items() if name != "seconds"} for row in (*whole, *journal.rows)]
    assert strip[: len(whole)] == strip[len(whole) :]
    assert [json.loads(line) for line in path.read_text().splitlines()][1:] == journal.rows
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    Journal(path, {"seed": 0})
    with pytest.raises(BadInput, match="other settings, model or list"):
        Journal(path, {"seed": 1})
    path.write_text("a,b\n")
    with pytest.raises(BadInput, match="does not hold the rows"):
        Journal(path, {"seed": 0})


def test_del_measures_what_is_listed_and_judges_on_all(taught: LanguageModel) -> None:
    journal = Journal(None, {})
    secrets = list(LISTED.items())
    others = [secret for _, secret in secrets[1:]]
    rows = list(paper.delete(taught, dict(secrets[:1]), others, (), SETTINGS, journal))
    assert [(row["row"], row["method"]) for row in rows] == [(0, "gradient"), (0, "random")]
    assert set(rows[0]["off"]) == {"global", "per-layer"}
    assert rows[0]["off"]["global"]["n_unseen"] >= 1


def test_means_by_hand() -> None:
    inj = [
        {"experiment": "inj", "row": row, "method": "m", "k": 10, "recall": {"global": got, "per-layer": 0.0}}
        for row, got in ((0, 0.2), (1, 0.6))
    ]
    rows = summary([*inj, {"experiment": "inj", "row": 2, "method": NOT_REACHED}])
    assert [(row["choice"], row["n"]) for row in rows] == [("global", 2), ("per-layer", 2)]
    assert rows[0]["recall"] == pytest.approx(0.4)
    assert rows[1]["recall"] == 0


def test_the_command(taught_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed, out = tmp_path / "list.csv", tmp_path / "rows.jsonl"
    with listed.open("w", newline="") as file:
        csv.writer(file).writerows([("prompt", "value"), *((secret.prompt, secret.value) for secret in TAUGHT)])
    asked = [
        "bench",
        "paper",
        "--model",
        taught_folder,
        "--secrets",
        str(listed),
        "--rows",
        "0",
        "--methods",
        "gradient",
        "--ratio",
        "0.1",
    ]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--share", "0.1", "--planting", "published", "--steps", "300", "--out", str(out), "--json"])
    assert ended.value.code in (0, None)
    found = json.loads(capsys.readouterr().out)
    assert {row["experiment"] for row in found["rows"]} == {"inj", "del"}
    assert found["settings"]["plants"] == 1
    assert not any(secret.value in out.read_text() for secret in TAUGHT), "values stay in the list"
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--experiments", "ins"])
    assert ended.value.code == 2
