"""How handlers run: errors in words, and long work with a Start and a Cancel button and a bar.

Cancel sets the run's own flag, which the work asks at every step, and takes the event out of gradio's queue. What the
visitor had stays, because a run hands over its result only at its end.
"""

import functools
import html
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.context import LocalContext

from privlens.errors import Cancelled, PrivlensError

Handler = Callable[..., Any]
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
    """gradio reads markup in messages, so it is escaped."""
    return gr.Error(html.escape(str(error)), duration=15, print_exception=False, title="That did not work")


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


def wire(
    start: gr.Button, cancel: gr.Button, bar: gr.HTML, work: Handler, inputs: Sequence[Component], outputs: Sequence[Component]
) -> Any:
    """Start runs `work(*inputs, stop)`, which yields (progress, *outputs). Returns the event after a good end.

    The progress of a step is a value of the bar. `stop` is a threading.Event that Cancel sets.
    """
    flag = gr.State(None)
    buttons = [start, cancel, bar]
    began = start.click(_begin, None, [flag, *buttons], **QUICK)
    running = began.then(in_words(work), [*inputs, flag], [bar, *outputs], **QUICK)
    cancel.click(_stop, flag, buttons, cancels=[running], queue=False, **QUICK)
    running.failure(_end, None, buttons, **QUICK)  # gradio 6 calls what stands in `then` only where a run went well
    return running.success(_end, None, buttons, **QUICK)


def _begin() -> tuple[Any, ...]:
    bar = {"share": 0.0, "text": "starting"}
    return threading.Event(), gr.update(interactive=False), gr.update(interactive=True), gr.update(value=bar)


def _end() -> tuple[Any, ...]:
    return gr.update(interactive=True), gr.update(interactive=False), gr.update(value=None)


def _stop(flag: threading.Event | None) -> tuple[Any, ...]:
    if flag is not None:
        flag.set()
    gr.Info("Cancelled. What you had stays as it was.", duration=4)
    return _end()
