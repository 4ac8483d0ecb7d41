"""When a visit has ended: then its runs stop, and all that gradio keeps of it is let go.

A visit lives while one of its connections is open: the heartbeat of a page, or a stream that waits for an answer. What is lost
for a moment may come back, so ten seconds go by before it counts as ended. Whoever calls without a heartbeat, as a script does,
is given some minutes between two calls, but no longer than those ten seconds for a call whose answer nobody waits for.
"""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
import psutil
from gradio.routes import App
from gradio.state_holder import SessionState, StateHolder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from privlens.process.temporary import is_own
from privlens.ui.state.jobs import Latest, Run, stop_calls
from privlens.ui.traces.routes import API, path_of
from privlens.ui.traces.uploads import forget_unread

LOST, SILENT, EVERY = 10.0, 300.0, 1.0
"""Seconds: after a connection was lost; between two calls of one who has no heartbeat; between two looks."""
MEMORY_OF_VISIT, SHARE, FEWEST, MOST = 4_000_000, 0.25, 50, 1000
"""Bytes that a busy visit may keep (an idle one keeps a hundredth), the part of the free memory for all, and bounds of visits."""


def capacity(available: int | None = None) -> int:
    """How many visits are kept at most; those that were not used for longest go first. `available` in bytes."""
    free = psutil.virtual_memory().available if available is None else available
    return max(FEWEST, min(MOST, int(free * SHARE / MEMORY_OF_VISIT)))


@dataclass
class Visit:
    """What is known of a visit: its open connections, since when it has none, and whether one was lost before its answer."""

    since: float
    n_open: int = 0
    has_heartbeat: bool = False
    is_lost: bool = False


class Visits:
    """All visits of one page, by gradio's session hash."""

    def __init__(self) -> None:
        self.app: App | None = None
        self.known: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def of(self, session: str) -> Visit:
        """The visit of a session, which begins now where it is new."""
        with self._lock:
            return self.known.setdefault(session, Visit(time.monotonic()))

    @contextmanager
    def connected(self, session: str, is_heartbeat: bool) -> Iterator[None]:
        """Inside, the visit has one more open connection."""
        visit = self.of(session)
        visit.n_open += 1
        visit.is_lost = False
        visit.has_heartbeat |= is_heartbeat
        try:
            yield
        finally:
            visit.n_open -= 1
            visit.since = time.monotonic()

    def left(self, session: str) -> None:
        """Takes note that a connection was closed from the other side, maybe while an answer is still to come."""
        assert self.app is not None
        self.of(session).is_lost = bool(self.app.get_blocks()._queue.pending_event_ids_session.get(session))

    def _events(self, session: str) -> list[Any]:
        assert self.app is not None
        waiting = list(self.app.get_blocks()._queue.event_ids_to_events.values())
        return [event for event in waiting if event.session_hash == session]

    def sessions(self) -> set[str]:
        """Every session of which gradio, or we, keep anything."""
        return {session for table in self._tables() for session in list(table)}

    def _tables(self) -> tuple[MutableMapping[str, Any], ...]:
        assert self.app is not None
        blocks, queue = self.app.get_blocks(), self.app.get_blocks()._queue
        return (
            self.app.state_holder.session_data,
            queue.pending_event_ids_session,
            queue.pending_messages_per_session,
            blocks.pending_streams,
            blocks.pending_diff_streams,
            self.known,
        )

    def has_ended(self, session: str) -> bool:
        """Whether nobody waits for anything of this visit any more."""
        assert self.app is not None
        visit, now = self.of(session), time.monotonic()
        if visit.n_open:
            return False
        if visit.is_lost:
            return now - visit.since > LOST
        events = self._events(session)
        if events:
            return now - max([visit.since, *(float(event.enqueue_time) for event in events)]) > LOST
        used = self.app.state_holder.time_last_used.get(session)
        idle: float = min(now - visit.since, (datetime.now() - used).total_seconds() if used else now - visit.since)
        return idle > (LOST if visit.has_heartbeat else SILENT)

    async def end(self, session: str) -> None:
        """Stops the runs of a visit, and lets go what is kept of it as soon as none of them is at work."""
        assert self.app is not None
        blocks, holder = self.app.get_blocks(), self.app.state_holder
        self.stop(session)
        await blocks._queue.clean_events(session_hash=session)
        if self._events(session) or self.of(session).n_open:  # somebody came back meanwhile
            return
        for table in (*self._tables(), holder.time_last_used):
            with suppress(KeyError):
                del table[session]

    def stop(self, session: str) -> None:
        """Stops whatever a visit has at work, at its next step."""
        assert self.app is not None
        held = self.app.state_holder.session_data.get(session)
        for value in list(held.state_data.values()) if held else ():
            if isinstance(value, Run):
                value.stop.set()
            elif isinstance(value, Latest):
                value.begin()
        stop_calls(session)

    def end_all(self) -> None:
        """Stops everybody's runs, where the server ends."""
        for session in self.sessions() if self.app is not None else ():
            self.stop(session)

    async def watch(self) -> None:
        """Ends visits, and deletes files that nobody came for, until it is cancelled."""
        assert self.app is not None
        looks = 0
        while True:
            await asyncio.sleep(EVERY)
            for session in self.sessions():
                if self.has_ended(session):
                    await self.end(session)
            looks += 1
            folder = Path(self.app.uploaded_file_dir)
            if looks % 60 == 0 and is_own(folder):
                await asyncio.to_thread(forget_unread, folder)


class Connections:
    """Tells the visits of every connection that is opened and closed."""

    def __init__(self, app: ASGIApp, visits: Visits) -> None:
        self.app, self.visits = app, visits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session, is_heartbeat = self._session(scope) if scope["type"] == "http" else (None, False)
        if session is None:
            await self.app(scope, receive, send)
            return
        hash_ = session

        async def heard() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.visits.left(hash_)
            return message

        with self.visits.connected(hash_, is_heartbeat):
            await self.app(scope, heard, send)

    def _session(self, scope: Scope) -> tuple[str | None, bool]:
        """Whose stream a request is, and whether it is a heartbeat."""
        path = path_of(scope)
        last = path.rpartition("/")[2]
        if path.startswith(f"{API}/heartbeat/"):
            return last, True
        if path == f"{API}/queue/data":
            asked = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            return asked.get("session_hash", [None])[0], False
        if scope["method"] == "GET" and path.startswith(f"{API}/call/") and self.visits.app is not None:
            queue = self.visits.app.get_blocks()._queue
            event = queue.event_ids_to_events.get(last)
            waits = (session for session, events in queue.pending_event_ids_session.items() if last in events)
            return (event.session_hash if event else next(waits, None)), False
        return None, False


class _Session(SessionState):
    """What gradio keeps of a session, without every component's settings and the last values that were sent.

    Those are for saving a page under an address, which there is not here: more than half a megabyte, and in it what was typed.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(blocks)
        self.config_values = {}

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values = {}

    def _update_config(self, key: int) -> None:
        return

    def _update_value_in_config(self, key: int, value: Any) -> None:
        return


class _Sessions(StateHolder):
    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)


def watching(visits: Visits) -> Callable[[App], Any]:
    """What runs with the server: the watch over its visits."""

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        visits.app = app
        app.state_holder = _Sessions()  # type: ignore[no-untyped-call]
        app.state_holder.set_blocks(app.get_blocks())
        queue = app.get_blocks()._queue
        queue.ANALYTICS_MAX_EVENTS, queue.ANAYLTICS_CACHE_FREQUENCY = 1, sys.maxsize  # it counts what every visitor does
        task = asyncio.create_task(visits.watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return lifespan
