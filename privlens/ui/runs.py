"""How handlers run: errors in words, and long work with a Start and a Cancel button and a bar.

Cancel sets the run's own flag, which the work asks at every step, and takes the event out of gradio's queue. What the
visitor had stays, because a run hands over its result only at its end; what it streamed over is drawn again from that.
"""

import functools
import html
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import gradio as gr
from gradio.components import Component
from gradio.context import LocalContext

from privlens.errors import Cancelled, PrivlensError

Handler = Callable[..., Any]
Redraw = tuple[Handler, Sequence[Component], Sequence[Component]]
"""A handler that draws what stands in the visitor's session, its inputs and its outputs."""
QUICK: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""For listeners that answer at once."""
SLOW: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private"}
"""For listeners that take a second or so."""


def in_words(handler: Handler) -> Handler:
    """The handler, with every PrivlensError shown as its message; the outputs stay as they were."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def steps(*given: Any) -> Iterator[Any]:
            try:
                yield from handler(*given)
            except Cancelled:
                return
            except PrivlensError as error:
                raise _shown(error) from None

        return steps

    @functools.wraps(handler)
    def once(*given: Any) -> Any:
        try:
            return handler(*given)
        except PrivlensError as error:
            raise _shown(error) from None

    return once


def _shown(error: PrivlensError) -> gr.Error:
    """gradio reads markup in messages, so it is escaped; quotation marks stand as they are, for whoever reads the answer."""
    return gr.Error(html.escape(str(error), quote=False), duration=15, print_exception=False, title="That did not work")


class Notices(logging.Handler):
    """Shows a visitor what the core says while it works for them, such as that memory ran out and batches became smaller."""

    def emit(self, record: logging.LogRecord) -> None:
        """gradio knows by the thread's context which visitor it works for; without one there is nobody to show it to."""
        if LocalContext.blocks.get(None) is not None:
            gr.Warning(html.escape(record.getMessage()), duration=10, title="Notice")


def run_buttons(label: str, elem_id: str) -> tuple[gr.Button, gr.Button]:
    """Start and Cancel."""
    with gr.Row():
        start = gr.Button(label, variant="primary", elem_id=f"{elem_id}-start", min_width=120)
        cancel = gr.Button("Cancel", interactive=False, elem_id=f"{elem_id}-cancel", min_width=120)
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

    asked: tuple[Any, ...]
    stop: threading.Event
    outdated: threading.Event
    over: threading.Event


def wire(
    start: gr.Button, cancel: gr.Button, bar: gr.HTML, work: Handler, inputs: Sequence[Component], outputs: Sequence[Component],
    until: Sequence[Any] = (), empty: Callable[[], tuple[Any, ...]] = tuple, redraw: Redraw | None = None,
) -> Any:  # fmt: skip
    """Start runs `work(*inputs, stop)`, which yields (progress, *outputs). Returns the event after a good end.

    The progress of a step is a value of the bar. `stop` is a threading.Event that Cancel sets. `until` are events, such as
    another secret: where the inputs differ after them from those of the run, it stops, and the outputs become `empty()`.
    `redraw` is for a run that shows anything before its end: it draws what stood before, after Cancel and after an error.
    """
    latest = gr.State(None)
    buttons = [start, cancel, bar]
    began = start.click(_begin, list(inputs), [latest, *buttons], **QUICK)
    running = began.then(in_words(_heeding(work, empty)), [*inputs, latest], [bar, *outputs], **QUICK)
    stopped = cancel.click(_cancel, latest, buttons, cancels=[running], queue=False, **QUICK)
    stopped.success(_tell_cancelled, None, None, **QUICK)  # gradio shows no message of a listener that is not queued
    if until:
        gr.on(until, functools.partial(_outdated, empty), [latest, *inputs], [bar, *outputs], **QUICK)
    running.failure(_end, latest, buttons, **QUICK)  # gradio 6 calls what stands in `then` only where a run went well
    if redraw:
        drawn, needs, gives = redraw
        for ended in (stopped.success, running.failure):
            ended(in_words(drawn), list(needs), list(gives), **QUICK)
    return running.success(_end, latest, buttons, **QUICK)


def _heeding(work: Handler, empty: Callable[[], tuple[Any, ...]]) -> Handler:
    """The work as a listener: it says nothing more once it was stopped, and takes back what it said of an outdated question."""

    def steps(*given: Any) -> Iterator[Any]:
        *inputs, run = given
        try:
            for shown in work(*inputs, run.stop):
                if run.stop.is_set():
                    break
                yield shown
        except Cancelled:
            pass
        finally:
            run.over.set()
        if run.outdated.is_set():
            yield gr.skip(), *empty()

    return steps


def _begin(*asked: Any) -> tuple[Any, ...]:
    bar = {"share": 0.0, "text": "starting"}
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
    gr.Info("Cancelled. What you had stays as it was.", duration=4)


def _outdated(empty: Callable[[], tuple[Any, ...]], run: Run | None, *now: Any) -> tuple[Any, ...]:
    if run is not None and run.asked == now:
        return gr.skip(), *(gr.skip() for _ in empty())
    if run is not None and not run.stop.is_set():
        run.outdated.set()
        run.stop.set()
        gr.Info("Stopped, because the secret, the neurons or the model are others now.", duration=6)
    return gr.skip(), *empty()
