"""The line above all tabs: model, secret, and whether edits are in place, with a button that switches them off.

It also knows whether a visitor who leaves the page would lose anything, and then the browser asks before it does.
"""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens.secret_lists import ListedSecret
from privlens.ui.components.masking import masking, to_hide
from privlens.ui.components.parts import part
from privlens.ui.state.edits import EditList
from privlens.ui.state.freshness import DOT
from privlens.ui.state.session import Localization, ModelName
from privlens.ui.text import en
from privlens.ui.text.wording import cut

Rows = tuple[ListedSecret, ...]


@dataclass(frozen=True)
class Header:
    """The line, the button that switches all edits off, and the switch that hides private values, all in one row."""

    row: gr.Row
    line: gr.HTML
    off: gr.Button
    mask: gr.HTML


def header(listed: Rows) -> Header:
    """Builds the line for the list that the page opens with; what is in place is known further down the page, which wires it."""
    with gr.Row(elem_id="header", elem_classes="header") as row:
        template = '<h1>PrivLens</h1><div class="standing" role="status"><span></span> <strong></strong></div>'
        line = part("header", template, value={}, elem_id="header-line", elem_classes="header-line", scale=1)
        off = gr.Button(en.SWITCH_EDITS_OFF, visible=False, elem_id="edits-off", size="sm", min_width=150, scale=0)
        mask = masking(listed)
    return Header(row, line, off, mask)


Now = tuple[ModelName, str, str, EditList, Localization | None, Rows]
"""A visitor's model, prompt, value, edits, localization and list."""


def standing(now: Now, bundled: tuple[Rows, ...]) -> tuple[Any, Any]:
    """The values of line and button.

    Args:
        bundled: the lists that come with models; another one is the visitor's own, and is lost when they leave.
    """
    model, prompt, value, edits, located, listed = now
    n = len(model.edits)
    secret = en.secret(cut(value)) if prompt.strip() and value.strip() else en.NO_SECRET_YET
    names = ", ".join(entry.name for entry in edits.now.kept if entry.edit in model.edits)
    warned = en.edits_active(n, names) if n else ""
    lose = located is not None or bool(edits.unsaved) or listed not in bundled
    about = {"text": DOT.join([model.name, secret, *([] if n else [en.NO_EDITS])]), "edits": warned, "lose": lose}
    return gr.update(value=about), gr.update(visible=bool(n))


def hides(listed: Rows, bundled: tuple[Rows, ...]) -> Any:
    """The switch's update for another list: one's own is hidden at once."""
    return gr.update(value=to_hide(listed, own=listed not in bundled))
