"""Every reader of what a stranger may bring: it gives a value or a sentence, never another exception, and loses nothing that is
well formed. The files are made up by hypothesis, the same ones in every run."""

import csv
import io
import json
import re
import struct
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from privlens import validation
from privlens.cli import inputs
from privlens.errors import BadInput, PrivlensError
from privlens.lm.edit_files import KIND, load_edit, save_edit
from privlens.neuron_files import read_neurons
from privlens.secret_lists import ListedSecret, SecretList, read_list, read_reference
from privlens.types import Change, Edit, Neuron, Provenance, Secret

settings.register_profile(
    "readers",
    derandomize=True,
    database=None,
    deadline=timedelta(seconds=20),  # far above what any takes: only what never ends is meant
    max_examples=120,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
readers = settings.get_profile("readers")

PLAIN = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), max_size=12)
CELL = PLAIN.filter(lambda text: text.strip() and text.strip() not in ("nan", "NaN") and not re.fullmatch(r'=".*"', text.strip()))
ODD = st.sampled_from(
    ["prompt", "value", "repeats", "neurons", "prompt,value", "sep=;", '"', '""', ",", ";", "\t", "|", "\n", "\r", "\r\n", "\0",
     "=1+1", '="0171"', "{", "}", "[", "]", ":", "null", "NaN", "1e999", "9" * 5000, "\ufeff", "\u2028", "\x85", "\x1c", "\u202e",
     " ", "é", "[" * 3000, '{"prompt": "a", "value": "b"}', '{"prompt": 1}', "\\ud800", '"\\ud800"', "site",
     "[[0, 1]]", "-0", "١", "²"]
)  # fmt: skip
TEXT = st.lists(st.one_of(ODD, PLAIN), max_size=14).map("".join)
BYTES = st.one_of(
    st.tuples(TEXT, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])).map(
        lambda pair: pair[0].encode(pair[1], "replace")
    ),
    st.binary(max_size=60),
    st.tuples(TEXT, st.binary(max_size=4)).map(
        lambda pair: b"prompt,value\na,b\n" + pair[0].encode("utf-8", "replace") + pair[1]
    ),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), PLAIN, st.sampled_from(["mlp", "both", "\ud800", 10**30])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(PLAIN, st.sampled_from(["neurons", "site", "retained", "prompt", "value"])), inner, max_size=4),
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "file"


def tried(reader: Callable[..., Any], *given: Any) -> Any:
    """What a reader gives, None where it refuses; the refusal is a sentence that can be printed."""
    try:
        return reader(*given)
    except PrivlensError as error:
        said = str(error)
        assert len(said) > 20 and said.rstrip().endswith((".", ")")), said
        said.encode("utf-8")
        return None


def check_list(found: SecretList | None) -> None:
    """What holds of every list that could be read: each row can be asked for."""
    for row in found.rows if found else ():
        validation.secret(row.secret.prompt, row.secret.value)
        assert row.repeats is None or row.repeats >= 0
    if found:
        assert len(found.rows) + len(found.rejected) == len(found.entries)
        assert all("\n" not in str(rejected)[:20] for rejected in found.rejected)


@readers
@given(content=BYTES)
@example(content=b'prompt,value\na,"b\n\x1c')
@example(content=b"[" * 100_000)
@example(content=b'[{"prompt": "a", "value": "\\ud800"}]')
@example(content=b"prompt,value\n" + b'"' * 5000)
def test_any_bytes_are_a_list_or_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    check_list(tried(read_list, file))


@readers
@given(entry=JSON, lines=st.integers(1, 3))
def test_any_json_is_a_list_or_refused(file: Path, entry: Any, lines: int) -> None:
    file.write_text("\n".join([json.dumps(entry)] * lines))
    check_list(tried(read_list, file))


@readers
@given(content=BYTES)
def test_any_bytes_are_a_reference_text_or_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert tried(read_reference, file) != ()


LISTED = st.lists(
    st.tuples(CELL, CELL, st.one_of(st.just(""), CELL), st.one_of(st.none(), st.integers(0, 10**8))), min_size=1, max_size=6
)


def secrets(rows: list[tuple[str, str, str, int | None]]) -> list[ListedSecret]:
    return [ListedSecret(Secret(prompt, value, category.strip()), repeats) for prompt, value, category, repeats in rows]


@readers
@given(rows=LISTED, mark=st.sampled_from(",;\t|"), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_a_table_is_read_as_it_was_written(file: Path, rows: list[Any], mark: str, encoding: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=mark, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("prompt", "value", "category", "repeats"), *rows])
    file.write_bytes(out.getvalue().encode(encoding))
    assert list(read_list(file).entries) == secrets(rows)


@readers
@given(rows=LISTED, whole=st.booleans(), ascii_only=st.booleans())
def test_json_is_read_as_it_was_written(file: Path, rows: list[Any], whole: bool, ascii_only: bool) -> None:
    names = ("prompt", "value", "category", "repeats")
    entries = [dict(zip(names, (*row[:3], str(row[3]) if row[3] is not None else None), strict=True)) for row in rows]
    parts = entries if not whole else [entries]
    file.write_text("\n".join(json.dumps(part, ensure_ascii=ascii_only) for part in parts), encoding="utf-8")
    assert list(read_list(file).entries) == secrets(rows)


@readers
@given(content=st.one_of(BYTES, JSON.map(lambda entry: json.dumps(entry).encode())))
@example(content=json.dumps({"neurons": [[0, 1]], "site": [1], "retained": 3}).encode())
@example(content=json.dumps({"neurons": [[0, 1]], "retained": [None, [], {}]}).encode("utf-8-sig"))
@example(content=json.dumps({"neurons": [[0, 10**400]]}).encode("utf-16"))
def test_any_bytes_are_neurons_or_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    found = tried(read_neurons, file, None)
    if found is not None:
        assert found[0] and found[1] in ("mlp", "attention", "both")
        tried(inputs.retained_in, file, [Secret("a", "b")])


@readers
@given(
    neurons=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 9999)), min_size=1, max_size=8, unique=True),
    site=st.sampled_from(["mlp", "attention", "both"]),
    scored=st.booleans(),
)
def test_neurons_are_read_as_they_were_written(file: Path, neurons: list[tuple[int, int]], site: str, scored: bool) -> None:
    entries = [[*neuron, *([0.5] if scored else [])] for neuron in neurons]
    file.write_text(json.dumps({"neurons": entries, "site": site}))
    assert read_neurons(file, None) == (tuple(Neuron(*neuron) for neuron in neurons), site)


TYPES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "I64": 8,
         "F64": 8, "U64": 8, "C64": 8, "F4": 1, "X": 4}  # fmt: skip
SHAPE = st.lists(st.sampled_from([0, 1, 2, 3, 2**40]), max_size=3)
ABOUT = json.dumps({"model": "m", "fingerprint": "f", "seed": 0, "settings": {}, "versions": {}, "seconds": 0.0})


@st.composite
def edit_files(draw: Callable[[Any], Any]) -> bytes:
    """Files that safetensors would take, or nearly, with the parts of an edit in any type and shape."""
    header: dict[str, Any] = {}
    at = 0
    parts = st.sampled_from(["w/indices", "w/old", "w/new", "indices", "/", "w/x/indices", "é/old"])
    for name in draw(st.lists(parts, max_size=5, unique=True)):
        kind, shape = draw(st.sampled_from(list(TYPES))), draw(SHAPE)
        size = draw(st.sampled_from([min(int(np.prod(shape, dtype=float)) * TYPES[kind], 64), 8]))
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    if draw(st.booleans()):
        about = draw(
            st.one_of(st.just(ABOUT), PLAIN, JSON.map(json.dumps), st.just(ABOUT.replace(": 0,", ": " + "9" * 5000 + ",")))
        )
        header["__metadata__"] = {"kind": draw(st.sampled_from([KIND, "else"])), "provenance": about}
    text = json.dumps(header).encode()
    content = (
        struct.pack("<Q", draw(st.sampled_from([len(text)] * 4 + [0, 2**40]))) + text + draw(st.binary(min_size=at, max_size=at))
    )
    return content[: draw(st.sampled_from([len(content)] * 4 + [len(content) // 2]))]


@readers
@given(content=st.one_of(edit_files(), st.binary(max_size=80)))
def test_any_bytes_are_an_edit_or_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    edit = tried(load_edit, file)
    for change in edit.changes.values() if edit else ():
        assert len(change.indices) == len(change.old) == len(change.new)
        assert np.isfinite(change.old).all() and np.isfinite(change.new).all() and (np.diff(change.indices) > 0).all()


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
CHANGE = st.dictionaries(st.integers(0, 2**40), st.tuples(FLOATS, FLOATS), min_size=1, max_size=6)


@readers
@given(
    changes=st.dictionaries(PLAIN.filter(lambda name: name != "__metadata__"), CHANGE, max_size=3), seed=st.integers(0, 2**32 - 1)
)
def test_an_edit_is_read_as_it_was_written(file: Path, changes: dict[str, Any], seed: int) -> None:
    made = {
        name: Change(
            np.array(sorted(change), dtype=np.int64), *np.array([change[at] for at in sorted(change)], dtype=np.float32).T.copy()
        )
        for name, change in changes.items()
    }
    edit = Edit(made, Provenance("m", "f", seed, {"names": list(changes)}, {}, 0.5))
    save_edit(edit, file)
    again = load_edit(file)
    assert again.provenance == edit.provenance and set(again.changes) == set(made)
    for name, change in made.items():
        for part in ("indices", "old", "new"):
            assert getattr(again.changes[name], part).tobytes() == getattr(change, part).tobytes()


NUMBER = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), PLAIN, st.sampled_from([10**400, -(10**5000), "\ud800", b"1"]), JSON
)


@readers
@given(value=NUMBER)
def test_any_argument_is_taken_or_refused(value: Any) -> None:
    number = tried(validation.whole, value, "number of steps", 1, 10)
    assert number is None or (type(number) is int and 1 <= number <= 10)
    assert tried(validation.choice, value, "the switch") in (None, True, False)
    assert tried(validation.seed, value) is None or 0 <= value <= 2**32 - 1
    text = tried(validation.text, value, "prompt", 8)
    assert text is None or (text == value and len(text) <= 8)
    for prompt, secret in ((value, "a"), ("a", value)):
        tried(validation.secret, prompt, secret)
    assert len(validation.shown(value)) <= 60 and validation.shown(value).isprintable()
    share = tried(validation.between, value, "share", 0, 1, "a half is 0.5")
    assert share is None or (type(share) in (int, float) and 0 <= share <= 1)


@readers
@given(text=st.one_of(TEXT, st.lists(st.integers(-3, 10**6).map(str)).map(",".join)))
def test_any_option_is_taken_or_refused(text: str) -> None:
    numbers = tried(inputs.numbers, text, "--rows")
    assert numbers is None or (numbers and len(set(numbers)) == len(numbers))
    shares = tried(inputs.shares, text)
    assert all(0 < share <= 1 for share in shares or ())
    for option in (inputs.methods, inputs.erasure_methods):
        tried(option, text)


@readers
@given(path=st.one_of(PLAIN, st.sampled_from(["\0", "~nobody-here/x", "/dev/null", ".", "a" * 5000, "\ud800", "~"])))
def test_any_path_is_read_or_refused(path: str) -> None:
    def neurons(path: str) -> None:
        read_neurons(Path(path), None)

    for reader in (read_list, read_reference, load_edit, neurons):
        with pytest.raises(BadInput, match=r"cannot be read|is empty|is not JSON|not an edit"):
            reader(path)
