"""Ticking secrets of the list: one by one, or all of some categories."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from privlens.secrets import ListedSecret
from privlens.ui import wording
from privlens.ui.runs import QUICK
from privlens.ui.sidebar import Sidebar, categories_of

PER_CATEGORY = 3
"""So many secrets of every category are ticked at first: those most often in the training text."""
NO_CATEGORY = "no category"
Rows = Callable[[Sequence[ListedSecret]], list[int]]


def tick_boxes(side: Sidebar, name: str, label: str, first: Rows) -> tuple[gr.CheckboxGroup, gr.State]:
    """The boxes, and above them a choice of categories that ticks all of theirs; another list brings other boxes.

    Also what is ticked as a state, for listeners to other events: gradio refuses boxes of a list that has just gone.

    Args:
        name: what the elements' ids begin with. first: the rows of a list that are ticked before anybody chose.
    """
    listed = side.listed.value
    whole = gr.Dropdown(
        categories_of(listed), value=[], multiselect=True, label="Tick all of these categories", elem_id=f"{name}-categories"
    )
    ticked = gr.CheckboxGroup(choices(listed), value=first(listed), label=label, elem_id=f"{name}-secrets")

    def relisted(rows: tuple[ListedSecret, ...]) -> tuple[Any, ...]:
        return gr.update(choices=categories_of(rows), value=[]), gr.update(choices=choices(rows), value=first(rows))

    whole.input(lambda rows, chosen: rows_of(rows, chosen), [side.listed, whole], ticked, **QUICK)
    side.listed.change(relisted, side.listed, [whole, ticked], **QUICK)
    rows = gr.State(first(listed))
    ticked.change(lambda now: now, ticked, rows, **QUICK)
    return ticked, rows


def choices(listed: Sequence[ListedSecret]) -> list[tuple[str, int]]:
    """A label and the row of every listed secret, ordered by category, the most repeated first."""
    order = sorted(range(len(listed)), key=lambda at: (listed[at].secret.category, -(listed[at].repeats or 0)))
    return [(wording.listed(listed[at], listed[at].secret.category or NO_CATEGORY), at) for at in order]


def most_repeated(listed: Sequence[ListedSecret]) -> list[int]:
    """The rows of the few most repeated secrets of every category."""
    seen: Counter[str] = Counter()
    rows = []
    for _, at in choices(listed):
        category = listed[at].secret.category
        if seen[category] < PER_CATEGORY and listed[at].repeats != 0:
            seen[category] += 1
            rows.append(at)
    return rows


def rows_of(listed: Sequence[ListedSecret], categories: Sequence[str]) -> list[int]:
    """All rows of some categories that are no controls."""
    return [at for _, at in choices(listed) if listed[at].secret.category in categories and listed[at].repeats != 0]
