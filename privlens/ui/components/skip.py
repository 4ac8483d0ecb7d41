"""The link that the first press of Tab shows: it leads past the sidebar, to the tab that is open."""

import gradio as gr

from privlens.ui.components.parts import part
from privlens.ui.text import en


def skip_link() -> gr.HTML:
    """Builds the link; it has to be the first part of the page."""
    return part("skip", f'<a class="skip" href="#">{en.SKIP_TO_MAIN}</a>', elem_id="skip", elem_classes="skip-part")
