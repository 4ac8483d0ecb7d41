"""Visitors of a served page, which use HTTP as its own JavaScript does: sessions that press buttons and read the answers."""

import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

TIMEOUT = httpx.Timeout(30.0, read=600.0)
"""Seconds: a heavy run of a busy page may be silent for minutes, but a server that accepts no connection is noticed soon."""


class CallFailed(Exception):
    """The page answered a call with an error."""


@dataclass(frozen=True)
class Answer:
    """The answer to one call.

    Attributes:
        signs: seconds from the click to each sign of work, the last of which is the end. shown: the final values of the outputs.
    """

    signs: tuple[float, ...]
    shown: tuple[Any, ...]


def longest_pause(signs: Sequence[float]) -> float:
    """The longest time in seconds between two signs of work, or before the first."""
    return max(after - before for before, after in zip((0.0, *signs), signs, strict=False))


class Page:
    """The components of a page and its listeners, both by their ids."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        config = httpx.get(f"{self.address}/config", timeout=TIMEOUT, trust_env=False).raise_for_status().json()
        self.components: dict[int, dict[str, Any]] = {component["id"]: component for component in config["components"]}
        self.listeners: dict[int, dict[str, Any]] = {listener["id"]: listener for listener in config["dependencies"]}

    def run_of(self, button: str) -> tuple[int, int]:
        """The listener of a run's button, and that of the run itself, which follows it."""
        clicked = next(
            listener_id
            for listener_id, listener in self.listeners.items()
            if any(event == "click" and self._elem_id(target) == button for target, event in listener["targets"])
        )
        return clicked, next(
            listener_id for listener_id, listener in self.listeners.items() if listener["trigger_after"] == clicked
        )

    def named(self, name: str) -> int:
        """The listener whose function has this name."""
        return next(listener_id for listener_id, listener in self.listeners.items() if listener["api_name"] == name)

    def inputs(self, listener: int, typed: Mapping[str, Any]) -> list[Any]:
        """The inputs of a call: what was typed, by elem_id, else the components' initial values; None for a state."""
        components = [self.components[component_id] for component_id in self.listeners[listener]["inputs"]]
        return [
            None
            if component["type"] == "state"
            else typed.get(component["props"].get("elem_id"), component["props"].get("value"))
            for component in components
        ]

    def _elem_id(self, component: int | None) -> str | None:
        return self.components[component]["props"].get("elem_id") if component in self.components else None


@dataclass
class Visitor:
    """One visit: a session with its heartbeat, until it is closed."""

    page: Page
    session: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        self._client = httpx.Client(base_url=f"{self.page.address}/gradio_api", timeout=TIMEOUT, trust_env=False)
        self._left = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, daemon=True)
        self._heartbeat.start()

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._client.close()

    def press(self, button: str, **typed: Any) -> Answer:
        """Presses a run's button and waits for the end of the run. Raises CallFailed if it ends with an error."""
        clicked, run = self.page.run_of(button)
        started = time.monotonic()
        self.call(clicked, typed)
        return self.call(run, typed, started)

    def call(self, listener: int, typed: Mapping[str, Any], started: float | None = None) -> Answer:
        """Calls one listener and waits for its end. Raises CallFailed if it ends with an error."""
        started = time.monotonic() if started is None else started
        body = {"data": self.page.inputs(listener, typed), "fn_index": listener, "session_hash": self.session}
        event = self._client.post("/queue/join", json=body).raise_for_status().json()["event_id"]
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
        raise CallFailed("The page closed the connection before the answer was complete.")

    def _beat(self) -> None:
        """Keeps the session's heartbeat open; without it the page would consider the visitor gone."""
        with httpx.Client(base_url=f"{self.page.address}/gradio_api", timeout=TIMEOUT, trust_env=False) as client:
            try:
                with client.stream("GET", f"/heartbeat/{self.session}") as stream:
                    for _ in stream.iter_raw():
                        if self._left.is_set():
                            return
            except httpx.HTTPError:  # the page is gone, which the next call reports
                return
