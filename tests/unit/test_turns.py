"""Whose turn it is: light work before the next step of heavy work, heavy work step by step, and nobody starves."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from privlens.lm import fair_lock as turns_module
from privlens.lm.fair_lock import LIGHT_BEFORE_HEAVY, LIGHT_SECONDS, FairLock, Work, at_work
from tests.helpers import wait_until


class Stage:
    """Pieces of work on threads of their own, which come to the lock in a known order; `order` is who held it when."""

    def __init__(self) -> None:
        self.turns, self.order, self.threads = FairLock(), list[str](), list[threading.Thread]()

    def steps(self, name: str, n_steps: int) -> Iterator[None]:
        for _ in range(n_steps):
            with self.turns:
                self.order.append(name)
            yield

    def comes(self, name: str, is_heavy: bool, n_steps: int = 1, between: Callable[[], object] = lambda: None) -> None:
        """Starts a piece of work while somebody else holds the lock; returns once it stands in line."""
        stands = len(self.turns._waiting) + 1

        def work() -> None:
            with at_work(Work(is_heavy)):
                for _ in self.steps(name, n_steps):
                    between()

        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()
        wait_until(lambda: len(self.turns._waiting) == stands)

    def ended(self) -> list[str]:
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        return self.order


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_heavy_work_takes_turns_step_by_step_in_the_order_of_coming(stage: Stage) -> None:
    with stage.turns:
        for name in "ABC":
            stage.comes(name, is_heavy=True, n_steps=3)
    assert stage.ended() == list("ABCABCABC")


def test_light_work_goes_before_the_next_step_of_heavy_work(stage: Stage) -> None:
    with stage.turns:
        stage.comes("heavy", is_heavy=True, n_steps=2)
        stage.comes("first", is_heavy=False)
        stage.comes("second", is_heavy=False)
    assert stage.ended() == ["first", "second", "heavy", "heavy"]


def test_a_piece_of_light_work_is_done_before_a_heavy_step_and_before_the_light_work_that_came_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "PAUSE", 60.0)

    def busy() -> None:
        """Long enough for the others to take the lock, if they may."""
        time.sleep(0.02)

    with stage.turns:
        stage.comes("heavy", is_heavy=True)
        stage.comes("early", is_heavy=False, n_steps=5, between=busy)
        stage.comes("late", is_heavy=False, n_steps=5)
    assert stage.ended() == ["early"] * 5 + ["late"] * 5 + ["heavy"]


def test_heavy_work_has_its_turn_after_some_light_work(stage: Stage) -> None:
    with stage.turns:
        stage.comes("heavy", is_heavy=True)
        for _ in range(LIGHT_BEFORE_HEAVY + 2):
            stage.comes("light", is_heavy=False)
    assert stage.ended() == ["light"] * LIGHT_BEFORE_HEAVY + ["heavy"] + ["light"] * 2


def test_light_work_that_goes_on_and_on_counts_as_heavy(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(turns_module.time, "monotonic", lambda: now)

    def long_step() -> None:
        nonlocal now
        with stage.turns:
            now += LIGHT_SECONDS

    with stage.turns:
        stage.comes("heavy", is_heavy=True, n_steps=2)
        stage.comes("endless", is_heavy=False, n_steps=3, between=long_step)
    assert stage.ended()[:4] == ["endless", "heavy", "endless", "heavy"]


def test_light_work_that_is_busy_with_something_else_holds_nobody_up(stage: Stage) -> None:
    comes_back = threading.Event()
    with stage.turns:
        stage.comes("light", is_heavy=False, between=lambda: comes_back.wait(300))
        stage.comes("heavy", is_heavy=True)
    wait_until(lambda: stage.order == ["light", "heavy"])
    assert stage.order == ["light", "heavy"]
    comes_back.set()
    stage.ended()


def test_who_is_interrupted_while_waiting_leaves_the_line(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    wait, interrupted = stage.turns._condition.wait, []

    def interrupts(timeout: float | None = None) -> bool:
        if threading.current_thread().name == "interrupted" and not interrupted:
            interrupted.append(True)
            raise MemoryError("in the midst of waiting")
        return wait(timeout)

    monkeypatch.setattr(stage.turns._condition, "wait", interrupts)

    def work() -> None:
        with pytest.raises(MemoryError), stage.turns:
            pass

    with stage.turns:
        thread = threading.Thread(target=work, name="interrupted")
        thread.start()
        thread.join(30)
        stage.comes("next", is_heavy=True)
    assert stage.ended() == ["next"]
    assert interrupted


def test_the_lock_is_reentrant_and_belongs_to_its_thread(stage: Stage) -> None:
    turns, seen = stage.turns, []

    def elsewhere() -> None:
        seen.append((turns.is_mine, turns.acquire(blocking=False)))
        with pytest.raises(RuntimeError):
            turns.release()

    with turns, turns:
        assert turns.is_mine
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(30)
    assert seen == [(False, False)]
    assert not turns.is_mine
    assert turns.acquire(blocking=False)
    turns.release()
    with pytest.raises(RuntimeError):
        turns.release()
