"""What can be taken along: figures as pictures, tables as CSV, results as JSON, and the command that makes them.

Every file leaves through one function of `exports.js`, which writes it in the browser: the server keeps none.
"""

import html
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gradio as gr
from gradio.components import Component

from privlens.ui.components.parts import part
from privlens.ui.state.jobs import QUICK, SLOW, show_errors
from privlens.ui.text import en


class Repeatable(Protocol):
    """A result that knows the command which makes it."""

    @property
    def command(self) -> Callable[[], str]:
        """Makes the command. Raises BadInput where the command line cannot do this."""
        ...


def file_value(name: str, content: Any) -> dict[str, Any]:
    """The value of an export part that makes the browser save this as a JSON file, hidden values hidden."""
    return {"kind": "file", "name": name, "text": json.dumps(content, indent=1) + "\n", "at": time.monotonic_ns()}


def text_value(name: str, text: str, media_type: str = "application/json") -> dict[str, Any]:
    """The same for a text that is to be saved as it is."""
    return {"kind": "text", "name": name, "type": media_type, "text": text, "at": time.monotonic_ns()}


def export_part(elem_id: str) -> gr.HTML:
    """What saves a file, or copies a command and shows it; the value is a `file_value`, or a command's."""
    words = html.escape(json.dumps([en.EXPORT_COPIED, en.EXPORT_COPY_BY_HAND]))
    template = f'<div class="export-said" role="status" data-words="{words}" hidden><span></span><code tabindex="0"></code></div>'
    return part("exports", template, value=None, elem_id=elem_id, elem_classes="export-part")


def exports(
    elem_id: str, made: gr.State, report: Callable[..., Any], more: Sequence[Component] = (), command: bool = True
) -> None:
    """Two buttons below a result, once there is one: its JSON as the command line prints it, and the command itself.

    Args:
        made: the result, which is `Repeatable` where there is a command, or None. report: from it and the values of `more`, the
            object to be written.
    """
    with gr.Row(visible=False, elem_id=elem_id, elem_classes="exports") as row:
        as_json = gr.Button(en.EXPORT_JSON, elem_id=f"{elem_id}-json", size="sm", min_width=110, scale=0)
        as_command = gr.Button(
            en.EXPORT_COMMAND, elem_id=f"{elem_id}-command", size="sm", min_width=210, scale=0, visible=command
        )
    said = export_part(f"{elem_id}-said")

    def write(result: Any, *values: Any) -> Any:
        return gr.update(value=file_value(f"privlens-{elem_id}.json", report(result, *values)))

    def told(result: Repeatable) -> Any:
        return gr.update(value={"kind": "command", "text": result.command(), "at": time.monotonic_ns()})

    as_json.click(show_errors(write), [made, *more], said, **SLOW)
    as_command.click(show_errors(told), made, said, **QUICK)
    made.change(lambda result: (gr.update(visible=bool(result)), gr.update(value=None)), made, [row, said], **QUICK)


def figure_menu() -> str:
    """A menu that saves a figure; `exports.js` knows which figure by where the menu stands."""
    formats = "".join(f'<button type="button" data-figure="{name}">{name.upper()}</button>' for name in ("png", "svg", "html"))
    return (
        f'<details class="take"><summary>{html.escape(en.EXPORT_FIGURE)}</summary>'
        f'<div role="group" aria-label="{html.escape(en.EXPORT_FIGURE)}">{formats}</div></details>'
    )
