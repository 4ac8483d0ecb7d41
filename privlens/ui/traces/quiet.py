"""Logs without values: errors are logged with their types and the lines of code they passed, but without their messages.

An error's message may contain what a visitor typed: gradio's error for a malformed call lists the inputs, and a KeyError names
the key. Visitors see the messages of PrivLens's own errors.
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

LEFT_OUT = "(message left out, because it may contain what a visitor typed)"


def without_values(error: BaseException) -> str:
    """A traceback like Python's, causes first, with only the type of each error."""
    parts, seen = [], set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        lines = "".join(traceback.format_tb(cause.__traceback__))
        error_type = f"{type(cause).__module__}.{type(cause).__qualname__}"
        parts.append(f"Traceback (most recent call last):\n{lines}{error_type} {LEFT_OUT}\n")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\nwhich led to:\n".join(reversed(parts))


def print_exc(*_: Any, **__: Any) -> None:
    """Replaces `traceback.print_exc`."""
    error = sys.exc_info()[1]
    if error is not None:
        print(without_values(error), file=sys.stderr, end="", flush=True)


def silence() -> None:
    """From now on leaves messages out of the errors that gradio prints, that any logger logs, and that end a thread."""
    for module in (gradio.queueing, gradio.routes, gradio.route_utils):
        if module.traceback is traceback:
            replacement = types.ModuleType("traceback")
            replacement.__dict__.update(traceback.__dict__, print_exc=print_exc)
            module.traceback = replacement  # type: ignore[attr-defined]
    if logging.getLogRecordFactory() is not _record_without_values:
        global _original_factory
        _original_factory = logging.getLogRecordFactory()
        logging.setLogRecordFactory(_record_without_values)
        threading.excepthook = _print_thread_error


_original_factory: Any = logging.getLogRecordFactory()


def _record_without_values(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record: logging.LogRecord = _original_factory(*args, **kwargs)
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        record.exc_text, record.exc_info = without_values(error), None
    return record


def _print_thread_error(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        print(without_values(args.exc_value), file=sys.stderr, end="", flush=True)
