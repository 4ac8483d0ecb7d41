"""Logs without values: of an error its kinds and the lines of code it came through are told, but never what it says.

What an error says may be what a visitor typed: gradio's error of a malformed call lists the inputs, Python's of a missing key
names the key. Visitors are told what is meant for them by PrivLens's own errors.
"""

import logging
import sys
import threading
import traceback
import types
from typing import Any

import gradio.queueing
import gradio.route_utils
import gradio.routes

LEFT_OUT = "(what it says is left out, because it may be what a visitor typed)"


def without_values(error: BaseException) -> str:
    """Like a traceback of Python's, causes first, and only the kind of every error."""
    parts, seen = [], set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        lines = "".join(traceback.format_tb(at.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{lines}{type(at).__module__}.{type(at).__qualname__} {LEFT_OUT}\n")
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\nwhich led to:\n".join(reversed(parts))


def print_exc(*_: Any, **__: Any) -> None:
    """Takes the place of `traceback.print_exc`."""
    error = sys.exc_info()[1]
    if error is not None:
        print(without_values(error), file=sys.stderr, end="", flush=True)


def silence() -> None:
    """From now on, for gradio, for whatever logs an error, and for errors that nobody caught in a thread."""
    for module in (gradio.queueing, gradio.routes, gradio.route_utils):
        if module.traceback is traceback:
            quiet = types.ModuleType("traceback")
            quiet.__dict__.update(traceback.__dict__, print_exc=print_exc)
            module.traceback = quiet  # type: ignore[attr-defined]
    if logging.getLogRecordFactory() is not _record:
        global _usual
        _usual = logging.getLogRecordFactory()
        logging.setLogRecordFactory(_record)
        threading.excepthook = _of_thread


_usual: Any = logging.getLogRecordFactory()


def _record(*given: Any, **named: Any) -> logging.LogRecord:
    record: logging.LogRecord = _usual(*given, **named)
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        record.exc_text, record.exc_info = without_values(error), None
    return record


def _of_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None:
        print(without_values(given.exc_value), file=sys.stderr, end="", flush=True)
