"""Text boxes for private input: the browser neither stores nor completes it, and sends it to no spelling service."""

from typing import Any

import gradio as gr

UNKEPT: dict[str, Any] = {
    "html_attributes": gr.InputHTMLAttributes(autocomplete="off", autocorrect="off", autocapitalize="off", spellcheck=False)
}
"""Arguments of a gr.Textbox."""
