"""The page's theme: fonts that gradio serves itself, colours for light and dark, and its style sheets."""

import gradio as gr

from privlens.ui.components.parts import HEAD, PAGE, scripts
from privlens.ui.components.terms import glossary_script

WEIGHTS = (400, 700)
"""Of the fonts; the files of other weights in gradio's package lack most Latin letters."""


def theme() -> gr.themes.Base:
    """gradio's default theme in IBM Plex (SIL Open Font License), which gradio's package brings: nothing comes from elsewhere."""
    base = gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        text_size=gr.themes.sizes.text_lg,
        font=[gr.themes.utils.fonts.LocalFont("IBM Plex Sans", weights=WEIGHTS), "system-ui", "sans-serif"],
        font_mono=[gr.themes.utils.fonts.LocalFont("IBM Plex Mono", weights=WEIGHTS), "ui-monospace", "monospace"],
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
        button_large_padding="8px 18px",
        button_large_radius="10px",
        button_large_text_size="16px",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
    )


def keys() -> str:
    """The scripts of HEAD and what they need to know, and those of the page's parts."""
    in_head = [f"<script>{(PAGE / f'{name}.js').read_text('utf-8')}</script>" for name in HEAD]
    return "".join([glossary_script(), *in_head, scripts()])


def style() -> str:
    """The style sheets of the page's parts."""
    return "\n".join(path.read_text("utf-8") for path in sorted(PAGE.glob("*.css")))


def outside() -> str:
    """Style for the page's head: rules that gradio would confine to its own container."""
    return f"<style>{(PAGE / 'outside' / 'outside.css').read_text('utf-8')}</style>"
