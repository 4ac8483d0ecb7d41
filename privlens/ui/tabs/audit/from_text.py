"""A list of secrets from a pasted text: found by form, corrected by hand, then the visitor's list."""

from typing import Any

import gradio as gr
import pandas as pd

from privlens import validation
from privlens.audit.from_text import COLUMNS, rows_of
from privlens.audit.names import installed, names_by
from privlens.audit.national_ids import are_looked_for
from privlens.errors import BadInput
from privlens.secret_lists import list_of_rows
from privlens.ui.sidebar.panel import Sidebar, list_shown
from privlens.ui.state.jobs import SLOW, show_errors
from privlens.ui.text import en
from privlens.ui.traces.typed import UNKEPT


def text_part(side: Sidebar) -> None:
    """Builds the part, which replaces the list in the sidebar."""
    with gr.Accordion(en.AUDIT_TEXT, open=False, elem_id="audit-from-text"):
        text = gr.Textbox(
            "",
            label=en.AUDIT_TEXT_BOX,
            info=en.AUDIT_TEXT_INFO,
            lines=4,
            max_lines=12,
            max_length=validation.MAX_TEXT,
            elem_id="audit-text",
            **UNKEPT,
        )
        names = gr.Dropdown(
            [(en.AUDIT_TEXT_BY_FORM, ""), *((name, name) for name in installed())],
            value="",
            label=en.AUDIT_TEXT_NAMES,
            info=en.AUDIT_TEXT_NAMES_INFO,
            visible=bool(installed()),
            elem_id="audit-text-names",
        )
        gr.Markdown(en.AUDIT_TEXT_MORE, visible=not (installed() and are_looked_for()), elem_id="audit-text-more")
        find = gr.Button(en.AUDIT_TEXT_FIND, elem_id="audit-text-find")
        found = gr.Dataframe(
            headers=list(COLUMNS),
            datatype="str",
            column_count=len(COLUMNS),
            interactive=True,
            visible=False,
            wrap=True,
            column_widths=["50%", "30%", "20%"],
            buttons=["fullscreen"],
            label=en.AUDIT_TEXT_FOUND,
            elem_id="audit-text-found",
        )
        use = gr.Button(en.AUDIT_TEXT_USE, visible=False, elem_id="audit-text-use")
    find.click(show_errors(_find), [text, names], [found, use], **SLOW)
    use.click(show_errors(_use), found, side.list_parts, **SLOW)


def _find(text: str, names: str) -> tuple[Any, ...]:
    if names and names not in installed():  # a program may send anything, a folder too
        raise BadInput(en.AUDIT_TEXT_NO_PIPELINE)
    rows = rows_of(text, names_by(names) if names else None)
    if not rows:
        gr.Info(en.AUDIT_TEXT_NOTHING, duration=8)
    table = pd.DataFrame(rows or [dict.fromkeys(COLUMNS, "")], columns=list(COLUMNS))
    return gr.update(value=table, visible=True), gr.update(visible=True)


def _use(table: pd.DataFrame) -> tuple[Any, ...]:
    rows = [dict(zip(COLUMNS, map(str, cells), strict=True)) for cells in table.fillna("").itertuples(index=False)]
    return list_shown(list_of_rows(en.AUDIT_TEXT_NAME, [row for row in rows if any(row.values())]))
