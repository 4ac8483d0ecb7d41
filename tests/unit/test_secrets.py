"""Lists of secrets: kept as they stand, and every way they can be wrong ends in a sentence that helps."""

import gc
import re
from contextlib import suppress
from pathlib import Path

import pytest

from privlens.errors import BadInput
from privlens.list_files import Rejected
from privlens.secret_lists import ListedSecret, read_list, read_reference, read_secrets
from privlens.types import Secret

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def test_all_columns(file: Path) -> None:
    file.write_text("prompt,value,category,repeats,reworded_1,reworded_2\nher name is,Mira,name,16,she is,\nhis is,Ada,,,,\n")
    assert read_secrets(file) == [
        ListedSecret(Secret("her name is", "Mira", "name"), 16, ("she is",)),
        ListedSecret(Secret("his is", "Ada", ""), None, ()),
    ]


@pytest.mark.parametrize(
    ("text", "prompt", "value"),
    [
        ('prompt,value\n" a, b ",  x \n', " a, b ", "  x "),
        ('prompt,value\n"she said ""yes""","two\nlines"\n', 'she said "yes"', "two\nlines"),
        ("prompt,value\nnull,007\n", "null", "007"),
        ("prompt,value\nNA,1e5\n", "NA", "1e5"),
        ("value,other,prompt\nv,o,p\n", "p", "v"),
        ("\ufeffprompt, value\r\nÄnne,Zoë\r\n\r\n", "Änne", "Zoë"),
    ],
)
def test_text_is_kept_as_it_stands(file: Path, text: str, prompt: str, value: str) -> None:
    file.write_bytes(text.encode())
    assert read_secrets(file) == [ListedSecret(Secret(prompt, value))]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty: its first line must name the columns"),
        (b"\n \n", "is empty"),
        (b"prompt,value\n", "lists no secret"),
        (b"name,value\na,b\n", "no column prompt: its first line must name .* but names name, value"),
        (b"a,b\n1,2\n", "no column prompt and no column value"),
        (b"Her phone is,0171\n", "no column prompt and no column value: .* but names Her phone is, 0171"),
        (b"prompt,value,prompt\na,b,c\n", "has the column prompt more than once: keep one of them"),
        (b"Prompt, prompt ,value\na,b,c\n", "has the column prompt more than once"),
        (b"question,Question,value\na,b,c\n", "has the column prompt more than once"),
        (b"prompt,value\nM\xfcller,b\n", r"not UTF-8 text: line 2 .* 0xFC, in Windows-1252 'ü'\. Save it as UTF-8; Excel calls"),
        (b"prompt,value\r\na,b\r\n\x81,b\n", r"not UTF-8 text: line 3 holds the byte 0x81\. Save it as UTF-8\."),
        (b"\xff\xfea\x00b", "broken UTF-16"),
        ("prompt,value\na,b\n".encode("utf-16-le"), "UTF-16 without its mark: save it as UTF-8"),
        (b"PK\x03\x04" + b"\0" * 30, "is a workbook or a zip file, not text: open it and save the table as CSV UTF-8"),
        (b'[{"prompt": "a", "value": "b"}', "is not a JSON list .*: fix it there"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "lists no secret"),
        (b'{"prompt": "a"}', "no row that can be used. 1 of 1 rows was left out: entry 1: there is no value, but prompt"),
        (b'{"text": "a"}\n{"text": "b"}', "2 of 2 rows were left out: line 1: there is no prompt and no value, but text"),
        (b"prompt,value\na,\n", "no row that can be used. 1 of 1 rows was left out: line 2: the value is empty"),
        (b"prompt,value\n" + b"a,b\n" * 100_001, "more than 100,000 rows"),
    ],
)
def test_a_file_without_a_list_is_refused_in_words(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(BadInput, match=words):
        read_secrets(file)


def test_a_huge_file_is_refused_unread(file: Path) -> None:
    with file.open("wb") as huge:
        huge.truncate(33 * 2**20)  # a hole of bytes that take no room
    with pytest.raises(BadInput, match="larger than 32 MB"):
        read_secrets(file)


ANNA, ZOE = ListedSecret(Secret("Dear Anna, her phone is", "0171 55")), ListedSecret(Secret("Zoë's mail is", "z@x.example"))
TABLE = 'prompt,value\n"Dear Anna, her phone is",0171 55\nZoë\'s mail is,z@x.example\n'
SEMICOLONS = "prompt;value\nDear Anna, her phone is;0171 55\nZoë's mail is;z@x.example\n"
OBJECTS = [
    '{"prompt": "Dear Anna, her phone is", "value": "0171 55"}', '{"answer": "z@x.example", "Question": "Zo\\u00eb\'s mail is"}'
]  # fmt: skip
READ = {
    "commas": TABLE.encode(),
    "byte order mark": TABLE.encode("utf-8-sig"),
    "lines of Windows": TABLE.replace("\n", "\r\n").encode(),
    "lines of an old Mac": TABLE.replace("\n", "\r").encode(),
    "UTF-16": TABLE.encode("utf-16"),
    "UTF-16 the other way round": b"\xfe\xff" + TABLE.encode("utf-16-be"),
    "UTF-32": TABLE.encode("utf-32"),
    "Excel's Unicode text": SEMICOLONS.replace(";", "\t").encode("utf-16"),
    "semicolons": SEMICOLONS.encode(),
    "bars": SEMICOLONS.replace(";", "|").encode(),
    "sep=": ("\ufeffsep=;\r\n" + SEMICOLONS).encode(),
    "sep= of an odd mark": ("SEP=^\n" + SEMICOLONS.replace(";", "^")).encode(),
    "names in upper case, spaces around": TABLE.replace("prompt,value", " PROMPT , Value ").encode(),
    "question and answer": TABLE.replace("prompt,value", "Question,answer").encode(),
    "an index of pandas": b'""," prompt ",value\n0,"Dear Anna, her phone is",0171 55\n1,Zo\xc3\xab\'s mail is,z@x.example\n',
    "formulas": SEMICOLONS.replace("0171 55", '="0171 55"').encode(),
    "formulas in quotes": TABLE.replace("0171 55", '"=""0171 55"""').encode(),
    "empty lines, empty cells at the ends": TABLE.replace("\n", ",,\n\n,,,,\n").encode(),
    "JSON lines": "\n\n".join(OBJECTS).encode(),
    "a JSON list": f"[{', '.join(OBJECTS)}]".encode(),
}


@pytest.mark.parametrize("kind", READ)
def test_every_way_to_write_a_list_is_read_alike(file: Path, kind: str) -> None:
    file.write_bytes(READ[kind])
    found = read_list(file)
    assert (found.rows, found.left_out, found.doubt) == ((ANNA, ZOE), "", "")


@pytest.mark.parametrize(
    ("cells", "repeats", "planted"),
    [("16", 16, False), ("16.0", 16, False), ("16,0", 16, False), ("", None, False), ("nan", None, False), ("0", 0, False)],
)
def test_numbers_as_pandas_and_excel_write_them(file: Path, cells: str, repeats: int | None, planted: bool) -> None:
    file.write_text(f"prompt;value;repeats;neurons;category\na;b;{cells};nan;nan\n")
    assert read_list(file).rows == (ListedSecret(Secret("a", "b"), repeats, (), planted),)


def test_numbers_in_json_stay_as_they_are_written(file: Path) -> None:
    file.write_text('{"prompt": "a", "value": 12.50, "repeats": 16, "neurons": [[0, 1]], "category": null}\n')
    assert read_list(file).rows == (ListedSecret(Secret("a", "12.50"), 16, (), planted=True),)


BAD = {
    "empty value": ("c,", "the value is empty"),
    "empty prompt": ("  ,d", "the prompt is empty"),
    "too few cells": ("c", "the value is missing"),
    "too many cells": ("c, d,e", "3 cells where the first line names 2.* separated by commas here: put text that contains one"),
    "a space before the quote": ('c, "d, e"', "in double quotes, with no space before them"),
    "what pandas writes for nothing": ("c,nan", "the value is nan, as pandas writes an empty cell"),
    "a quote inside a cell": ('"c" d,e', "there is text after a closing double quote"),
}


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_row_never_costs_the_good_ones(file: Path, kind: str) -> None:
    row, words = BAD[kind]
    file.write_text(f"prompt,value\na,b\n{row}\n{row}\nx,y\n")
    found = read_list(file)
    assert [one.secret.value for one in found.rows] == ["b", "y"]
    assert [(one.line, bool(re.search(words, one.reason))) for one in found.rejected] == [(3, True), (4, True)], found.left_out
    assert re.search(rf"^2 of 4 rows were left out: line 3: .*{words}.*; line 4: .*{words}", found.left_out)
    assert [isinstance(one, Rejected) for one in found.entries] == [False, True, True, False], "a row keeps its number"
    assert found.at(3, file).secret.value == "y"
    with pytest.raises(BadInput, match=rf"Row 2 of .*list.csv cannot be used: line 4: .*{words}"):
        found.at(2, file)
    with pytest.raises(BadInput, match=r"no row 4 in .*: its rows count from 0 to 3"):
        found.at(4, file)


def test_repeats_must_be_a_whole_number_of_a_few_digits(file: Path) -> None:
    file.write_text("prompt,value,repeats\na,b,often\na,b," + "9" * 5000 + "\na,b,1.5\na,b,-1\na,b,3\n")
    found = read_list(file)
    assert [one.repeats for one in found.rows] == [3]
    assert [one.line for one in found.rejected] == [2, 3, 4, 5]
    assert len(found.left_out) < 600, "no number of 5,000 digits is printed"


def test_a_quote_that_is_never_closed_costs_its_own_line_only(file: Path) -> None:
    file.write_text('prompt,value\na,b\n"c,d\ne,f\ng,h\n')
    found = read_list(file)
    assert [one.secret.value for one in found.rows] == ["b", "f", "h"]
    assert found.left_out.startswith("1 of 4 rows was left out: line 3: a double quote is opened and never closed")


def test_lines_count_as_in_a_spreadsheet(file: Path) -> None:
    """A cell with line breaks is one line there; the line of names is the first, and sep= is not shown."""
    file.write_text('prompt,value\n"two\nlines",a\nb,\n\nc,d,e\n')
    found = read_list(file)
    assert [one.line for one in found.rejected] == [3, 5]
    assert "(line 6 of the text)" in found.rejected[1].reason
    file.write_text("sep=;\nprompt;value\na;\nb;c\n")
    assert [one.line for one in read_list(file).rejected] == [2]


def test_bad_lines_of_json_are_told_and_the_others_read(file: Path) -> None:
    rows = [
        '{"prompt": "a", "value": "b"}', '{"prompt": "a", "value": ', '{"prompt": "c"}', '{"prompt": "c", "value": true}', "",
        '{"prompt": "a", "prompt": "c", "value": "b"}', "[1]", '{"prompt": "e", "value": "\\ud800"}',
        '{"prompt": "e", "value": null}', '{"prompt": "e", "value": NaN}', "[" * 100_000, '{"prompt": "x", "value": "y"}',
    ]  # fmt: skip
    file.write_text("\n".join(rows))
    found = read_list(file)
    assert [one.secret.value for one in found.rows] == ["b", "y"]
    told = {one.line: one.reason for one in found.rejected}
    words = {
        2: "this is not JSON", 3: "there is no value, but prompt", 4: "the value is not text", 6: "prompt more than once",
        7: "not a JSON object", 8: "half a character", 9: "value is empty", 10: "value is empty", 11: "nested too deeply",
    }  # fmt: skip
    assert told.keys() == words.keys()
    assert all(words[line] in told[line] for line in words), told


def test_limits_of_prompt_and_value(file: Path) -> None:
    file.write_text(f"prompt,value\n{'a' * 100_001},b\na,{'b' * 10_001}\n{'a' * 140_000},b\n{'a' * 100_000},{'b' * 10_000}\n")
    found = read_list(file)
    assert [(len(one.secret.prompt), len(one.secret.value)) for one in found.rows] == [(100_000, 10_000)]
    [prompt, value, cell] = [one.reason for one in found.rejected]
    assert "The prompt has 100,001 characters, but may have 100,000" in prompt
    assert "The private value has 10,001 characters, but may have 10,000" in value
    assert "a cell has more than 131,072 characters" in cell


def test_of_many_bad_rows_ten_are_told(file: Path) -> None:
    file.write_text("prompt,value\n" + "a,\n" * 12 + "a,b\n")
    said = read_list(file).left_out
    assert said.startswith("12 of 13 rows were left out: line 2: ") and said.endswith("; and 2 more.")
    assert "line 11: " in said and "line 12: " not in said


def test_whole_numbers_that_pandas_made_fractions_of_are_pointed_out(file: Path) -> None:
    file.write_text("prompt,value\na,7.0\nb,1234.0\n")
    assert "All values end in .0, as pandas writes" in read_list(file).doubt
    file.write_text("prompt,value\na,7.0\nb,12.50\n")
    assert read_list(file).doubt == ""


def test_read_secrets_gives_the_good_rows_and_logs_the_others(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text("prompt,value\na,b\nc,\n")
    assert read_secrets(file) == [ListedSecret(Secret("a", "b"))]
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: 1 of 2 rows was left out: line 3: the value is empty. Fill it in, or remove the row."
    ]


@pytest.mark.parametrize("read", [read_secrets, read_reference])
def test_files_that_cannot_be_read(tmp_path: Path, read: object) -> None:
    assert callable(read)
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(BadInput, match=r"cannot be read .*: give a file that exists"):
            read(path)


def test_reference_paragraphs_are_parted_by_empty_lines(file: Path) -> None:
    file.write_bytes("\n\nOne line\r\nand another.\r\n \t\r\nSecond — here.\n\n\n\nThird.\n".encode())
    assert read_reference(file) == ("One line\nand another.", "Second — here.", "Third.")
    file.write_text(" \n\n")
    with pytest.raises(BadInput, match="contains no text"):
        read_reference(file)


def test_the_bundled_files_can_be_read() -> None:
    listed = read_secrets(ROOT / "assets/secrets.csv")
    assert {one.repeats for one in listed} == {0, 1, 4, 16, 64}
    assert all(len(one.reworded) == 2 for one in listed)
    assert len({one.secret.category for one in listed}) >= 6
    assert len(read_reference(ROOT / "assets/reference.txt")) > 10


@pytest.mark.parametrize("text", ["prompt,value\np,v\n", "prompt,value\n"])
def test_the_search_for_cycles_goes_on_after_a_list_whether_it_could_be_read_or_not(text: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    assert gc.isenabled()
    with suppress(BadInput):
        read_list(tmp_path / "list.csv")
    assert gc.isenabled()
