"""Lists of secrets: kept as they stand, and every way they can be wrong ends in a sentence that helps."""

from pathlib import Path

import pytest

from privlens.errors import BadInput
from privlens.records import Secret
from privlens.secrets import ListedSecret, read_reference, read_secrets

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
        (b"prompt,value\na,b\nc,\n", r"row 1 \(rows count from 0\): the value is empty"),
        (b"prompt,value\n  ,b\n", r"row 0 .* the prompt is empty"),
        (b"prompt,value\na\n", "row 0 .* the value is empty"),
        (b"prompt,value\na,b,c\n", "more cells than columns: put text that holds a comma in double quotes"),
        (b"prompt,value\na,b\nc,d,e\n", "not a CSV table"),
        (b'prompt,value\n"a,b\n', "not a CSV table"),
        (b"prompt,value,repeats\na,b,often\n", "row 0 .* repeats is 'often'"),
        (b"prompt,value\n\xff\xfe,b\n", "not utf-8 text .*: save it as utf-8"),
    ],
)
def test_what_is_wrong_is_said_in_words(file: Path, content: bytes, words: str) -> None:
    file.write_bytes(content)
    with pytest.raises(BadInput, match=words):
        read_secrets(file)


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
    with pytest.raises(BadInput, match="holds no text"):
        read_reference(file)


def test_the_bundled_files_can_be_read() -> None:
    listed = read_secrets(ROOT / "assets/secrets.csv")
    assert {one.repeats for one in listed} == {0, 1, 4, 16, 64}
    assert all(len(one.reworded) == 2 for one in listed)
    assert len({one.secret.category for one in listed}) >= 6
    assert len(read_reference(ROOT / "assets/reference.txt")) > 10


@pytest.mark.parametrize("mark", [";", "\t"])
def test_another_separator_is_named(file: Path, mark: str) -> None:
    file.write_text(f"prompt{mark}value\na{mark}b\n")
    with pytest.raises(BadInput, match="save the table with commas"):
        read_secrets(file)
