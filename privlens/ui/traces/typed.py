"""Boxes for what is private: the browser keeps nothing of it, completes nothing, and sends it to no spelling service."""

from typing import Any

import gradio as gr

UNKEPT: dict[str, Any] = {
    "html_attributes": gr.InputHTMLAttributes(autocomplete="off", autocorrect="off", autocapitalize="off", spellcheck=False)
}
"""Settings of a Textbox."""
