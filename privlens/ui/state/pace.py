"""How often a run tells the page what it does: a browser that is told more often than it can draw falls behind without end.

What it is told late it draws late, and a click waits behind all of that: Cancel could not be pressed any more.
"""

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from privlens.ui.components.form import Update

BETWEEN = 0.25
"""Seconds between two updates; an update costs a browser on a slow machine about a tenth of a second."""


def paced(updates: Iterator[Update], bar: gr.HTML) -> Iterator[Update]:
    """The updates, at most one in BETWEEN seconds; those between are joined with the next, so that none is lost.

    A new stage is told at once: its first step may take long, and meanwhile the page must not name the stage before.
    """
    waiting: Update = {}
    told, told_at = "", 0.0
    for update in updates:
        waiting = _joined(waiting, update)
        stage = _stage(update, bar) or told
        if stage != told or time.monotonic() - told_at >= BETWEEN:
            told, told_at = stage, time.monotonic()
            yield waiting
            waiting = {}
    if waiting:
        yield waiting


def _joined(before: Update, update: Update) -> Update:
    """Both updates in one: what the second does not say of a part stays as the first said it."""
    return before | {part: _both(before[part], said) if part in before else said for part, said in update.items()}


def _both(before: Any, said: Any) -> Any:
    if not _is_update(said):
        return said
    if _is_update(before):
        return {**before, **said}
    return before if said == gr.skip() else {"value": before, **said}


def _is_update(said: Any) -> bool:
    """Of some properties of a part, for which gradio has a dict; anything else is a new value."""
    return isinstance(said, dict) and said.get("__type__") == "update"


def _stage(update: Update, bar: gr.HTML) -> str:
    value = update.get(bar, {}).get("value")
    return str(value.get("stage", value["text"])) if value else ""
