"""Visitors of a served page, as its own JavaScript would be: sessions over HTTP that press buttons and read what comes back."""

import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

PATIENCE = httpx.Timeout(30.0, read=600.0)
"""Seconds; an answer may take its time, but a server that is not there is found out soon."""


class CallFailed(Exception):
    """The page answered a call with an error."""


@dataclass(frozen=True)
class Answer:
    """What came of one call.

    Attributes:
        signs: seconds from the press until each sign of work, the last of them the end. shown: what the outputs were set to last.
    """

    signs: tuple[float, ...]
    shown: tuple[Any, ...]


def longest_pause(signs: Sequence[float]) -> float:
    """Seconds between two signs of work, or before the first, at most."""
    return max(after - before for before, after in zip((0.0, *signs), signs, strict=False))


class Page:
    """What a page is made of: its components by their elem_id, and the listeners of its buttons."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        config = httpx.get(f"{self.address}/config", timeout=PATIENCE, trust_env=False).raise_for_status().json()
        self.components: dict[int, dict[str, Any]] = {one["id"]: one for one in config["components"]}
        self.listeners: dict[int, dict[str, Any]] = {one["id"]: one for one in config["dependencies"]}

    def run_of(self, button: str) -> tuple[int, int]:
        """The listener of a run's button, and that of the run itself, which follows it."""
        began = next(
            at
            for at, one in self.listeners.items()
            if any(event == "click" and self._name(target) == button for target, event in one["targets"])
        )
        return began, next(at for at, one in self.listeners.items() if one["trigger_after"] == began)

    def named(self, name: str) -> int:
        """The listener whose function has this name."""
        return next(at for at, one in self.listeners.items() if one["api_name"] == name)

    def inputs(self, listener: int, typed: Mapping[str, Any]) -> list[Any]:
        """What is sent along: what was typed, by elem_id, else what the components show at first; of a state nothing."""
        sent = (self.components[at] for at in self.listeners[listener]["inputs"])
        return [
            None if one["type"] == "state" else typed.get(one["props"].get("elem_id"), one["props"].get("value")) for one in sent
        ]

    def _name(self, component: int | None) -> str | None:
        return self.components[component]["props"].get("elem_id") if component in self.components else None


@dataclass
class Visitor:
    """One visit: a session of its own, with its heartbeat, until it is closed."""

    page: Page
    session: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        self._client = httpx.Client(base_url=f"{self.page.address}/gradio_api", timeout=PATIENCE, trust_env=False)
        self._left = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._client.close()

    def press(self, button: str, **typed: Any) -> Answer:
        """Presses a run's button and waits for the end of the run. Raises CallFailed where it ends with an error."""
        began, run = self.page.run_of(button)
        started = time.monotonic()
        self.call(began, typed)
        return self.call(run, typed, started)

    def call(self, listener: int, typed: Mapping[str, Any], started: float | None = None) -> Answer:
        """Calls one listener, and waits for its end. Raises CallFailed where it ends with an error."""
        started = time.monotonic() if started is None else started
        asked = {"data": self.page.inputs(listener, typed), "fn_index": listener, "session_hash": self.session}
        event = self._client.post("/queue/join", json=asked).raise_for_status().json()["event_id"]
        signs = []
        for message in self._messages():
            if (
                message.get("event_id") != event
                or not message["msg"].startswith("process_")
                or message["msg"] == "process_starts"
            ):
                continue
            signs.append(time.monotonic() - started)
            if message["msg"] == "process_completed":
                break
        if not message["success"]:
            raise CallFailed(str(message["output"].get("error")))
        return Answer(tuple(signs), tuple(message["output"]["data"]))

    def _messages(self) -> Iterator[dict[str, Any]]:
        with self._client.stream("GET", "/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.raise_for_status().iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])
        raise CallFailed("The page ended the answer before its end.")

    def _beat(self) -> None:
        """Holds the session's heartbeat open, without which a page takes a visitor for gone."""
        with httpx.Client(base_url=f"{self.page.address}/gradio_api", timeout=PATIENCE, trust_env=False) as client:
            try:
                with client.stream("GET", f"/heartbeat/{self.session}") as stream:
                    for _ in stream.iter_raw():
                        if self._left.is_set():
                            return
            except httpx.HTTPError:  # the page is gone, which the next call says
                return
