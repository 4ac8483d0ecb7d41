"""The small link of each tab to the page of the manual about it; in a new tab of the browser, or the session would be lost."""

import html

import gradio as gr

from privlens.ui.manual import PATH
from privlens.ui.text import en

HELP = {
    "overview": "index#the-tabs",
    "memorized": "methods#metrics-of-memorization",
    "localize": "methods",
    "deactivate": "tutorials/researcher#3-what-do-they-do",
    "erase": "erasing#on-the-page",
    "compare": "methods#when-each-misleads",
    "many": "methods#several-localizations-together",
    "neurons": "neurons#what-one-neuron-does",
    "audit": "tutorials/auditor#3-audit-the-list",
}
"""By the id of a tab, a page of the manual and a heading on it."""


def help_link(tab: str) -> gr.HTML:
    """Builds the link, which has to be the first part of its tab. It is relative, for the page may be served below a path."""
    name = html.escape(en.help_on(tab))
    target = f"{PATH.lstrip('/')}/{HELP[tab]}"
    link = f'<a class="help" href="{target}" target="_blank" rel="noopener" aria-label="{name}">{en.HELP}</a>'
    return gr.HTML(html_template=link, elem_id=f"help-{tab}", elem_classes="help-part")
