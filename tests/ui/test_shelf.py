"""Loads side by side: none holds up another, one is shared by all who want it, and who cancels waits no longer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from privlens.errors import BadInput, Cancelled
from privlens.lm import memory
from privlens.lm.model import LanguageModel
from privlens.ui.allowed import Allowed
from privlens.ui.sidebar.models import _names
from privlens.ui.state import session
from privlens.ui.state.session import ModelCache, ModelName, VisitorModels
from tests.helpers import wait_until

SLOW = ModelName("slow")


class Disk:
    """Models that load at once, but for `slow`, which waits until it is let go."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm, self.go, self.read = lm, threading.Event(), list[str]()

    def load(self, name: str, *_: str) -> LanguageModel:
        self.read.append(name)
        if name == "slow":
            assert self.go.wait(60)
        return self.lm


@pytest.fixture
def disk(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(lm)
    monkeypatch.setattr(session, "load", made.load)
    return made


def test_a_slow_load_holds_up_no_other_and_is_shared(disk: Disk) -> None:
    shelf = ModelCache(ModelName("first"))
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(shelf.get, SLOW) for _ in range(2)]
        wait_until(lambda: "slow" in disk.read)
        assert shelf.get(ModelName("first")) is disk.lm
        assert shelf.get(ModelName("other")) is disk.lm
        assert not any(one.done() for one in both)
        disk.go.set()
        assert [one.result(60) for one in both] == [disk.lm, disk.lm]
    assert disk.read == ["first", "slow", "other"]


@pytest.mark.parametrize("another_waits", [False, True])
def test_who_cancels_waits_no_longer_and_the_model_stays_only_for_others(disk: Disk, another_waits: bool) -> None:
    shelf, stop = ModelCache(ModelName("first")), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        cancelled = pool.submit(shelf.get, SLOW, stop.is_set)
        wait_until(lambda: "slow" in disk.read)
        if another_waits:
            stays = pool.submit(shelf.get, SLOW)
            wait_until(lambda: shelf._loads[SLOW].waiting == 2)
        stop.set()
        with pytest.raises(Cancelled):
            cancelled.result(60)
        assert not disk.go.is_set(), "it ended before the load did"
        disk.go.set()
        if another_waits:
            assert stays.result(60) is disk.lm
    wait_until(lambda: not shelf._loads)
    assert (SLOW in shelf._models) is another_waits


def test_a_visitor_takes_no_model_from_under_another_and_sees_only_their_own(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, ada, bob, name = (
        ModelCache(ModelName("first"), allowed=Allowed(("first",))),
        VisitorModels(),
        VisitorModels(),
        ModelName("org/one"),
    )
    monkeypatch.setattr(session, "load", lambda *_, **__: disk.lm)
    shelf.get(name)
    for visitor in (ada, bob):
        shelf.choose(visitor, name)
    assert "org/one" in _names(shelf, ada)
    assert "org/one" not in _names(shelf, VisitorModels())
    assert "first" in _names(shelf)
    shelf.leave(ada, name)
    assert name in shelf._models
    shelf.leave(bob, name)
    assert name not in shelf._models


def test_two_loads_at_once_do_not_promise_the_same_room_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(memory, "free_bytes", lambda _: 10e9)

    def load(n_bytes: int) -> None:
        with memory.settled():
            memory.check_weights("m", n_bytes, cpu)

    with memory.settled(), ThreadPoolExecutor(1) as pool:
        memory.check_weights("big", int(6e9), cpu)
        memory.check_weights("big", int(6e9), cpu)  # the same load, asked again: promised once
        with pytest.raises(BadInput, match=r"has 3\.7 GB free, beside 6\.3 GB for a model that is being loaded"):
            pool.submit(load, int(6e9)).result()
        pool.submit(load, int(3e9)).result()
    load(int(9e9))
