"""The switch that hides private values everywhere on the page and in every file that leaves it; `mask.js` does the hiding."""

import html
from collections.abc import Sequence
from typing import Any

import gradio as gr

from privlens.secret_lists import ListedSecret
from privlens.ui.components.parts import part
from privlens.ui.text import en

HIDDEN_MOST = 20_000
"""Values that a browser is given to hide: some 300 kB. Of a longer list the first are hidden, and the page says so."""


def masking(listed: Sequence[ListedSecret]) -> gr.HTML:
    """The switch, with the values of the list that the page opens with."""
    switch = 'type="button" role="switch" aria-checked="false" id="mask" class="mask-switch"'
    template = (
        f"<button {switch}><i></i>{html.escape(en.MASK)}</button>"
        f'<button type="button" class="hold" id="reveal" hidden>{html.escape(en.REVEAL)}</button>'
        '<span class="mask-note" hidden></span>'
    )
    return part("masking", template, value=to_hide(listed, own=False), elem_id="masking", elem_classes="masking", scale=0)


def to_hide(listed: Sequence[ListedSecret], own: bool) -> dict[str, Any]:
    """The value of the part."""
    values = list(dict.fromkeys(row.secret.value for row in listed[:HIDDEN_MOST]))
    return {"values": values, "own": own, "more": en.hidden_most(HIDDEN_MOST) if len(listed) > HIDDEN_MOST else ""}
