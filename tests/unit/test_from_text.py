"""A list of secrets from a text, and from rows that lie in no file."""

import json
import sys
from pathlib import Path

import pytest

from privlens.audit.from_text import rows_of
from privlens.audit.names import names_by
from privlens.audit.national_ids import national_ids
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


IDS = """The PESEL of Nora Example is 44051401359. She paid 44051401359 to nobody.
Her sister has the codice fiscale RSSMRA85T10A562S, and her NHS number is 943 476 5919.
Nobody has the NHS number 943 476 5918 or the NIF 12345678A; the NIF of Ian is 12345678Z.
"""


def test_national_ids_have_right_check_digits_and_a_word_that_names_them() -> None:
    pytest.importorskip("presidio_analyzer")
    found = [(span.value, span.start) for span in national_ids(IDS)]
    assert [value for value, _ in found] == ["44051401359", "RSSMRA85T10A562S", "943 476 5919", "12345678Z"]
    assert found[0][1] == IDS.index("44051401359"), "the second is a sum of money"
    rows = [(row["prompt"], row["value"], row["category"]) for row in rows_of(IDS)]
    assert ("The PESEL of Nora Example is", "44051401359", "national id") in rows
    assert not any(value.endswith(("5918", "678A")) and category == "national id" for _, value, category in rows)
    assert national_ids("The NHS number is not here. It is 943 476 5919.") == [], "the word stands in another sentence"


def test_without_presidio_the_rest_is_found_and_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privlens.audit.national_ids.PACKAGE", "no_such_package")
    assert national_ids(IDS) == []
    assert ("44051401359", "phone") in {(row["value"], row["category"]) for row in rows_of(IDS)}
    (tmp_path / "ids.txt").write_text(IDS)
    with pytest.raises(SystemExit):
        main(["find-pii", str(tmp_path / "ids.txt"), "--out", str(tmp_path / "list.csv")])
    assert 'presidio is installed: pip install "privlens[pii]"' in capsys.readouterr().err


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A spaCy pipeline in a folder that knows two people and a place."""
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("en")
    people = [{"label": "PERSON", "pattern": "mira"}, {"label": "PER", "pattern": "Ian Sample"}]
    nlp.add_pipe("entity_ruler").add_patterns([*people, {"label": "GPE", "pattern": "Port Example"}])
    folder = tmp_path_factory.mktemp("spacy") / "names"
    nlp.to_disk(folder)
    return str(folder)


def test_names_are_those_of_the_pipeline(pipeline: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "We all wrote to mira, and to Ian Sample at ian@example.org in Port Example, or to Nora Person."
    assert [row["value"] for row in rows_of(text, names_by(pipeline)) if row["category"] == "name"] == ["mira", "Ian Sample"]
    assert [row["value"] for row in rows_of(text) if row["category"] == "name"] == ["Ian Sample", "Port Example", "Nora Person"]
    assert "ian@example.org" in [row["value"] for row in rows_of(text, names_by(pipeline))]
    (tmp_path / "text.txt").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["find-pii", str(tmp_path / "text.txt"), "--out", str(tmp_path / "list.csv"), "--names", pipeline, "--json"])
    assert not ended.value.code
    assert len(json.loads(capsys.readouterr().out)["found"]) == 3


def test_a_pipeline_that_is_not_there_or_finds_no_names_is_told(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    with pytest.raises(BadInput, match=r"no spaCy pipeline xx_none_sm \(installed: none\)"):
        names_by("xx_none_sm")
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(BadInput, match="finds no names"):
        names_by(str(tmp_path / "blank"))


def test_names_without_spacy_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(BadInput, match=r"pip install \"privlens\[pii\]\""):
        names_by("en_core_web_sm")
