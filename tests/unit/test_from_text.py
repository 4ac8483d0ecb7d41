"""A list of secrets from a text, and from rows that lie in no file."""

import json
from pathlib import Path

import pytest

from privlens.audit.from_text import rows_of
from privlens.cli.commands import main
from privlens.errors import BadInput
from privlens.secret_lists import list_of_rows, read_list

LETTER = """Dear team,

The card of Nora Example is 4111 1111 1111 1111. You can write to nora@example.org, or call Ian Sample on 0450-9322.
The order number is 12. You can write to nora@example.org, or wait.
"""


def test_what_looks_private_stands_behind_the_words_before_it() -> None:
    found = {(row["prompt"], row["value"], row["category"]) for row in rows_of(LETTER)}
    assert ("The card of Nora Example is", "4111 1111 1111 1111", "card") in found
    assert ("You can write to", "nora@example.org", "e-mail") in found
    assert ("You can write to nora@example.org, or call Ian Sample on", "0450-9322", "phone") in found
    assert not any(row["value"] == "12" for row in rows_of(LETTER))
    assert sum(row["value"] == "nora@example.org" for row in rows_of(LETTER)) == 1, "the same prompt and value come once"
    assert rows_of("Nothing to see here.") == []
    with pytest.raises(BadInput, match="text"):
        rows_of("a" * 200_001)


def test_the_command_writes_a_list_that_the_others_read_and_prints_no_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text(LETTER)
    with pytest.raises(SystemExit) as ended:
        main(["find-pii", str(tmp_path / "letter.txt"), "--out", str(tmp_path / "list.csv"), "--json"])
    assert not ended.value.code
    out, err = capsys.readouterr()
    assert [row.secret.value for row in read_list(tmp_path / "list.csv").rows] == [row["value"] for row in rows_of(LETTER)]
    assert len(json.loads(out)["found"]) == len(rows_of(LETTER))
    assert "4111 1111" not in out + err and "nora@" not in out + err


def test_rows_of_no_file_are_read_like_those_of_one() -> None:
    rows = [{"prompt": "a", "value": "b", "category": "x"}, {"prompt": "", "value": "c", "category": ""}]
    read = list_of_rows("by hand", rows)
    assert [str(entry) for entry in read.secrets.rejected] == ["row 2: the prompt is empty. Fill it in, or remove the row"]
    assert [(row.secret.value, row.secret.category) for row in read.secrets.rows] == [("b", "x")]
    assert read.sha256 != list_of_rows("by hand", rows[:1]).sha256 == list_of_rows("else", rows[:1]).sha256
    for none in ([], rows[1:]):
        with pytest.raises(BadInput, match="by hand has no row that can be used"):
            list_of_rows("by hand", none)
