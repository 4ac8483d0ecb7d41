"""A load test of the page: how long many visitors at once wait, whether all get the same answers, and what it costs.

The page runs in a separate process, so that its memory and threads can be told apart. First every kind of request is made alone,
for the times of an idle machine and for the answers that all others are compared with; then the visitors come.
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

WARM_UP = 1 / 3
"""Share of the time, at the beginning, that the slope of memory leaves out: caches fill and threads start. What is left must
still be long enough for a slope."""


@dataclass(frozen=True)
class Kind:
    """A kind of request: a run's button, or a listener by its function's name, and what is typed in addition to the secret.

    Attributes:
        by_neurons: the answer depends on the current neurons, and so on the latest localization.
        n_free: leading outputs that may differ between visitors: the first of a run is its progress bar.
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
        """Whether it replaces the current neurons."""
        return self.button == "localize-start"


CHECK = Kind("check", False, "check-start")
FIRST = Kind("localize, contrastive-gradient", True, "localize-start", typed=(("method", "contrastive-gradient"),))
EFFECT = Kind("effect of the chosen neurons", False, listener="answer", by_neurons=True, n_free=0)
HEAVY = (
    FIRST,
    Kind("localize, hard-concrete", True, "localize-start", typed=(("method", "hard-concrete"),)),
    Kind("erase, 6 steps", True, "erase-start", typed=(("erase-steps", 6),), by_neurons=True),
)
VARYING = re.compile(
    r'"value": "[\d.,]+", "beside": "[^"]*", "unit": "(s|min)", "note": "[^"]*"|[\d.]+ s\b'
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d[:\d]*|<function[^>]*>|<gradio[^>]*>| at 0x[0-9a-f]+"
)
"""What differs from run to run: durations, dates, and the memory addresses in texts of gradio."""


@dataclass(frozen=True)
class Request:
    """One request of one visitor. `error` is empty if it was answered; `is_same` then says whether the answer is that of a run
    alone. `signs` are the seconds until each sign of work."""

    kind: Kind
    signs: tuple[float, ...] = ()
    is_same: bool = True
    error: str = ""


@dataclass(frozen=True)
class LoadSettings:
    """`visitors` send requests for `minutes`, with pauses of up to `pause` seconds; `is_random` mixes the kinds by `seed`."""

    visitors: int = 8
    minutes: float = 1.0
    is_random: bool = False
    pause: float = 0.5
    seed: int = 0


@dataclass
class Watch:
    """Memory in MiB and threads of a process, by the seconds since the start."""

    process: psutil.Process
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    @contextmanager
    def watching(self, every: float = 1.0) -> Iterator[None]:
        """Context manager that samples the process every `every` seconds."""
        ended = threading.Event()
        started = time.monotonic()

        def sample() -> None:
            while not ended.wait(every):
                with suppress(psutil.NoSuchProcess):
                    self.memory.append(self.process.memory_info().rss / 2**20)
                    self.threads.append(self.process.num_threads())
                    self.seconds.append(time.monotonic() - started)

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def slope(self) -> float | None:
        """MiB per minute after the warm-up, by least squares; None with fewer than ten samples, too few for a slope."""
        late = [index for index, seconds in enumerate(self.seconds) if seconds > WARM_UP * self.seconds[-1]]
        if len(late) < 10:
            return None
        times, sizes = np.array(self.seconds)[late], np.array(self.memory)[late]
        return float(np.polyfit(times / 60, sizes, 1)[0])


class Load:
    """Requests on one page, and the answer to each kind of request alone."""

    def __init__(self, address: str, secrets: Sequence[Secret], settings: LoadSettings, heavy: Sequence[Kind] = HEAVY) -> None:
        """The visitors take the secrets in turn, one each."""
        self.page = Page(address)
        self.settings = settings
        self.heavy = heavy
        self.secrets = list(secrets)
        self._alone: dict[tuple[str, ...], str] = {}
        self._localized_by: dict[str, str] = {}

    def alone(self) -> list[Request]:
        """Every kind for every secret, one after the other on the idle page, after a check that warms it up."""
        localizing = [kind for kind in self.heavy if kind.localizes]
        others = [CHECK, EFFECT, *(kind for kind in self.heavy if not kind.localizes)]
        plan = [kind for first in localizing for kind in (first, *others)]
        requests: list[Request] = []
        for secret in self.secrets:
            with Visitor(self.page) as visitor:
                self._request(visitor, CHECK, secret)
                requests += [self._request(visitor, kind, secret) for kind in plan]
        return requests

    def together(self) -> list[Request]:
        """All visitors at once, each with requests one after the other until the time is over."""
        deadline = time.monotonic() + 60 * self.settings.minutes
        requests: list[Request] = []
        threads = [
            threading.Thread(target=self._visit, args=(number, deadline, requests)) for number in range(self.settings.visitors)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return requests

    def _visit(self, number: int, deadline: float, requests: list[Request]) -> None:
        rng = random.Random(f"{self.settings.seed} {number}")
        secret = self.secrets[number % len(self.secrets)]
        with Visitor(self.page) as visitor:
            for kind in self._plan(rng, number):
                if time.monotonic() > deadline:
                    return
                requests.append(self._request(visitor, kind, secret))
                time.sleep(rng.uniform(0, self.settings.pause))

    def _plan(self, rng: random.Random, number: int) -> Iterator[Kind]:
        """A check, a heavy run, its effect, and so on; each visitor begins with another heavy run, or the kinds are mixed."""
        yield FIRST  # the other kinds need neurons
        while True:
            for offset in range(len(self.heavy)):
                if self.settings.is_random:
                    yield rng.choice((CHECK, EFFECT, *self.heavy))
                else:
                    yield from (CHECK, self.heavy[(number + offset) % len(self.heavy)], EFFECT)

    def _request(self, visitor: Visitor, kind: Kind, secret: Secret) -> Request:
        """Makes one request. The first answer to it is the one that all later ones are compared with."""
        typed = {"prompt": secret.prompt, "value": secret.value, **dict(kind.typed)}
        try:
            answer = visitor.press(kind.button, **typed) if kind.button else visitor.call(self.page.named(kind.listener), typed)
        except (httpx.HTTPError, CallFailed) as error:
            return Request(kind, error=f"{type(error).__name__}: {error}")
        if kind.localizes:
            self._localized_by[visitor.session] = kind.name
        key = (kind.name, secret.value, self._localized_by[visitor.session] if kind.by_neurons else "")
        shown = _comparable(kind, answer)
        return Request(kind, answer.signs, self._alone.setdefault(key, shown) == shown)


def _comparable(kind: Kind, answer: Answer) -> str:
    """The outputs as text, without what may differ."""
    return VARYING.sub("", json.dumps(answer.shown[kind.n_free :]))


def summary(alone: Sequence[Request], together: Sequence[Request]) -> list[dict[str, Any]]:
    """A row for every kind, and one each for all light and all heavy ones: counts, and seconds alone and together."""
    together_by_name: dict[str, list[Request]] = defaultdict(list)
    alone_by_name: dict[str, list[Request]] = defaultdict(list)
    for requests, by_name in ((together, together_by_name), (alone, alone_by_name)):
        for request in requests:
            for name in (request.kind.name, "all heavy" if request.kind.is_heavy else "all light"):
                by_name[name].append(request)
    return [_row(name, alone_by_name[name], requests) for name, requests in together_by_name.items()]


def _row(name: str, alone: Sequence[Request], requests: Sequence[Request]) -> dict[str, Any]:
    answered = [request for request in requests if not request.error]
    return {
        "kind": name,
        "requests": len(requests),
        "errors": len(requests) - len(answered),
        "mismatches": sum(not request.is_same for request in answered),
        **{f"alone_{key}": value for key, value in _percentiles([request.signs[-1] for request in alone]).items()},
        **_percentiles([request.signs[-1] for request in answered]),
        **{f"first_sign_{key}": value for key, value in _percentiles([request.signs[0] for request in answered]).items()},
    }


def _percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    if not seconds:
        return {"p50_s": None, "p95_s": None, "max_s": None}
    p50, p95 = np.percentile(seconds, [50, 95])
    return {"p50_s": round(float(p50), 3), "p95_s": round(float(p95), 3), "max_s": round(max(seconds), 3)}


def longest_step(alone: Sequence[Request]) -> float:
    """The longest time in seconds between two signs of work of a heavy run on the idle page."""
    return max(longest_pause(request.signs) for request in alone if request.kind.is_heavy)
