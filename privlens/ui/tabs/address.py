"""The page's address says where one is: its fragment holds model, row, method, seed, k, neuron and tab; opening it restores them.

No text and no value is ever in it, and of a list of one's own not even the row: whoever opens the link has another list.
"""

import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import gradio as gr

from privlens import validation
from privlens.errors import BadInput
from privlens.localization import METHODS
from privlens.secret_lists import ListedSecret
from privlens.ui.components.form import Form
from privlens.ui.components.parts import part
from privlens.ui.sidebar.panel import Sidebar, SidebarValues, bundled_lists
from privlens.ui.state.jobs import QUICK, SLOW, show_errors
from privlens.ui.state.session import Localization, ModelCache, ModelName, Selection, best
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.neurons.one import SHOW_NEURON, OneNeuron
from privlens.ui.tabs.neurons.study import Studied
from privlens.ui.text import en, wording

TABS = ("overview", "memorized", "localize", "deactivate", "erase", "compare", "many", "neurons", "audit")
NEURON = re.compile(r"([0-9a-f]{16}/)?L\d{1,9}N\d{1,9}", re.ASCII)
"""A neuron, of this model or of the one with this fingerprint; pressing Show neuron tells whether it is there."""
READ = """(_, model) => {
    privlens.opensNeuron = location.hash.includes('neuron=');
    return [location.hash, model];
}"""
SHOW = f"() => {{ if (privlens.opensNeuron) {{ privlens.opensNeuron = false; ({SHOW_NEURON})(); }} }}"
"""A link to a neuron shows it, once: another model or list that is restored later does not."""


@dataclass(frozen=True)
class Link:
    """What a fragment asks for; None for what it does not say."""

    model: str | None = None
    row: int | None = None
    method: str | None = None
    seed: int | None = None
    k: int | None = None
    neuron: str | None = None
    tab: str | None = None


def read_link(fragment: str) -> Link:
    """What a fragment such as `#model=demo&row=3` asks for; anything that cannot be is left out."""
    given = {name: values[-1] for name, values in parse_qs(fragment.removeprefix("#")[:2000]).items()}

    def number(name: str) -> int | None:
        text = given.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None

    seed = number("seed")
    return Link(
        model=given.get("model"),
        row=number("row"),
        method=given.get("method") if given.get("method") in METHODS else None,
        seed=seed if seed is not None and seed <= validation.MAX_SEED else None,
        k=number("k") or None,
        neuron=given.get("neuron") if NEURON.fullmatch(given.get("neuron", "")) else None,
        tab=given.get("tab") if given.get("tab") in TABS else None,
    )


@dataclass(frozen=True)
class NowForm(SidebarValues):
    """What a link tells of the page as it is."""

    method: str
    seed: float | None
    located: Localization | None
    selection: Selection
    shown: Studied | None


def of_now(now: NowForm) -> dict[str, Any]:
    """The value of the part: what the fragment says, but for the tab, which the browser knows."""
    rows = now.listed if now.listed in bundled_lists() else ()
    asked = now.prompt, now.value
    row = next((row for row, entry in enumerate(rows) if (entry.secret.prompt, entry.secret.value) == asked), None)
    k = len(now.selection.now.neurons) if now.located is not None else None
    named = {"model": now.model.name, "row": row, "method": now.method, "seed": int(now.seed or 0), "k": k or None}
    named["neuron"] = now.shown.result.card.link if now.shown else None
    return {name: said for name, said in named.items() if said is not None}


def address_part(page: gr.Blocks, shelf: ModelCache, side: Sidebar, chosen: Chosen, one: OneNeuron, tabs: gr.Tabs) -> None:
    """Builds the part that writes the fragment, and restores what it says when the page is opened."""
    address = part("address", "", value={}, elem_id="address", visible=True)
    link = gr.State(Link())
    fragment = gr.Textbox(visible=False)
    method, seed = chosen.settings["method"], chosen.settings["seed"]

    def loaded(fragment: str, model: ModelName) -> tuple[Any, ...]:
        asked = read_link(fragment)
        if asked.model in (None, model.name):
            return asked, gr.skip(), gr.skip(), gr.skip()
        ready = shelf.allowed.ready if shelf.allowed else []
        if asked.model not in ready:  # a stranger's link starts no download
            raise BadInput(en.LINK_OTHER_MODEL)
        wanted = ModelName(str(asked.model))
        return asked, wanted, gr.update(value=wording.of_model(shelf.get(wanted))), time.monotonic()

    def restore(asked: Link, model: ModelName, listed: tuple[ListedSecret, ...]) -> tuple[Any, ...]:
        if asked.model not in (None, model.name):
            return (gr.skip(),) * 6
        has_row = asked.row is not None and asked.row < len(listed) and listed in bundled_lists()
        secret = listed[int(asked.row or 0)].secret if has_row else None
        return (
            gr.skip() if secret is None else secret.prompt,
            gr.skip() if secret is None else secret.value,
            asked.method or gr.skip(),
            gr.skip() if asked.seed is None else asked.seed,
            asked.neuron or gr.skip(),
            gr.Tabs(selected=asked.tab) if asked.tab else gr.skip(),
        )

    def k_best(asked: Link, localization: Localization | None, selection: Selection) -> tuple[Any, ...]:
        """The k of the link is that of the first localization."""
        if asked.k is None or localization is None:
            return gr.skip(), gr.skip()
        return Link(), selection.to(best(localization.scores, asked.k))

    opened = page.load(
        show_errors(loaded),
        [fragment, side.model],
        [link, side.model, side.about, side.loads],
        js=READ,
        show_progress_on=side.about,
        **SLOW,
    )
    restored = [side.prompt, side.value, method, seed, one.name, tabs]
    for event in (opened.success, side.loaded.success):
        event(show_errors(restore), [link, side.model, side.listed], restored, **QUICK).success(
            None, None, None, js=SHOW, **QUICK
        )
    chosen.located.change(show_errors(k_best), [link, chosen.located, chosen.selection], [link, chosen.selection], **QUICK)
    form = Form(
        NowForm,
        **side.controls,
        method=method,
        seed=seed,
        located=chosen.located,
        selection=chosen.selection,
        shown=one.shown,
    )
    gr.on(
        [control.change for control in (side.model, side.secret, side.listed, method, seed, chosen.selection, one.shown)],
        lambda given: gr.update(value=of_now(form.read(given))),
        form.inputs,
        address,
        trigger_mode="always_last",
        **QUICK,
    )
