"""How often a run tells the page what it does: a browser that is told more often than it can draw falls behind without end.

What it is told late it draws late, and a click waits behind all of that: Cancel could not be pressed any more.
"""

import time
from collections.abc import Iterator

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
        waiting |= update
        stage = _stage(update, bar) or told
        if stage != told or time.monotonic() - told_at >= BETWEEN:
            told, told_at = stage, time.monotonic()
            yield waiting
            waiting = {}
    if waiting:
        yield waiting


def _stage(update: Update, bar: gr.HTML) -> str:
    value = update.get(bar, {}).get("value")
    return str(value.get("stage", value["text"])) if value else ""
