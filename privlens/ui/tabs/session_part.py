"""Below all tabs: the visit as a file, saved and opened."""

from pathlib import Path
from typing import Any

import gradio as gr

from privlens import validation
from privlens.errors import BadInput
from privlens.list_files import read_text
from privlens.localization import METHODS
from privlens.secret_lists import ListedSecret
from privlens.types import Secret
from privlens.ui.components.exports import export_part, text_value
from privlens.ui.components.form import Given
from privlens.ui.sidebar.panel import Sidebar, secret_of
from privlens.ui.state.jobs import SLOW, show_errors
from privlens.ui.state.session import ModelCache, ModelName, Selection
from privlens.ui.state.session_files import Visit, from_file, to_file
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.localize.tab import report_of
from privlens.ui.text import en
from privlens.ui.traces.uploads import once


def session_part(shelf: ModelCache, side: Sidebar, chosen: Chosen, edits: gr.State) -> None:
    """Builds the part: what the file holds of values, and its two buttons."""
    with gr.Accordion(en.SESSION_HEADING, open=False, elem_id="session"):
        gr.Markdown(en.SESSION_INTRO, elem_classes="small")
        values = gr.Radio(
            [(label, name) for name, label in en.SESSION_VALUES.items()],
            value="left out",
            label=en.SESSION_VALUES_LABEL,
            elem_id="session-values",
        )
        with gr.Row():
            save = gr.Button(en.SESSION_SAVE, elem_id="session-save", size="sm", min_width=160, scale=0)
            open_file = gr.UploadButton(
                en.SESSION_OPEN, file_types=[".json"], elem_id="session-open", size="sm", min_width=160, scale=0
            )
        saved = export_part("session-said")
    names, controls = list(chosen.settings), list(chosen.settings.values())

    def write(given: Given) -> Any:
        model, listed, which = given[side.model], given[side.listed], given[values]
        prompt, value = given[side.prompt], given[side.value]
        secret: Secret | None = secret_of(listed, prompt, value) if prompt.strip() and value.strip() else None
        said = {name: given[control] for name, control in chosen.settings.items()}
        if which != "kept":
            said.pop("own_text", None)  # it may hold anything
        visit = Visit(model, listed, secret, said, given[chosen.located], given[chosen.selection].now, given[edits])
        plain = shelf.get(model._replace(edits=())).fingerprint
        return gr.update(value=text_value("privlens-session.json", to_file(visit, plain, which, report_of)))

    def read(model: ModelName, listed: tuple[ListedSecret, ...], selection: Selection, path: str) -> tuple[Any, ...]:
        try:
            visit = from_file(read_text(path), shelf, model, listed)
        except BadInput as error:  # the folder of gradio's copy means nothing to the visitor
            raise BadInput(str(error).replace(path, Path(path).name)) from None
        prompt, value = (visit.secret.prompt, visit.secret.value) if visit.secret else ("", "")
        settings = [visit.settings[name] if valid(name, visit.settings.get(name)) else gr.skip() for name in names]
        return visit.model, visit.edits, prompt, value, visit.localization, selection.to(visit.choice), *settings

    state = [chosen.located, chosen.selection]
    save.click(show_errors(write), {values, *side.controls.values(), *state, edits, *controls}, saved, **SLOW)
    read_back = open_file.upload(
        show_errors(once(read)),
        [side.model, side.listed, chosen.selection, open_file],
        [side.model, edits, side.prompt, side.value, *state, *controls],
        **SLOW,
    )
    chosen.redraw.after(read_back.success)


def valid(name: str, value: Any) -> bool:
    """Whether a setting of a stranger's file may be shown in its control."""
    choices: dict[str, Any] = {"method": METHODS, "keep": en.PROTECTED, "site": en.SITES, "depth": en.DEPTHS}
    if name in choices:
        return isinstance(value, str) and value in choices[name]
    if name in ("own_text", "rounds"):
        return isinstance(value, str) and len(value) <= validation.MAX_TEXT
    return type(value) in (int, float) and 0 <= value <= validation.MAX_SEED
