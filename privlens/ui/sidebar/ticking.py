"""Ticking secrets of the list: one by one, or all of some categories."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gradio as gr

from privlens.secret_lists import ListedSecret
from privlens.ui.sidebar.panel import SEARCH_MOST, SHOWN_MOST, Sidebar, categories_of, matching, of_shown
from privlens.ui.state.jobs import QUICK, show_errors
from privlens.ui.text import en, wording
from privlens.ui.traces.typed import UNKEPT

PER_CATEGORY = 3
"""Secrets of every category that are ticked at first: those most often in the training text."""
TICKED_MOST = 200
"""Secrets that can be ticked at once."""
NO_CATEGORY = en.NO_CATEGORY
Rows = Callable[[Sequence[ListedSecret]], list[int]]


def tick_boxes(side: Sidebar, name: str, label: str, first: Rows) -> tuple[gr.CheckboxGroup, gr.State]:
    """The boxes, and above them a choice of categories that ticks all of theirs; another list brings other boxes.

    Also what is ticked as a state, for listeners to other events: gradio refuses boxes of a list that has just gone.

    Args:
        name: what the elements' ids begin with. first: the rows of a list that are ticked before anybody chose.
    """
    listed = side.listed.value
    categories_box = gr.Dropdown(
        categories_of(listed), value=[], multiselect=True, label=en.TICK_CATEGORIES, elem_id=f"{name}-categories"
    )
    search = gr.Textbox("", label=en.TICK_SEARCH, elem_id=f"{name}-search", max_length=SEARCH_MOST, max_lines=1, **UNKEPT)
    ticked = gr.CheckboxGroup(choices(listed), value=first(listed), label=label, elem_id=f"{name}-secrets")

    def relisted(rows: Sequence[ListedSecret]) -> tuple[Any, ...]:
        return gr.update(choices=categories_of(rows), value=[]), "", shown(rows, first(rows))

    def tick(rows: Sequence[ListedSecret], categories: Sequence[str]) -> Any:
        of_categories = rows_of(rows, categories)
        if len(of_categories) > TICKED_MOST:
            gr.Info(en.ticked_most(len(of_categories), TICKED_MOST), duration=10)
        return shown(rows, of_categories[:TICKED_MOST])

    categories_box.input(tick, [side.listed, categories_box], ticked, **QUICK)
    side.listed.change(relisted, side.listed, [categories_box, search, ticked], **QUICK)
    rows = gr.State(first(listed))
    search.input(show_errors(shown), [side.listed, rows, search], ticked, trigger_mode="always_last", **QUICK)
    ticked.change(lambda now: now, ticked, rows, **QUICK)
    return ticked, rows


def choices(listed: Sequence[ListedSecret], among: Iterable[int] | None = None) -> list[tuple[str, int]]:
    """A label and the row of listed secrets, of all or of some rows, ordered by category, the most repeated first."""
    return [(wording.listed(listed[row], listed[row].secret.category or NO_CATEGORY), row) for row in in_order(listed, among)]


def in_order(listed: Sequence[ListedSecret], among: Iterable[int] | None = None) -> list[int]:
    """Rows, all or some, by category, the most repeated first."""
    rows = range(len(listed)) if among is None else among
    return sorted(rows, key=lambda row: (listed[row].secret.category, -(listed[row].repeats or 0)))


def shown(listed: Sequence[ListedSecret], ticked: Sequence[int], wanted: str = "") -> Any:
    """The boxes that are ticked, and of those that hold what is searched for as many as a browser is sent."""
    still_ticked = [row for row in ticked if 0 <= row < len(listed)][:TICKED_MOST]
    rows = matching(listed, wanted)
    first = heapq.nsmallest(SHOWN_MOST, rows, key=lambda row: (-(listed[row].repeats or 0), row))
    boxes = list(dict.fromkeys([*still_ticked, *first]))[: max(SHOWN_MOST, len(still_ticked))]
    info = of_shown(len(boxes), len(set(still_ticked) | set(rows))) or None
    return gr.update(choices=choices(listed, boxes), value=still_ticked, info=info)


def most_repeated(listed: Sequence[ListedSecret]) -> list[int]:
    """The rows of the few most repeated secrets of every category."""
    seen: Counter[str] = Counter()
    rows = []
    for row in in_order(listed):
        category = listed[row].secret.category
        if seen[category] < PER_CATEGORY and listed[row].repeats != 0:
            seen[category] += 1
            rows.append(row)
    return rows[:TICKED_MOST]


def rows_of(listed: Sequence[ListedSecret], categories: Sequence[str]) -> list[int]:
    """All rows of some categories that are no controls, the most repeated first."""
    return [row for row in in_order(listed) if listed[row].secret.category in categories and listed[row].repeats != 0]
