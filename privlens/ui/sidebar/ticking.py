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
"""So many secrets of every category are ticked at first: those most often in the training text."""
TICKED_MOST = 200
"""So many can be ticked at once."""
NO_CATEGORY = en.NO_CATEGORY
Rows = Callable[[Sequence[ListedSecret]], list[int]]


def tick_boxes(side: Sidebar, name: str, label: str, first: Rows) -> tuple[gr.CheckboxGroup, gr.State]:
    """The boxes, and above them a choice of categories that ticks all of theirs; another list brings other boxes.

    Also what is ticked as a state, for listeners to other events: gradio refuses boxes of a list that has just gone.

    Args:
        name: what the elements' ids begin with. first: the rows of a list that are ticked before anybody chose.
    """
    listed = side.listed.value
    whole = gr.Dropdown(categories_of(listed), value=[], multiselect=True, label=en.TICK_CATEGORIES, elem_id=f"{name}-categories")
    search = gr.Textbox("", label=en.TICK_SEARCH, elem_id=f"{name}-search", max_length=SEARCH_MOST, max_lines=1, **UNKEPT)
    ticked = gr.CheckboxGroup(choices(listed), value=first(listed), label=label, elem_id=f"{name}-secrets")

    def relisted(rows: Sequence[ListedSecret]) -> tuple[Any, ...]:
        return gr.update(choices=categories_of(rows), value=[]), "", shown(rows, first(rows))

    def tick(rows: Sequence[ListedSecret], categories: Sequence[str]) -> Any:
        found = rows_of(rows, categories)
        if len(found) > TICKED_MOST:
            gr.Info(en.ticked_most(len(found), TICKED_MOST), duration=10)
        return shown(rows, found[:TICKED_MOST])

    whole.input(tick, [side.listed, whole], ticked, **QUICK)
    side.listed.change(relisted, side.listed, [whole, search, ticked], **QUICK)
    rows = gr.State(first(listed))
    search.input(show_errors(shown), [side.listed, rows, search], ticked, trigger_mode="always_last", **QUICK)
    ticked.change(lambda now: now, ticked, rows, **QUICK)
    return ticked, rows


def choices(listed: Sequence[ListedSecret], among: Iterable[int] | None = None) -> list[tuple[str, int]]:
    """A label and the row of listed secrets, of all or of some rows, ordered by category, the most repeated first."""
    return [(wording.listed(listed[at], listed[at].secret.category or NO_CATEGORY), at) for at in in_order(listed, among)]


def in_order(listed: Sequence[ListedSecret], among: Iterable[int] | None = None) -> list[int]:
    """Rows, all or some, by category, the most repeated first."""
    rows = range(len(listed)) if among is None else among
    return sorted(rows, key=lambda at: (listed[at].secret.category, -(listed[at].repeats or 0)))


def shown(listed: Sequence[ListedSecret], ticked: Sequence[int], wanted: str = "") -> Any:
    """The boxes that are ticked, and of those that hold what is searched for as many as a browser is sent."""
    on = [at for at in ticked if 0 <= at < len(listed)][:TICKED_MOST]
    found = matching(listed, wanted)
    room = heapq.nsmallest(SHOWN_MOST, found, key=lambda at: (-(listed[at].repeats or 0), at))
    boxes = list(dict.fromkeys([*on, *room]))[: max(SHOWN_MOST, len(on))]
    info = of_shown(len(boxes), len(set(on) | set(found))) or None
    return gr.update(choices=choices(listed, boxes), value=on, info=info)


def most_repeated(listed: Sequence[ListedSecret]) -> list[int]:
    """The rows of the few most repeated secrets of every category."""
    seen: Counter[str] = Counter()
    rows = []
    for at in in_order(listed):
        category = listed[at].secret.category
        if seen[category] < PER_CATEGORY and listed[at].repeats != 0:
            seen[category] += 1
            rows.append(at)
    return rows[:TICKED_MOST]


def rows_of(listed: Sequence[ListedSecret], categories: Sequence[str]) -> list[int]:
    """All rows of some categories that are no controls, the most repeated first."""
    return [at for at in in_order(listed) if listed[at].secret.category in categories and listed[at].repeats != 0]
