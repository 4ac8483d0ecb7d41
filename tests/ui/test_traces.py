"""What stays of a visit: nothing once it has ended. A small page with a run that never ends by itself stands for the real one."""

import gc
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from privlens.bench.serving import free_port
from privlens.errors import BadInput
from privlens.ui.components.form import Form, Update
from privlens.ui.components.parts import progress
from privlens.ui.page import launch
from privlens.ui.state.jobs import QUICK, Latest, run_buttons, show_errors, stoppable, wire
from privlens.ui.traces import visits
from privlens.ui.traces.uploads import forget_unread, is_gone, once
from privlens.ui.traces.visits import capacity
from tests.helpers import idle, wait_until

MARKER = "Zebulon-Quarx-7781"
GONE = [
    "gradio_api/deep_link?session_hash=x", "monitoring", "monitoring/summary", "monitoring/key", "?deep_link=abc",
    "config?deep_link=", "gradio_api/vibe-code", "gradio_api/vibe-edit/",
    "gradio_api/dev/reload", "gradio_api/runs", "gradio_api/run-history/records",
    "gradio_api/proxy=https://a.hf.space/x", "gradio_api/stream/a/b/1/playlist-file", "gradio_api/process_recording",
    "gradio_api/component_server", "gradio_api/token", "gradio_api/queue/status", "gradio_api/custom_component/a/client/b/c",
    "gradio_api/file/etc/passwd", "gradio_api/profiling/traces", "gradio_api/mcp/", "svelte/x.js", "pwa_icon", "docs", "redoc",
    "openapi.json", "gradio_api//deep_link", "gradio_api/../monitoring", "gradio_api/file%3Dx/../deep_link",
]  # fmt: skip
KEPT = ["", "config", "theme.css", "robots.txt", "manifest.json", "gradio_api/info", "gradio_api/app_id"]


@dataclass(frozen=True)
class Typed:
    """What was typed."""

    typed: str


class Page:
    """The small page, with what its listeners saw."""

    def __init__(self) -> None:
        self.stops: list[threading.Event] = []
        self.closed, self.read = threading.Event(), list[str]()
        with gr.Blocks(analytics_enabled=False) as self.blocks:
            typed, said, latest = gr.Textbox(), gr.Textbox(), gr.State(Latest())
            start, cancel = run_buttons("Start", "endless")
            self.said = said
            wire(start, cancel, progress("bar"), self.endless, Form(Typed, typed=typed), [said])
            file = gr.File()
            file.change(once(show_errors(self.reads)), file, said, **QUICK)
            gr.Button().click(self.asked, [typed, latest], said, api_name="asked")
            gr.Button().click(self.called, typed, said, api_name="called")
        self.address = launch(self.blocks, port=free_port(), prevent_thread_lock=True, quiet=True)
        self.api = f"{self.address}gradio_api"
        self.numbers = {name: number for number, fn in self.blocks.fns.items() for name in [self._name(fn)]}

    @staticmethod
    def _name(fn: Any) -> str:
        return str(fn.api_name)

    def endless(self, _: Typed, stop: threading.Event) -> Iterator[Update]:
        self.stops.append(stop)
        while not stop.is_set():
            time.sleep(0.05)
            yield {self.said: str(time.monotonic())}

    def called(self, typed: str) -> str:
        with stoppable() as stop:
            self.stops.append(stop)
            return str(stop.wait(60))

    def asked(self, typed: str, latest: Latest) -> str:
        return f"{len(typed)}"

    def reads(self, path: str | None) -> str:
        if path is None or is_gone(path):
            return "nothing"
        text = Path(path).read_text()
        self.read.append(text)
        if "broken" in text:
            raise BadInput("broken")
        return "read"

    def join(self, name: str, data: list[Any], session: str) -> None:
        body = {"data": data, "fn_index": self.numbers[name], "session_hash": session}
        httpx.post(f"{self.api}/queue/join", json=body, trust_env=False).raise_for_status()

    def answer(self, name: str, data: list[Any], session: str) -> dict[str, Any]:
        """What a listener says in the end."""
        self.join(name, data, session)
        with self.stream(session) as lines:
            return next(message["output"] for message in lines if message["msg"] == "process_completed")

    @contextmanager
    def stream(self, session: str) -> Iterator[Iterator[dict[str, Any]]]:
        asked = {"session_hash": session}
        with httpx.stream("GET", f"{self.api}/queue/data", params=asked, trust_env=False, timeout=60) as answer:
            yield (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))

    @contextmanager
    def heartbeat(self, session: str) -> Iterator[None]:
        with httpx.stream("GET", f"{self.api}/heartbeat/{session}", trust_env=False, timeout=60) as answer:
            beats = answer.iter_raw()
            next(beats)
            yield
            beats.close()

    def kept(self) -> set[str]:
        """Sessions of which gradio keeps anything."""
        app, queue = self.blocks.app, self.blocks._queue
        tables = (app.state_holder.session_data, app.state_holder.time_last_used, queue.pending_event_ids_session,
                  queue.pending_messages_per_session, self.blocks.pending_streams, self.blocks.pending_diff_streams)  # fmt: skip
        events = {event.session_hash for event in queue.event_ids_to_events.values()}
        return {session for table in tables for session in list(table)} | events


@pytest.fixture(scope="module")
def page(outward: list[str]) -> Iterator[Page]:
    assert visits.LOST + 2 * visits.CHECK_INTERVAL < 15 and visits.SILENT <= 600
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visits, "LOST", 1.5)
        patch.setattr(visits, "SILENT", 5.0)
        patch.setattr(visits, "CHECK_INTERVAL", 0.2)
        served = Page()
        yield served
        served.blocks.close(verbose=False)
        wait_until(idle)
        gc.collect()  # as in tests/ui/conftest.py


@pytest.mark.parametrize("path", GONE)
def test_addresses_that_give_away_or_keep_anything_are_gone(page: Page, path: str) -> None:
    for method in ("GET", "POST", "HEAD"):
        request = httpx.Request(method, page.address)
        request.url = httpx.URL(page.address).copy_with(raw_path=f"/{path}".encode())
        with httpx.Client(trust_env=False) as client:
            assert client.send(request).status_code == 404, method


@pytest.mark.parametrize("path", KEPT)
def test_addresses_that_the_page_needs_are_there(page: Page, path: str) -> None:
    assert httpx.get(page.address + path, trust_env=False).status_code == 200


def test_a_run_whose_client_is_gone_stops_and_its_session_is_let_go(page: Page) -> None:
    page.answer("begin", ["x"], "gone")
    page.join("steps", ["x", None], "gone")
    with page.stream("gone") as messages:
        for message in messages:
            if message["msg"] == "process_generating":
                break
        assert not page.stops[-1].is_set()
    wait_until(page.stops[-1].is_set)
    assert page.stops[-1].is_set(), "the run is told"
    wait_until(lambda: "gone" not in page.kept())
    assert "gone" not in page.kept()


def test_a_call_whose_caller_is_gone_stops(page: Page) -> None:
    before = len(page.stops)
    event = httpx.post(f"{page.api}/call/called", json={"data": ["x"]}, trust_env=False).json()["event_id"]
    with httpx.stream("GET", f"{page.api}/call/called/{event}", trust_env=False):
        wait_until(lambda: len(page.stops) > before)
        assert not page.stops[-1].is_set()
    wait_until(page.stops[-1].is_set)
    assert page.stops[-1].is_set()
    wait_until(lambda: event not in page.kept())
    assert event not in page.kept()


def test_a_call_whose_answer_nobody_asks_for_stops(page: Page) -> None:
    before = len(page.stops)
    httpx.post(f"{page.api}/call/called", json={"data": ["x"]}, trust_env=False)
    wait_until(lambda: len(page.stops) > before)
    wait_until(page.stops[-1].is_set)
    assert page.stops[-1].is_set()


def test_a_visit_lives_as_long_as_its_heartbeat_and_is_let_go_after(page: Page) -> None:
    with page.heartbeat("beating"):
        page.answer("asked", [MARKER, None], "beating")
        time.sleep(4 * visits.LOST)
        assert "beating" in page.kept()
        with page.heartbeat("beating"):
            pass
        time.sleep(2 * visits.LOST)
        assert "beating" in page.kept(), "another of its connections is open"
    wait_until(lambda: "beating" not in page.kept())
    assert "beating" not in page.kept()


def test_many_visits_leave_nothing(page: Page) -> None:
    for at in range(20):
        page.answer("asked", [MARKER, None], f"visit-{at}")
    assert "visit-19" in page.kept(), "between two calls a script keeps its session"
    wait_until(lambda: not page.kept())
    assert not page.kept()
    assert len(page.blocks._queue.event_analytics) <= 1


def test_what_was_typed_is_not_kept_beside_the_session(page: Page) -> None:
    page.answer("asked", [MARKER, None], "typing")
    session = page.blocks.app.state_holder.session_data["typing"]
    assert session.config_values == {} and MARKER not in str(session.state_data)


@pytest.mark.parametrize(("content", "said"), [(b"prompt", "read"), (b"broken", "broken")])
def test_a_file_is_gone_once_it_was_read_and_twice_the_same_are_two(page: Page, content: bytes, said: str) -> None:
    both = [upload(page, content) for _ in range(2)]
    assert both[0] != both[1], "else one visitor's reading deletes another's list"
    for path in both:
        data = {"path": path, "orig_name": "mine.csv", "meta": {"_type": "gradio.FileData"}}
        answer = page.answer("reads", [data], "reader")
        assert said in str(answer)
        assert not Path(path).exists() and not Path(path).parent.exists()
        assert "nothing" in str(page.answer("reads", [data], "reader")), "a change that is told again"
    assert page.read[-2:] == [content.decode()] * 2


def upload(page: Page, content: bytes) -> str:
    """From an open page, as uploads must come."""
    files = {"files": ("mine.csv", content)}
    with httpx.Client(trust_env=False, timeout=60) as browser:
        browser.get(page.address).raise_for_status()
        with browser.stream("GET", f"{page.api}/heartbeat/reader") as beat:
            beats = beat.iter_raw()  # held: it closes the connection when it goes
            next(beats)
            return str(browser.post(f"{page.api}/upload", files=files).raise_for_status().json()[0])


def test_files_that_nobody_came_for_go_after_a_while(tmp_path: Path) -> None:
    old, new = tmp_path / "a" / "old.csv", tmp_path / "b" / "new.csv"
    for file in (old, new):
        file.parent.mkdir()
        file.write_text(MARKER)
    hour_ago = time.time() - 3600
    os.utime(old, (hour_ago, hour_ago))
    forget_unread(tmp_path)
    assert not old.parent.exists() and new.exists()


@pytest.mark.parametrize(("available", "visits"), [(0, 50), (1_600_000_000, 100), (16_000_000_000, 1000), (10**13, 1000)])
def test_how_many_visits_are_kept_follows_the_memory(available: int, visits: int) -> None:
    assert capacity(available) == visits
