"""The auditor's list: what is read, rejected and counted once, and names that give nothing away."""

import hashlib
import hmac
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from privlens.audit.sample import masked, read_key, read_sample, rejected_csv, secret_key
from privlens.errors import BadInput
from privlens.types import Secret

KEY = b"0123456789abcdef"
ROWS = [
    ("Anna's number is", "555-0142", "phone", "3", "Anna"),
    ("Ben's number is", "555-7788", "phone", "555-9999", "Ben"),  # a value has slipped into the wrong column
    ("Anna's  number is", "555-0142 ", "phone", "3", "Anna"),  # the first once more
    ("Cleo's street is", "", "address", "0", "Cleo"),
    ("Cleo's street is", "Elm Lane", "address", "0", "Cleo"),
]
COLUMNS = ["prompt", "value", "category", "repeats", "person"]


def listed(folder: Path, kind: str) -> Path:
    path = folder / f"list.{kind}"
    if kind == "csv":
        path.write_text("\n".join(",".join(row) for row in (COLUMNS, *ROWS)) + "\n")
    else:
        pq.write_table(pa.table({name: [row[column] for row in ROWS] for column, name in enumerate(COLUMNS)}), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_list_is_counted_and_no_reason_holds_a_value(kind: str, tmp_path: Path) -> None:
    path = listed(tmp_path, kind)
    read = read_sample(path, KEY)
    assert [secret.row for secret in read.secrets] == [0, 4]
    assert (read.sample.n_rows, read.sample.n_duplicates, read.sample.n_people) == (5, 1, 2)
    assert read.sample.categories == {"phone": 1, "address": 1}
    assert read.sample.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    first = 2 if kind == "parquet" else 3  # a table's rows count from 1, a file's lines from its header
    assert [entry.line for entry in read.rejected] == [first, first + 2]
    assert read.rejected[0].reason.startswith("repeats is not a whole number")
    table = rejected_csv(read.rejected)
    assert table.splitlines()[0] == "line,reason" and len(table.splitlines()) == 3
    assert not any(row[1] in table for row in ROWS if row[1]) and "555-9999" not in table


def test_parquet_takes_numbers_as_text_and_rejects_bytes(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"Prompt": ["its code is", None], "value": [4711, 5], "repeats": [2.0, None]}), path)
    [secret] = read_sample(path, KEY).secrets
    assert (secret.secret.value, secret.listed.repeats) == ("4711", 2)
    pq.write_table(pa.table({"prompt": ["its code is"], "value": [b"4711"]}), path)
    with pytest.raises(BadInput, match="row 1: the value is not text"):
        read_sample(path, KEY)
    pq.write_table(pa.table({"prompt": ["its code is"]}), path)
    with pytest.raises(BadInput, match="no column value"):
        read_sample(path, KEY)
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(BadInput, match="cannot be read"):
        read_sample(path, KEY)


def test_the_key_names_a_secret_and_white_space_does_not() -> None:
    expected = hmac.new(KEY, b"her number is\n555-0142", hashlib.sha256).hexdigest()[:32]
    assert secret_key(KEY, Secret("her number  is ", " 555-0142")) == expected
    assert secret_key(KEY + b"!", Secret("her number is", "555-0142")) != expected


def test_a_fresh_key_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = read_key(path)
    assert len(key) == 64 and read_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key(tmp_path / "another") != key
    path.write_text("short")
    with pytest.raises(BadInput, match="5 characters"):
        read_key(path)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("5412-3457", "54••-••57"),
        ("abc", "•••"),
        ("Mira Holt", "Mi•• ••lt"),
        ("12.50", "1•.•0"),
        ("Émile 12", "É•••• •2"),
        ("𝟘" * 3, "•" * 6),
    ],
)
def test_masking_by_hand(text: str, hidden: str) -> None:
    assert masked(text) == hidden
