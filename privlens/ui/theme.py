"""The page's theme: system fonts, colours for light and dark, and its style sheet."""

import gradio as gr

from privlens.ui.components.parts import PAGE


def theme() -> gr.themes.Base:
    """gradio's default theme with system fonts, so that none is downloaded."""
    base = gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        text_size=gr.themes.sizes.text_lg,
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    )
    return base.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
    )


HEAD = ("keys", "take", "mask")
"""Scripts for the page's head: keys that do what clicks do, and what leaves the page as a file."""


def keys() -> str:
    """The scripts of HEAD."""
    return "".join(f"<script>{(PAGE / f'{name}.js').read_text('utf-8')}</script>" for name in HEAD)


def style() -> str:
    """The style sheets of the page's parts."""
    return "\n".join(path.read_text("utf-8") for path in sorted(PAGE.glob("*.css")))
