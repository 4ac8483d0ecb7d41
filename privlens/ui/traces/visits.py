"""Detects the end of a visit: its runs are then stopped, and everything that gradio keeps of it is deleted.

A visit lasts while one of its connections is open: the heartbeat of a page, or a stream that waits for an answer. A connection
may be lost for a moment, so a visit ends only ten seconds after its last one was closed. Clients without a heartbeat, such as
scripts, may wait some minutes between two calls, but a call whose answer nobody waits for is dropped after the same ten seconds.
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

LOST = 10.0
"""Seconds after its last connection was closed until a visit ends: time to reconnect, while its runs go on for nobody."""
SILENT = 300.0
"""Seconds that a client without a heartbeat may wait between two calls before its state is deleted."""
CHECK_INTERVAL = 1.0
"""Seconds between two checks for visits that have ended; short beside LOST."""
VISIT_BYTES = 4_000_000
"""Bytes that a busy visit may keep; an idle one keeps a hundredth."""
MEMORY_SHARE = 0.25
"""Share of the free memory for all visits; the rest is for models and runs."""
MIN_VISITS = 50
"""Visits that are kept at least, however little memory is free."""
MAX_VISITS = 1000
"""Visits that are kept at most, however much memory is free."""


def capacity(available: int | None = None) -> int:
    """How many visits are kept; beyond that the least recently used go first. `available`: bytes, by default all free memory."""
    free = psutil.virtual_memory().available if available is None else available
    return max(MIN_VISITS, min(MAX_VISITS, int(free * MEMORY_SHARE / VISIT_BYTES)))


@dataclass
class Visit:
    """One visit: its open connections, when the last one was closed, and whether one was lost before its answer."""

    since: float
    n_open: int = 0
    has_heartbeat: bool = False
    is_lost: bool = False


class VisitRegistry:
    """All visits of one page, by gradio's session hash."""

    def __init__(self) -> None:
        self.app: App | None = None
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def get(self, session: str) -> Visit:
        """The visit of a session, which begins now if it is new."""
        with self._lock:
            return self._visits.setdefault(session, Visit(time.monotonic()))

    @contextmanager
    def connected(self, session: str, is_heartbeat: bool) -> Iterator[None]:
        """Inside, the visit has one more open connection."""
        visit = self.get(session)
        visit.n_open += 1
        visit.is_lost = False
        visit.has_heartbeat |= is_heartbeat
        try:
            yield
        finally:
            visit.n_open -= 1
            visit.since = time.monotonic()

    def disconnected(self, session: str) -> None:
        """Records that the client closed a connection, and whether an answer was still pending."""
        assert self.app is not None
        self.get(session).is_lost = bool(self.app.get_blocks()._queue.pending_event_ids_session.get(session))

    def _events(self, session: str) -> list[Any]:
        assert self.app is not None
        pending = list(self.app.get_blocks()._queue.event_ids_to_events.values())
        return [event for event in pending if event.session_hash == session]

    def sessions(self) -> set[str]:
        """Every session of which gradio or this registry keeps anything."""
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
            self._visits,
        )

    def has_ended(self, session: str) -> bool:
        """Whether nobody waits for an answer of this visit any more."""
        assert self.app is not None
        visit = self.get(session)
        now = time.monotonic()
        if visit.n_open:
            return False
        if visit.is_lost:
            return now - visit.since > LOST
        events = self._events(session)
        if events:
            return now - max([visit.since, *(float(event.enqueue_time) for event in events)]) > LOST
        last_used = self.app.state_holder.time_last_used.get(session)
        idle: float = min(now - visit.since, (datetime.now() - last_used).total_seconds() if last_used else now - visit.since)
        return idle > (LOST if visit.has_heartbeat else SILENT)

    async def end(self, session: str) -> None:
        """Stops the runs of a visit, and deletes its state once none of them is running."""
        assert self.app is not None
        blocks, holder = self.app.get_blocks(), self.app.state_holder
        self.stop(session)
        await blocks._queue.clean_events(session_hash=session)
        if self._events(session) or self.get(session).n_open:  # still running, or the client has reconnected
            return
        for table in (*self._tables(), holder.time_last_used):
            with suppress(KeyError):
                del table[session]

    def stop(self, session: str) -> None:
        """Stops everything that a visit has running, at its next step."""
        assert self.app is not None
        state = self.app.state_holder.session_data.get(session)
        for value in list(state.state_data.values()) if state else ():
            if isinstance(value, Run):
                value.stop.set()
            elif isinstance(value, Latest):
                value.begin()
        stop_calls(session)

    def end_all(self) -> None:
        """Stops the runs of all visits, at the end of the server."""
        for session in self.sessions() if self.app is not None else ():
            self.stop(session)

    async def watch(self) -> None:
        """Ends visits, and deletes unread files, until it is cancelled."""
        assert self.app is not None
        n_checks = 0
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            for session in self.sessions():
                if self.has_ended(session):
                    await self.end(session)
            n_checks += 1
            folder = Path(self.app.uploaded_file_dir)
            if n_checks % 60 == 0 and is_own(folder):
                await asyncio.to_thread(forget_unread, folder)


class Connections:
    """Registers every connection that is opened or closed."""

    def __init__(self, app: ASGIApp, visits: VisitRegistry) -> None:
        self.app = app
        self.visits = visits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session, is_heartbeat = self._session(scope) if scope["type"] == "http" else (None, False)
        if session is None:
            await self.app(scope, receive, send)
            return
        session_hash = session

        async def receive_watched() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.visits.disconnected(session_hash)
            return message

        with self.visits.connected(session_hash, is_heartbeat):
            await self.app(scope, receive_watched, send)

    def _session(self, scope: Scope) -> tuple[str | None, bool]:
        """The session that a request's stream belongs to, if it is one, and whether it is a heartbeat."""
        path = path_of(scope)
        last = path.rpartition("/")[2]
        if path.startswith(f"{API}/heartbeat/"):
            return last, True
        if path == f"{API}/queue/data":
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            return query.get("session_hash", [None])[0], False
        if scope["method"] == "GET" and path.startswith(f"{API}/call/") and self.visits.app is not None:
            queue = self.visits.app.get_blocks()._queue
            event = queue.event_ids_to_events.get(last)
            waiting = (session for session, events in queue.pending_event_ids_session.items() if last in events)
            return (event.session_hash if event else next(waiting, None)), False
        return None, False


class _Session(SessionState):
    """gradio's state of a session, without the components' settings and the last values sent.

    gradio keeps those to save a page under a link, which is closed here: more than half a megabyte, including what was typed.
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


def watching(visits: VisitRegistry) -> Callable[[App], Any]:
    """The lifespan of gradio's app, in which its visits are watched."""

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        visits.app = app
        app.state_holder = _Sessions()  # type: ignore[no-untyped-call]
        app.state_holder.set_blocks(app.get_blocks())
        queue = app.get_blocks()._queue
        queue.ANALYTICS_MAX_EVENTS = 1  # otherwise gradio counts what every visitor does
        queue.ANAYLTICS_CACHE_FREQUENCY = sys.maxsize
        task = asyncio.create_task(visits.watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return lifespan
