"""How often a run tells the page what it does: a browser that is told more often than it can draw falls behind without end.

What it is told late it draws late, and a click waits behind all of that: Cancel could not be pressed any more.
"""

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from privlens.ui.components.form import Update

BETWEEN = 0.15
"""Seconds between two updates on average; an update costs a browser on a slow machine about a twentieth of a second."""


class Pace:
    """When something that could be told more often is told next: so many seconds apart on average.

    What is told late, since steps are not made to measure, lets the next come earlier, by half of that time at most.
    """

    def __init__(self, between: float = BETWEEN) -> None:
        self._between, self._due = between, 0.0

    def is_due(self) -> bool:
        """Whether it may be told now, in which case the caller does."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = max(self._due, now - self._between / 2) + self._between
        return True


def paced(updates: Iterator[Update], bar: gr.HTML) -> Iterator[Update]:
    """The updates at this pace; those between are joined with the next, so that none is lost.

    A new stage is told at once: its first step may take long, and meanwhile the page must not name the stage before.
    """
    waiting: Update = {}
    pace, told = Pace(), ""
    for update in updates:
        waiting = _joined(waiting, update)
        stage, is_due = _stage(update, bar) or told, pace.is_due()
        if stage != told or is_due:
            told = stage
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
