"""Heavy runs stand in line: how many begin, who is next, what those who wait are told, and how many one visitor may have."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import gradio as gr
import pytest

from privlens.errors import BadInput, Cancelled
from privlens.lm.fair_lock import FairLock
from privlens.ui.components.form import Update
from privlens.ui.state import jobs
from privlens.ui.state import waiting as line_module
from privlens.ui.state.waiting import RunQueue, duration


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    passing = Time()
    monkeypatch.setattr(line_module.time, "monotonic", passing.monotonic)
    return passing


def test_so_many_begin_and_the_next_one_when_one_of_them_ends() -> None:
    line = RunQueue(at_once=2)
    with ExitStack() as first, ExitStack() as others:
        places = [first.enter_context(line.place("a")), *(others.enter_context(line.place(name)) for name in "bcd")]
        assert [place.has_come(0) for place in places] == [True, True, False, False]
        first.close()
        assert [place.has_come(0) for place in places[1:]] == [True, True, False]
        assert places[1].n_beside == 1


def test_who_waits_is_told_how_many_are_before_and_for_how_long(time: Time) -> None:
    line = RunQueue(at_once=2)
    with ExitStack() as stack:
        quick, slow, third, fourth, fifth = (stack.enter_context(line.place(name)) for name in "abcde")
        assert third.told() == "2 runs before yours", "no run has told yet how long it takes"
        assert quick.has_come(0) and slow.has_come(0)
        time.now += 10
        quick.share = 0.5  # ten seconds are left of it
        assert third.told() == "2 runs before yours, about 10 s until it begins"
        assert fourth.told() == "3 runs before yours", "nothing is known of the slow one"
        slow.share = 0.1  # ninety seconds
        assert fourth.told() == "3 runs before yours, about 90 s until it begins"
        assert fifth.told() == "4 runs before yours", "how long a whole run takes is not known"
    with line.place("a") as place:
        place.has_come(0)
        time.now += 300
    with ExitStack() as stack:
        first, _, _, _, fifth = (stack.enter_context(line.place(name)) for name in "abcde")
        assert first.has_come(0)
        # Runs took 10 s (twice, while they stood in line above) and 300 s: 10 s each, in two rounds.
        assert fifth.told() == "4 runs before yours, about 20 s until it begins"


def test_a_visitor_has_a_few_runs_and_room_again_after_each() -> None:
    line = RunQueue(each=2)
    with line.place("a"), line.place("b"):
        with line.place("a"), pytest.raises(BadInput, match="You have 2 runs in progress or waiting"), line.place("a"):
            pass
        with line.place("a"):
            pass


def test_a_run_that_waits_can_be_cancelled_and_leaves_the_line() -> None:
    line, asked = RunQueue(at_once=1), [False, True]
    with line.place("a"):
        with line.place("b") as place:
            waits = line.wait(place, asked.pop)
            assert next(waits) == "1 run before yours"
            with pytest.raises(Cancelled):
                next(waits)
        with line.place("c") as place:
            assert place.told() == "1 run before yours"


def test_durations_in_words() -> None:
    assert [duration(seconds) for seconds in (0.2, 3.4, 119, 120, 250)] == ["1 s", "3 s", "119 s", "2 min", "4 min"]


@pytest.fixture
def short_line(monkeypatch: pytest.MonkeyPatch) -> RunQueue:
    """The page's line with room for one run."""
    line = RunQueue(at_once=1)
    monkeypatch.setattr(jobs, "LINE", line)
    return line


BAR, TEXT = gr.HTML(), gr.Textbox()


def work(*_: Any) -> Iterator[Update]:
    yield {BAR: gr.update(value={"share": 0.5, "text": "step 1 of 2"}), TEXT: "shown"}
    yield {BAR: gr.update(value={"share": 1.0, "text": "step 2 of 2"}), TEXT: "done"}


def queued(work: jobs.RunSteps[Any]) -> Iterator[Update]:
    """A run of the work as the page has it, which nobody stops."""
    yield from jobs._queued(work, BAR)(None, threading.Event())


def test_a_run_on_the_page_waits_for_those_before_it_and_says_so(short_line: RunQueue) -> None:
    steps = queued(work)
    with short_line.place("another"):
        step = next(steps)
        assert (step[BAR]["value"]["text"], TEXT in step) == ("1 run before yours", False)
    assert next(steps)[BAR]["value"]["text"] == "starting"
    assert [step[TEXT] for step in steps] == ["shown", "done"]
    with short_line.place("next") as place:
        assert place.has_come(0), "a run that ended has left the line"


def test_a_run_says_that_others_take_turns_with_it_and_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    line = RunQueue(at_once=3)
    monkeypatch.setattr(jobs, "LINE", line)
    with line.place("a"), line.place("b"):
        steps = queued(work)
        assert next(steps)[BAR]["value"]["text"] == "starting"
        assert next(steps)[BAR]["value"]["text"] == "step 1 of 2; taking turns with 2 other runs"
        assert line._places[2].share == 0.5
        assert next(steps)[BAR]["value"]["text"] == "step 2 of 2", "at its end there are no turns any more"
        assert list(steps) == []


@pytest.mark.parametrize("ending", ["closed", "raised"])
def test_a_run_that_ends_early_leaves_the_line(short_line: RunQueue, ending: str) -> None:
    def breaks(*_: Any) -> Iterator[Update]:
        yield {BAR: gr.update(value=None), TEXT: "shown"}
        raise BadInput("no more")

    steps = queued(breaks)
    assert [next(steps).get(TEXT) for _ in range(2)] == [None, "shown"]
    if ending == "closed":
        steps.close()
    else:
        with pytest.raises(BadInput):
            next(steps)
    with short_line.place("next") as place:
        assert place.has_come(0)


def test_listeners_are_light_and_runs_and_what_waits_in_line_are_heavy(short_line: RunQueue) -> None:
    turns, seen = FairLock(), []

    def look(*_: Any) -> Any:
        with turns:
            seen.append(turns._holder.is_heavy)
        return "answer"

    def look_twice(*_: Any) -> Iterator[Any]:
        for _ in range(2):
            yield {BAR: gr.update(value=None), TEXT: look()}

    jobs.show_errors(look)()
    list(jobs.show_errors(look_twice)())
    assert seen == [False, False, False]
    jobs.show_errors(jobs.in_line(look))()
    list(jobs.show_errors(queued)(look_twice))
    assert seen[3:] == [True, True, True]
