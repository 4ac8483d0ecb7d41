"""What the core has to say while it works reaches the visitor whose run it is, and nobody else; how long a run still takes."""

import contextlib
import copy
import logging
import time
from collections.abc import Sequence
from typing import Any

import gradio as gr
import pytest
import torch
from gradio.context import LocalContext

from privlens.errors import Cancelled
from privlens.lm.memory import in_parts
from privlens.ui.components.parts import RECENT, Clock
from privlens.ui.state import pace
from privlens.ui.state.jobs import Latest, Notices, Run, _begin, _cancel, _cancellable, _end


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What gr.Warning was asked to show."""
    seen: list[str] = []

    def warning(message: str, **_: Any) -> None:
        seen.append(message)

    monkeypatch.setattr(gr, "Warning", warning)
    return seen


@pytest.fixture
def listening() -> Any:
    """The core's logger with the page's handler."""
    logger = logging.getLogger("privlens.memory")
    before, logger.handlers = logger.handlers, [Notices()]  # a page that was served in this process has left its own
    yield
    logger.handlers = before


def full_beyond_4(rows: Sequence[int]) -> list[int]:
    """A device that four rows fill."""
    if len(rows) > 4:
        raise torch.OutOfMemoryError("full")
    return list(rows)


def test_a_visitor_is_told_that_memory_ran_out(shown: list[str], listening: None) -> None:
    token = LocalContext.blocks.set(gr.Blocks())
    in_parts(full_beyond_4, list(range(8)))
    LocalContext.blocks.reset(token)
    assert len(shown) == 1
    assert "continuing with 4" in shown[0]


def test_without_a_visitor_nothing_is_shown(shown: list[str], listening: None) -> None:
    in_parts(full_beyond_4, list(range(8)))
    assert shown == []


def test_what_is_left_is_told_from_the_pace_of_the_last_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock()
    assert clock.at(0, 100, "reading") == {"share": 0.0, "text": "reading: step 0 of 100, 0 s", "stage": "reading"}
    for step in range(1, 51):  # half of the steps in five seconds
        now += 0.1
        told = clock.at(step, 100, "quick")["text"]
    assert told == "quick: step 50 of 100, 5 s, about 5 s left"
    for step in range(51, 52 + RECENT):  # the other half at ten seconds each
        now += 10
        clock.at(step, 100, "slow")
        told = clock.at(step, 100, "slow, told twice")["text"]
    assert told == f"slow, told twice: step {51 + RECENT} of 100, {5 + 10 * (1 + RECENT)} s, about {10 * (49 - RECENT)} s left"
    now += 200
    told = clock.at(52 + RECENT, 100, "slow, and one that does more")["text"]
    assert told.endswith(f"about {10 * (48 - RECENT)} s left"), "one step says little of the others"
    assert "left" not in clock.at(100, 100, "done")["text"]


def test_a_newer_question_stops_the_answer_before_and_each_visitor_has_their_own() -> None:
    latest = Latest()
    first = latest.begin()
    second = latest.begin()
    assert (first.is_set(), second.is_set()) == (True, False)
    copy.deepcopy(latest).begin()
    assert not second.is_set()


def test_the_end_of_a_cancelled_run_leaves_the_next_one_alone() -> None:
    """gradio tells late that a cancelled run is over, when Start may have been pressed again."""
    first, second = (_begin("secret")[0] for _ in range(2))
    idle = _cancel(first)
    assert first.stop.is_set() and idle[0]["interactive"] and not idle[1]["interactive"]
    assert _end(second) == (gr.skip(), gr.skip(), gr.skip())
    assert not second.stop.is_set()
    second.over.set()
    assert _end(second) == idle


def test_a_run_is_over_however_it_ends() -> None:
    bar = gr.HTML()
    step = {bar: {"value": {"share": 0.0, "text": "step"}}}

    def work(how: Exception | None, stop: Any) -> Any:
        yield step
        if how:
            raise how

    def ran(how: Exception | None) -> Run:
        run: Run = _begin(how)[0]
        steps = _cancellable(work, bar, tuple)(how, run)
        assert next(steps) == step
        assert not run.over.is_set()
        with contextlib.suppress(StopIteration, ValueError):
            next(steps)
        return run

    for how in (None, Cancelled(), ValueError()):
        assert ran(how).over.is_set()


def test_a_quick_run_tells_the_page_every_seventh_of_a_second_on_average_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Steps every 0.1 s from 0.1 s on, for updates 0.15 s apart: a new stage is told at once, then two of three steps."""
    clock = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])
    bar, numbers, curves = (gr.HTML() for _ in range(3))
    whole, marked = gr.update(value="picture", off=[1]), gr.update(off=[2])
    more: dict[int, Any] = {2: {curves: whole, numbers: 2}, 3: {curves: marked, numbers: gr.skip()}, 6: {curves: "another"}}

    def steps() -> Any:
        for at, stage in enumerate(["reading", *["training"] * 6]):
            clock[0] += 0.1
            yield {bar: {"value": {"share": 0.0, "text": f"{stage} {at}", "stage": stage}}, **more.get(at, {})}

    told = list(pace.paced(steps(), bar))
    assert [update[bar]["value"]["text"] for update in told] == [
        "reading 0",
        "training 1",
        "training 3",
        "training 4",
        "training 6",
    ]
    assert told[2] | {bar: None} == {bar: None, curves: {**whole, "off": [2]}, numbers: 2}
    assert told[4] | {bar: None} == {bar: None, curves: "another"}
