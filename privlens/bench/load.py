"""Many visitors of one page at once: how long they wait beside an idle machine, whether all get the same answers, what it costs.

The page runs in a process of its own, so that its memory and threads are its own. First every kind of request is made alone, for
the times of an idle machine and for the answers that all others are compared with; then the visitors come.
"""

import json
import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import psutil

from privlens.bench.visitors import Answer, CallFailed, Page, Visitor, longest_pause
from privlens.types import Secret

SETTLES = 1 / 3
"""Share of the time at the beginning that memory's slope leaves out: caches fill, and threads come up."""


@dataclass(frozen=True)
class Kind:
    """A kind of request: a run's button, or a listener by its function's name, and what is typed beside the secret.

    Attributes:
        by_neurons: the answer depends on the neurons that stand, so on what was localized last.
        n_free: outputs that need not be the same for everybody: the first of a run is its bar.
    """

    name: str
    is_heavy: bool
    button: str = ""
    listener: str = ""
    typed: tuple[tuple[str, Any], ...] = ()
    by_neurons: bool = False
    n_free: int = 1

    @property
    def localizes(self) -> bool:
        """Whether other neurons stand afterwards."""
        return self.button == "localize-start"


CHECK = Kind("check", False, "check-start")
FIRST = Kind("localize, contrastive-gradient", True, "localize-start", typed=(("method", "contrastive-gradient"),))
EFFECT = Kind("effect of the chosen neurons", False, listener="answer", by_neurons=True, n_free=0)
HEAVY = (
    FIRST,
    Kind("localize, hard-concrete", True, "localize-start", typed=(("method", "hard-concrete"),)),
    Kind("erase, 6 steps", True, "erase-start", typed=(("erase-steps", 6),), by_neurons=True),
)
TIMES = re.compile(
    r'"value": "[\d.,]+", "beside": "[^"]*", "unit": "(s|min)", "note": "[^"]*"|[\d.]+ s\b'
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d[:\d]*|<function[^>]*>|<gradio[^>]*>| at 0x[0-9a-f]+"
)
"""What differs from run to run: durations, dates, and addresses that gradio lets slip."""


@dataclass(frozen=True)
class Request:
    """One request of one visitor. `error` is empty where it was answered; `is_same` then says whether like a run alone."""

    kind: Kind
    signs: tuple[float, ...] = ()
    is_same: bool = True
    error: str = ""


@dataclass(frozen=True)
class LoadSettings:
    """`minutes` of `visitors` that pause at most `pause` seconds between two requests; `is_random` mixes them by `seed`."""

    visitors: int = 8
    minutes: float = 1.0
    is_random: bool = False
    pause: float = 0.5
    seed: int = 0


@dataclass
class Watch:
    """Memory in MiB and threads of a process, by the seconds since the beginning."""

    process: psutil.Process
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    @contextmanager
    def watching(self, every: float = 1.0) -> Iterator[None]:
        """Looks once a second while inside."""
        ended, began = threading.Event(), time.monotonic()

        def look() -> None:
            while not ended.wait(every):
                with suppress(psutil.NoSuchProcess):
                    self.memory.append(self.process.memory_info().rss / 2**20)
                    self.threads.append(self.process.num_threads())
                    self.seconds.append(time.monotonic() - began)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def slope(self) -> float | None:
        """MiB a minute after it settled, by least squares; None where there is too little to tell."""
        late = [at for at, seconds in enumerate(self.seconds) if seconds > SETTLES * self.seconds[-1]]
        if len(late) < 10:
            return None
        times, sizes = np.array(self.seconds)[late], np.array(self.memory)[late]
        return float(np.polyfit(times / 60, sizes, 1)[0])


class Load:
    """Requests on one page, and what is known of each kind's answer alone."""

    def __init__(self, address: str, secrets: Sequence[Secret], settings: LoadSettings, heavy: Sequence[Kind] = HEAVY) -> None:
        """Takes one secret for each of a few visitors in turn."""
        self.page, self.settings, self.heavy = Page(address), settings, heavy
        self.secrets = list(secrets)
        self._alone: dict[tuple[str, ...], str] = {}
        self._stands: dict[str, str] = {}

    def alone(self) -> list[Request]:
        """Every kind for every secret, one after the other on the idle page, after a check that warms it up."""
        localizing = [kind for kind in self.heavy if kind.localizes]
        others = [CHECK, EFFECT, *(kind for kind in self.heavy if not kind.localizes)]
        plan = [kind for first in localizing for kind in (first, *others)]
        found: list[Request] = []
        for secret in self.secrets:
            with Visitor(self.page) as visitor:
                self._request(visitor, CHECK, secret)
                found += [self._request(visitor, kind, secret) for kind in plan]
        return found

    def together(self) -> list[Request]:
        """All visitors at once, each with requests one after the other until the time is over."""
        until, found = time.monotonic() + 60 * self.settings.minutes, list[Request]()
        threads = [threading.Thread(target=self._visit, args=(number, until, found)) for number in range(self.settings.visitors)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def _visit(self, number: int, until: float, found: list[Request]) -> None:
        rng, secret = random.Random(f"{self.settings.seed} {number}"), self.secrets[number % len(self.secrets)]
        with Visitor(self.page) as visitor:
            for kind in self._plan(rng, number):
                if time.monotonic() > until:
                    return
                found.append(self._request(visitor, kind, secret))
                time.sleep(rng.uniform(0, self.settings.pause))

    def _plan(self, rng: random.Random, number: int) -> Iterator[Kind]:
        """A check, a heavy run, its effect, and so on; each visitor begins with another heavy run, or all is mixed."""
        yield FIRST  # what the others stand on: an effect needs neurons
        while True:
            for at in range(len(self.heavy)):
                if self.settings.is_random:
                    yield rng.choice((CHECK, EFFECT, *self.heavy))
                else:
                    yield from (CHECK, self.heavy[(number + at) % len(self.heavy)], EFFECT)

    def _request(self, visitor: Visitor, kind: Kind, secret: Secret) -> Request:
        """One request; the first answer to it is what all later ones are compared with."""
        typed = {"prompt": secret.prompt, "value": secret.value, **dict(kind.typed)}
        try:
            asked = visitor.press(kind.button, **typed) if kind.button else visitor.call(self.page.named(kind.listener), typed)
        except (httpx.HTTPError, CallFailed) as error:
            return Request(kind, error=f"{type(error).__name__}: {error}")
        if kind.localizes:
            self._stands[visitor.session] = kind.name
        key = (kind.name, secret.value, self._stands[visitor.session] if kind.by_neurons else "")
        shown = _comparable(kind, asked)
        return Request(kind, asked.signs, self._alone.setdefault(key, shown) == shown)


def _comparable(kind: Kind, answer: Answer) -> str:
    return TIMES.sub("", json.dumps(answer.shown[kind.n_free :]))


def summary(alone: Sequence[Request], together: Sequence[Request]) -> list[dict[str, Any]]:
    """A row for every kind, and one each for all light and all heavy ones: counts, and seconds alone and together."""
    groups: dict[str, list[Request]] = defaultdict(list)
    idle: dict[str, list[Request]] = defaultdict(list)
    for requests, into in ((together, groups), (alone, idle)):
        for request in requests:
            for name in (request.kind.name, "all heavy" if request.kind.is_heavy else "all light"):
                into[name].append(request)
    return [_row(name, idle[name], requests) for name, requests in groups.items()]


def _row(name: str, idle: Sequence[Request], requests: Sequence[Request]) -> dict[str, Any]:
    answered = [request for request in requests if not request.error]
    return {
        "kind": name,
        "requests": len(requests),
        "errors": len(requests) - len(answered),
        "mismatches": sum(not request.is_same for request in answered),
        **{f"alone_{key}": value for key, value in _spread([one.signs[-1] for one in idle]).items()},
        **_spread([one.signs[-1] for one in answered]),
        **{f"first_sign_{key}": value for key, value in _spread([one.signs[0] for one in answered]).items()},
    }


def _spread(seconds: Sequence[float]) -> dict[str, float | None]:
    if not seconds:
        return {"p50_s": None, "p95_s": None, "max_s": None}
    p50, p95 = np.percentile(seconds, [50, 95])
    return {"p50_s": round(float(p50), 3), "p95_s": round(float(p95), 3), "max_s": round(max(seconds), 3)}


def longest_step(alone: Sequence[Request]) -> float:
    """Seconds between two signs of a heavy run on the idle page, at most."""
    return max(longest_pause(request.signs) for request in alone if request.kind.is_heavy)
