"""Settings that every localization on the page has: other secrets to protect, where to look, the seed."""

import gradio as gr

from privlens.localization.hard_concrete import MaskSettings
from privlens.ui.components.parts import optional_number
from privlens.ui.text import en

KEEP = [(label, name) for name, label in en.PROTECTED.items()]
SITES = [(label, name) for name, label in en.SITES.items()]


def keep_setting(elem_id: str) -> gr.Dropdown:
    """Which of the other listed secrets a method is given as retained text."""
    return gr.Dropdown(KEEP, value="half", label=en.PROTECT, elem_id=elem_id, scale=3, min_width=260)


def site_setting(elem_id: str) -> gr.Dropdown:
    """Where neurons are looked for."""
    return gr.Dropdown(SITES, value="mlp", label=en.LOOK_IN, elem_id=elem_id, scale=2, min_width=200)


def depth_setting() -> gr.Dropdown:
    """How deep the mask buries a value."""
    choices = [(label, depth) for depth, label in en.DEPTHS.items()]
    return gr.Dropdown(choices, value=MaskSettings.depth, label=en.DEPTH, elem_id="depth", scale=2, min_width=220)


def hold_setting() -> gr.Number:
    """What that may cost."""
    return gr.Number(MaskSettings.hold, label=en.HOLD, minimum=0, elem_id="hold", scale=2, min_width=220)


def exchange_setting() -> gr.Textbox:
    """How long cheaper neurons are looked for in the end; empty: the usual rounds."""
    return optional_number(en.EXCHANGE, "exchange", scale=2, min_width=220)


def common(keep: str, site: str, seed: float | None) -> tuple[tuple[str, str], ...]:
    """What these are set to, by name and in words."""
    return ("protected", en.PROTECTED[keep]), ("in", en.SITES[site]), ("seed", str(int(seed or 0)))


def seed_setting(elem_id: str) -> gr.Number:
    """What decides everything that is drawn."""
    return gr.Number(0, label=en.SEED, precision=0, minimum=0, elem_id=elem_id, min_width=90)
