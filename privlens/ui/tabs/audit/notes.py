"""Notes on findings, and why one does not count."""

from dataclasses import replace
from typing import Any

import gradio as gr

from privlens import validation
from privlens.errors import BadInput
from privlens.ui.components.parts import optional_number
from privlens.ui.state.jobs import QUICK, SLOW, show_errors
from privlens.ui.tabs.audit import view as show
from privlens.ui.tabs.audit.form import Begun, Finished
from privlens.ui.text import en
from privlens.ui.traces.typed import UNKEPT


def note_form() -> tuple[gr.Textbox, gr.Textbox, gr.Textbox, gr.Button]:
    """Row, note, why the finding does not count, and the button that keeps them."""
    with gr.Accordion(en.AUDIT_NOTE, open=False, elem_id="audit-note"), gr.Row():
        row = optional_number(en.AUDIT_NOTE_ROW, "audit-row", info=en.AUDIT_NOTE_ROW_INFO, min_width=140)
        note = gr.Textbox("", label=en.AUDIT_NOTE_TEXT, elem_id="audit-note-text", max_length=validation.MAX_PROMPT, **UNKEPT)
        struck = gr.Textbox(
            "",
            label=en.AUDIT_STRUCK,
            info=en.AUDIT_STRUCK_INFO,
            elem_id="audit-struck",
            max_length=validation.MAX_PROMPT,
            **UNKEPT,
        )
        save = gr.Button(en.AUDIT_NOTE_SAVE, elem_id="audit-note-save", min_width=120)
    return row, note, struck, save


def wire_notes(table: gr.Dataframe, begun: gr.State, finished: gr.State, form: Any, drawn: list[Any]) -> None:
    """Notes on findings, which change what counts."""
    row, note, struck, save = form

    def chosen(now: Begun | None, event: gr.SelectData) -> tuple[Any, ...]:
        number = int(event.row_value[0])
        found = next((finding for finding in now.store.findings() if finding.row == number), None) if now else None
        return (str(number), found.note, found.false_positive) if found else (str(number), "", "")

    def keep(now: Begun | None, made: Finished | None, typed: str, text: str, because: str) -> tuple[Any, ...]:
        number = validation.typed_whole(typed, "row", 0, validation.MAX_SEED)
        findings = tuple(now.store.findings()) if now else ()
        key = next((finding.key for finding in findings if finding.row == number), None)
        if now is None or key is None:
            raise BadInput(en.audit_no_row("?" if number is None else str(number)))
        for name, given in (("note", text), ("reason", because)):
            validation.text(given, name, validation.MAX_PROMPT)
        now.store.annotate(key, text.strip(), because.strip())
        noted = tuple(now.store.findings())
        if made is None:
            return *show.of_part(noted, len(now.read.secrets)), None
        result = replace(made.audit, findings=noted)
        return *show.of_result(result), replace(made, audit=result)

    table.select(chosen, begun, [row, note, struck], **QUICK)
    save.click(show_errors(keep), [begun, finished, row, note, struck], [*drawn, finished], **SLOW)
