"""The visitor's edits as a list: ticked ones are active in all tabs; undo, redo, remove, save, open.

Whatever switches an edit on or off gives the visitor another ModelName; the list follows, and so does every tab.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from privlens.errors import BadInput
from privlens.lm.edit_files import save_edit
from privlens.types import Edit
from privlens.ui.components.header import Header, standing
from privlens.ui.components.parts import facts, with_box
from privlens.ui.sidebar.panel import Sidebar, bundled_lists
from privlens.ui.state.edits import EditEntry, EditList, file_name, opened
from privlens.ui.state.jobs import QUICK, SLOW, show_errors
from privlens.ui.state.session import ModelCache, ModelName
from privlens.ui.tabs.localize.selection import CLICK, Chosen
from privlens.ui.text import en, wording
from privlens.ui.traces.uploads import once

IN_TURN = {**CLICK, "concurrency_id": "edits"}
Handler = Callable[[ModelName, EditList, EditEntry | None], tuple[Any, ...]]
CLICKED = "() => document.querySelector('#edit-file a, a#edit-file, #edit-file button, button#edit-file')?.click()"
"""A browser downloads a file only on a click; the file is written when the visitor asks for it, then this clicks."""


def edits_part(shelf: ModelCache, side: Sidebar, chosen: Chosen, edits: gr.State, above: Header) -> tuple[Handler, gr.Dropdown]:
    """Builds the part; returns the handler that takes a new edit in (model, list, edit -> model, list, None), and the chooser."""
    gr.Markdown(en.EDITS_INTRO)
    about = facts("edits-facts", en.EDITS_EMPTY)
    none: list[tuple[str, int]] = []
    ticks = gr.CheckboxGroup(none, label=en.EDITS_ACTIVE, elem_id="edits", visible=False, interactive=True)
    with gr.Row():
        undo = gr.Button(en.UNDO, interactive=False, elem_id="edits-undo", min_width=80)
        redo = gr.Button(en.REDO, interactive=False, elem_id="edits-redo", min_width=80)
        open_file = gr.UploadButton(en.EDIT_OPEN, file_types=[".safetensors"], elem_id="edit-open", min_width=140)
    with gr.Row(visible=False) as one:
        which = gr.Dropdown(none, label=en.EDIT_SELECTED, elem_id="edit-which", scale=2, min_width=220)
        save = gr.Button(en.EDIT_SAVE, elem_id="edit-save", min_width=140)
        remove = gr.Button(en.EDIT_REMOVE, elem_id="edit-remove", min_width=120)
    file = gr.DownloadButton("edit", visible="hidden", elem_id="edit-file")

    def moved(model: ModelName, edits_then: EditList) -> tuple[ModelName, EditList]:
        name = model._replace(edits=edits_then.now.on)
        shelf.get(name)  # raises where these edits do not go together
        return name, edits_then

    def switch(model: ModelName, now: EditList, event: gr.SelectData) -> tuple[Any, ...]:
        ticked = sorted(with_box(now.now.ticked, event))
        changed = now.now.with_on(ticked)
        tell_others(now, ticked, changed.on)
        return moved(model, now.to(changed))

    def take_out(model: ModelName, now: EditList, index: int | None) -> tuple[Any, ...]:
        kept_at(now, index)
        return moved(model, now.to(now.now.without(int(index or 0))))

    def adopt(model: ModelName, now: EditList, entry: EditEntry | None) -> tuple[Any, ...]:
        if entry is None:
            return gr.skip(), gr.skip(), None
        changed = now.added(entry)
        if entry.edit not in changed.now.on:
            gr.Info(en.EDIT_NOT_ACTIVE, duration=10)
        return (*moved(model, changed), None)

    def read(model: ModelName, now: EditList, path: str) -> tuple[Any, ...]:
        added = now.added(opened(shelf, model, path)).now
        return moved(model, now.to(added.with_on([*now.now.ticked, len(added.kept) - 1])))

    def write(now: EditList, index: int | None) -> tuple[str, EditList]:
        edit = kept_at(now, index).edit
        return written(edit, file.GRADIO_CACHE), replace(now, saved=now.saved | {edit})

    def none_on(model: ModelName, now: EditList) -> tuple[Any, ...]:
        return moved(model, now.to(now.now.with_on([])))

    def follow(model: ModelName, now: EditList) -> tuple[Any, ...]:
        followed = now.following(shelf, model)  # sent only where it differs: a click may have changed the list since
        return gr.skip() if followed is now else followed, gr.update(value=wording.of_model(shelf.get(model)))

    both = [side.model, edits]
    shown = [about, ticks, undo, redo, one, which]
    switched = ticks.select(show_errors(switch), both, both, **IN_TURN)  # says which box was clicked, not the state of all
    switched.failure(view, edits, shown, **QUICK)  # a tick that was refused goes back
    undo.click(show_errors(lambda model, now: moved(model, now.undo())), both, both, **IN_TURN)
    redo.click(show_errors(lambda model, now: moved(model, now.redo())), both, both, **IN_TURN)
    remove.click(show_errors(take_out), [*both, which], both, **QUICK)
    open_file.upload(show_errors(once(read)), [*both, open_file], both, **SLOW)
    above.off.click(show_errors(none_on), both, both, **IN_TURN)
    save.click(show_errors(write), [edits, which], [file, edits], **QUICK).success(None, None, None, js=CLICKED, **QUICK)
    edits.change(view, edits, shown, **QUICK)
    gr.on(
        [edits.change, side.model.change, side.secret.change, chosen.located.change, side.listed.change],
        lambda *now: standing(now, bundled_lists()),
        [side.model, side.prompt, side.value, edits, chosen.located, side.listed],
        [above.line, above.off],
        trigger_mode="always_last",
        **QUICK,
    )
    chosen.redraw.after(side.model.change(show_errors(follow), both, [edits, side.about], **QUICK).then)
    return adopt, which


def view(now: EditList) -> tuple[Any, ...]:
    """What the controls show of the list."""
    kept = now.now.kept
    labels = [(label(now, index), index) for index in range(len(kept))]
    facts = []
    if kept:
        n = sum(edit.n_weights for edit in now.now.on)
        names = now.now.names(now.now.on)
        facts = [
            wording.fact(
                "active edits",
                f"{len(now.now.on)} of {len(kept)}",
                "",
                en.edits_named(names, len(now.now.on)) if names else en.NO_EDIT_ACTIVE,
            ),
            wording.fact("weights changed", f"{n:,}", "", en.NOTE_EDITS_WEIGHTS),
        ]
    return (
        gr.update(value=facts),
        gr.update(choices=labels, value=now.now.ticked, visible=bool(kept)),
        gr.update(interactive=bool(now.past)),
        gr.update(interactive=bool(now.future)),
        gr.update(visible=bool(kept)),
        gr.update(choices=labels, value=len(kept) - 1 if kept else None),
    )


def label(now: EditList, index: int) -> str:
    """Number, name, size, and on top of which edits it was made."""
    entry = now.now.kept[index]
    return en.edit_label(index + 1, entry.name, entry.edit.n_weights, now.now.names(entry.under))


def kept_at(now: EditList, index: int | None) -> EditEntry:
    """The edit at a place of the list. Raises BadInput where there is none."""
    if index is None or not 0 <= int(index) < len(now.now.kept):
        raise BadInput(en.NO_EDIT_YET)
    return now.now.kept[int(index)]


def tell_others(now: EditList, ticked: list[int], active: tuple[Edit, ...]) -> None:
    """Says which edits were switched along with the one that was clicked."""
    wanted = {now.now.kept[index].edit for index in ticked}
    switched_off, switched_on = now.now.names(tuple(wanted - set(active))), now.now.names(tuple(set(active) - wanted))
    if switched_off:
        gr.Info(en.switched_off_too(switched_off), duration=8)
    if switched_on:
        gr.Info(en.switched_on_too(switched_on), duration=8)


def written(edit: Edit, cache: str) -> str:
    """The edit as a file in gradio's cache, in a folder whose name nobody can guess; no private value is in it."""
    Path(cache).mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(dir=cache)
    path = Path(folder) / file_name(edit)
    save_edit(edit, path)
    return str(path)
