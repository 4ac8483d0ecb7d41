"""How handlers run: errors in words, and long work with a Start and a Cancel button and a bar.

Cancel sets the run's own flag, which the work asks at every step, and takes the event out of gradio's queue. What the
visitor had stays, because a run hands over its result only at its end; what it streamed over is drawn again from that.

Every listener is a piece of light work, which goes before the next step of heavy work; heavy runs wait in one line.
"""

import functools
import html
import inspect
import itertools
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import gradio as gr
from gradio.components import Component
from gradio.context import LocalContext

from privlens.errors import Cancelled, PrivlensError
from privlens.lm.fair_lock import Work, at_work
from privlens.lm.model import Stop
from privlens.ui.components.form import Form, Given, Update, Values
from privlens.ui.state.pace import paced
from privlens.ui.state.waiting import Place, RunQueue
from privlens.ui.text import en

Handler = Callable[..., Any]
RunSteps = Callable[[Values, threading.Event], Iterator[Update]]
"""What a run does: the values of its form and the event that stops it, to updates of its bar and its outputs."""
QUICK: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
"""For listeners that answer at once. Without the empty list, the browser brings the hidden progress of every output that it ever
had up to date with every message of any listener: seconds of its time for a click that many parts answer to."""
SLOW: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private"}
"""For listeners that take a second or so."""


class Redraw(NamedTuple):
    """A handler that draws what the visitor's session holds, its inputs and its outputs.

    `as_sent`: the inputs come as the browser sent them. What is drawn moves the ends of a slider or the choices of a list, and
    a browser that is behind still sends the value of before, which gradio refuses where it checks it. The handler checks it then.
    """

    handler: Handler
    inputs: Sequence[Component] | set[Component]
    outputs: Sequence[Component]
    as_sent: bool = False

    def after(self, event: Callable[..., Any]) -> Any:
        """Draws at this event, such as the `success` of another; returns the event after it."""
        return event(show_errors(self.handler), self.inputs, list(self.outputs), preprocess=not self.as_sent, **QUICK)


LINE = RunQueue()
"""The heavy runs of this process: all its pages share one machine."""


def show_errors(handler: Handler) -> Handler:
    """The handler as light work, with every PrivlensError shown as its message; the outputs stay as they were."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def steps(*given: Any) -> Iterator[Any]:
            try:
                yield from working(Work(), handler(*given))
            except Cancelled:
                return
            except PrivlensError as error:
                raise _shown(error) from None

        return steps

    @functools.wraps(handler)
    def once(*given: Any) -> Any:
        try:
            with at_work(Work()):
                return handler(*given)
        except PrivlensError as error:
            raise _shown(error) from None

    return once


def working(work: Work, steps: Iterator[Any]) -> Iterator[Any]:
    """The steps, each as a step of this piece of work; between them it rests, for gradio asks for the next when it likes."""
    while True:
        with at_work(work):
            try:
                step = next(steps)
            except StopIteration:
                return
        yield step


def in_line(handler: Handler) -> Handler:
    """The handler as heavy work, which waits in line like a run on the page."""

    @functools.wraps(handler)
    def waits(*given: Any) -> Any:
        with stoppable() as stop, turn(visitor(), stop.is_set):
            return handler(*given)

    return waits


@contextmanager
def turn(caller: str, stop: Stop) -> Iterator[None]:
    """Waits in line for a heavy run of this caller; inside, the thread's work is that run. Raises Cancelled and BadInput."""
    with LINE.place(caller) as place:
        for _ in LINE.wait(place, stop):
            pass
        with at_work(place.work):
            yield


def visitor() -> str:
    """Who this is done for, by gradio's session; nobody outside of a listener."""
    request = LocalContext.request.get(None)
    return str(request.session_hash) if request is not None else ""


_stops: defaultdict[str, set[threading.Event]] = defaultdict(set)


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """For a call that keeps no run in the session: its event is set when the visit that it works for has ended."""
    session, stop = visitor(), threading.Event()
    _stops[session].add(stop)
    try:
        yield stop
    finally:
        _stops[session].discard(stop)
        if not _stops[session]:
            _stops.pop(session, None)


def stop_calls(session: str) -> None:
    """Stops the calls of a visit that has ended, at their next step."""
    for stop in list(_stops.get(session, ())):
        stop.set()


def _shown(error: PrivlensError) -> gr.Error:
    return gr.Error(_escaped(str(error)), duration=15, print_exception=False, title=en.ERROR)


def warn(message: str) -> None:
    """Shows the visitor what went wrong in a part of an answer whose rest is told all the same."""
    gr.Warning(_escaped(message), duration=15, title=en.ERROR)


def _escaped(message: str) -> str:
    """gradio reads markup in messages, so it is escaped; quotation marks stay as they are, for whoever reads the answer."""
    return html.escape(message, quote=False)


class Notices(logging.Handler):
    """Shows a visitor what the core says while it works for them, such as that memory ran out and batches became smaller."""

    def emit(self, record: logging.LogRecord) -> None:
        """gradio knows by the thread's context which visitor it works for; without one there is nobody to show it to."""
        if LocalContext.blocks.get(None) is not None:
            gr.Warning(html.escape(record.getMessage()), duration=10, title=en.NOTICE)


def run_buttons(label: str, elem_id: str) -> tuple[gr.Button, gr.Button]:
    """Start and Cancel."""
    with gr.Row():
        start = gr.Button(label, variant="primary", elem_id=f"{elem_id}-start", min_width=120)
        cancel = gr.Button(en.CANCEL, interactive=False, elem_id=f"{elem_id}-cancel", min_width=120)
    return start, cancel


class Latest:
    """The answer that is being worked out for one visitor; a newer question stops it. A gr.State gives each visitor another."""

    def __init__(self) -> None:
        self._lock, self._stop = threading.Lock(), threading.Event()

    def __deepcopy__(self, _: Any) -> "Latest":
        return Latest()

    def begin(self) -> threading.Event:
        """Stops the answer before, and returns what stops this one."""
        with self._lock:
            self._stop.set()
            self._stop = threading.Event()
            return self._stop


class Run(NamedTuple):
    """One press of Start: what it was asked with, whether it is to stop, whether something else is asked by now, and its end."""

    asked: Any
    stop: threading.Event
    outdated: threading.Event
    over: threading.Event


def wire(
    start: gr.Button,
    cancel: gr.Button,
    bar: gr.HTML,
    work: RunSteps[Values],
    form: Form[Values],
    outputs: Sequence[Component],
    until: Sequence[Any] = (),
    empty: Callable[[], Update] = dict,
    redraw: Redraw | None = None,
    heavy: bool = True,
) -> Any:
    """Start runs `work(values, stop)`, which yields updates of the bar and the outputs. Returns the event after a good end.

    `values` is what the form reads; the progress of a step is a value of the bar; Cancel sets `stop`. `until` are events, such as
    another secret: where the form differs after them from that of the run, it stops, and the outputs become `empty()`.
    `redraw` is for a run that shows anything before its end: it draws what stood before, after Cancel and after an error.
    A `heavy` run waits in line with those of others, and its steps come after all light work.
    """
    latest = gr.State(None)
    buttons = [start, cancel, bar]
    run_steps = _cancellable(_queued(work, bar) if heavy else work, bar, empty)

    def begin(given: Given) -> tuple[Any, ...]:
        return _begin(form.read(given))

    def steps(given: Given) -> Iterator[Update]:
        for update in run_steps(form.read(given), given[latest]):
            yield {bar: gr.skip(), **update}

    def outdated(given: Given) -> Update:
        return {bar: gr.skip(), **_outdated(empty, given[latest], form.read(given))}

    began = start.click(begin, form.inputs, [latest, *buttons], **QUICK)
    running = began.then(show_errors(steps), {*form.inputs, latest}, [bar, *outputs], **QUICK)
    stopped = cancel.click(_cancel, latest, buttons, cancels=[running], queue=False, **QUICK)
    stopped.success(_tell_cancelled, None, None, **QUICK)  # gradio shows no message of a listener that is not queued
    if until:
        gr.on(until, outdated, {*form.inputs, latest}, [bar, *outputs], **QUICK)
    running.failure(_end, latest, buttons, **QUICK)  # gradio 6 calls a `then` only where the run went well
    if redraw:
        for ended in (stopped.success, running.failure):
            redraw.after(ended)
    return running.success(_end, latest, buttons, **QUICK)


def _queued(work: RunSteps[Values], bar: gr.HTML) -> RunSteps[Values]:
    """The work as a heavy run: it waits for its turn, says so on the bar, and says which others it takes turns with."""

    def steps(values: Values, stop: threading.Event) -> Iterator[Update]:
        with LINE.place(visitor()) as place:
            for text in itertools.chain(LINE.wait(place, stop.is_set), [en.STARTING]):
                yield {bar: gr.update(value={"share": 0.0, "text": text})}
            for update in working(place.work, work(values, stop)):
                yield {**update, bar: _beside(update.get(bar, gr.skip()), place)}

    return steps


def _beside(bar: dict[str, Any], place: Place) -> dict[str, Any]:
    """The bar of a step, with the runs that take turns with this one; the place learns how far its run is."""
    value = bar.get("value")
    if not value:
        return bar
    place.share = value["share"]
    n_others = place.n_beside
    if n_others and place.share < 1:
        value = {**value, "text": en.in_turns(value["text"], n_others)}
    return {**bar, "value": value}


def _cancellable(work: RunSteps[Values], bar: gr.HTML, empty: Callable[[], Update]) -> Callable[[Values, Run], Iterator[Update]]:
    """The work as a listener: it says nothing more once it was stopped, and takes back what it said of an outdated question."""

    def steps(values: Values, run: Run) -> Iterator[Update]:
        try:
            for update in paced(work(values, run.stop), bar):
                if run.stop.is_set():
                    break
                yield update
        except Cancelled:
            pass
        finally:
            run.over.set()
        if run.outdated.is_set():
            yield empty()

    return steps


def _begin(asked: Any) -> tuple[Any, ...]:
    bar = {"share": 0.0, "text": en.STARTING}
    run = Run(asked, *(threading.Event() for _ in range(3)))
    return run, gr.update(interactive=False), gr.update(interactive=True), gr.update(value=bar)


def _end(run: Run | None) -> tuple[Any, ...]:
    """After a run: the buttons as before it. Nothing where Start was pressed again meanwhile, and another run is under way."""
    if run is not None and not run.over.is_set() and not run.stop.is_set():
        return gr.skip(), gr.skip(), gr.skip()
    return gr.update(interactive=True), gr.update(interactive=False), gr.update(value=None)


def _cancel(run: Run | None) -> tuple[Any, ...]:
    if run is not None:
        run.stop.set()
    return _end(run)


def _tell_cancelled() -> None:
    gr.Info(en.CANCELLED, duration=4)


def _outdated(empty: Callable[[], Update], run: Run | None, asked: Any) -> Update:
    """What the outputs become after an event that may have changed what is asked; the run that was under way stops."""
    if run is not None and run.asked == asked:
        return {}
    if run is not None and not run.stop.is_set():
        run.outdated.set()
        run.stop.set()
        gr.Info(en.OUTDATED, duration=6)
    return empty()
