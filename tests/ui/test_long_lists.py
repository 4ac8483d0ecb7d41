"""A list of 100,000 rows: the browser is sent a few hundred of them, others are found by search, runs take a bounded number."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privlens.errors import BadInput
from privlens.secret_lists import ListedSecret, paragraphs
from privlens.types import Secret
from privlens.ui.sidebar.panel import ALL, _searched, listed_in, others_of, secret_of
from privlens.ui.sidebar.ticking import most_repeated, rows_of, shown
from privlens.ui.state.session import ModelName
from tests.helpers import TAUGHT

N, MOST_BYTES = 100_000, 200_000


@pytest.fixture(scope="module")
def rows() -> tuple[ListedSecret, ...]:
    """Every row has a category of its own, but for the first half."""
    return tuple(
        ListedSecret(Secret(f"her number {at} is", f"v{at}-" + "x" * 500, "half" if at < N // 2 else f"c{at}"), at % 1000)
        for at in range(N)
    )


def n_bytes(*updates: Any) -> int:
    return len(json.dumps(updates))


def test_a_browser_is_sent_a_bounded_part_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("prompt,value,category\n" + "".join(f"p{at},v{at},c{at}\n" for at in range(N)))
    rows, _, *sent = listed_in(ModelName("demo"), str(tmp_path / "long.csv"))
    assert len(rows) == N
    assert n_bytes(*sent) < MOST_BYTES
    assert "Runs use 1,000 of them" in sent[-1]["value"]


def test_the_most_repeated_come_first_and_search_finds_any_other(rows: tuple[ListedSecret, ...]) -> None:
    found = _searched(rows, ALL, "")
    assert [at for _, at in found["choices"]][:3] == [999, 1999, 2999]
    assert (len(found["choices"]), found["info"]) == (200, "showing 200 of 100,000: search to see others")
    assert n_bytes(found, _searched(rows, "half", "her")) < MOST_BYTES
    assert [at for _, at in _searched(rows, ALL, " V77001-")["choices"]] == [77001]
    assert [at for _, at in _searched(rows, ALL, "number 6 IS")["choices"]] == [6]
    assert _searched(rows, "half", "v77001-")["info"] == "nothing found"
    assert _searched(rows[:200], ALL, "")["info"] is None


def test_boxes_are_bounded_and_those_that_are_ticked_stay(rows: tuple[ListedSecret, ...]) -> None:
    sent = shown(rows, [3, 77001], "v66")
    boxes = [at for _, at in sent["choices"]]
    assert {3, 77001} <= set(boxes) and sent["value"] == [3, 77001]
    assert all(rows[at].secret.value.startswith("v66") for at in boxes if at not in (3, 77001))
    assert len(boxes) == 200
    for one in (shown(rows, most_repeated(rows)), shown(rows, rows_of(rows, ["half"]))):
        assert len(one["value"]) == 200
        assert n_bytes(sent, one) < MOST_BYTES


def test_runs_take_a_bounded_number_of_others_evenly_spaced(rows: tuple[ListedSecret, ...]) -> None:
    others = others_of(tuple(replace(row, repeats=1) for row in rows))
    assert [int(one.prompt.split()[2]) for one in others] == list(range(0, N, 100))
    assert others_of(rows[1:51]) == tuple(row.secret for row in rows[1:51]), "of a short list all"


def test_what_is_too_long_is_refused_before_any_listener_works_on_it() -> None:
    assert secret_of((), TAUGHT[0].prompt, "") == Secret(TAUGHT[0].prompt, "")
    for prompt, value, words in (("p" * 10**6, "v", "prompt has 1,000,000"), ("p", "v" * 10**6, "private value has 1,000,000")):
        with pytest.raises(BadInput, match=words):
            secret_of((), prompt, value)
    with pytest.raises(BadInput, match="text to retain has 1,000,000"):
        paragraphs("t" * 10**6)
    with pytest.raises(BadInput, match="search has 1,000"):
        _searched((), ALL, "s" * 1000)
