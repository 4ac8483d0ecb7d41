"""The page, as a table of contents, and how it is launched."""

import logging
from collections.abc import Sequence
from typing import Any

import gradio as gr

from privlens.resources import ASSETS
from privlens.ui.allowed import allowed
from privlens.ui.components.header import header, hides
from privlens.ui.components.help import help_link
from privlens.ui.components.plot import script
from privlens.ui.components.skip import skip_link
from privlens.ui.door import Beside, Door, LockedApp, make_door
from privlens.ui.door.settings import addresses, served_on
from privlens.ui.lesson.part import lesson_part
from privlens.ui.manual import Manual
from privlens.ui.programs import endpoints
from privlens.ui.sidebar.panel import bundled_lists, sidebar
from privlens.ui.state.jobs import QUICK, Notices
from privlens.ui.state.profiles import ProfileCache
from privlens.ui.state.session import ModelCache, ModelName
from privlens.ui.tabs.address import address_part
from privlens.ui.tabs.audit.tab import audit_tab
from privlens.ui.tabs.compare.tab import compare_tab
from privlens.ui.tabs.deactivate.effect import wire_effect
from privlens.ui.tabs.deactivate.tab import deactivate_tab
from privlens.ui.tabs.erase.tab import erase_tab
from privlens.ui.tabs.localize.tab import localize_tab
from privlens.ui.tabs.many.tab import many_tab
from privlens.ui.tabs.memorized.tab import memorized_tab
from privlens.ui.tabs.neurons.tab import neurons_tab, wire_neurons
from privlens.ui.tabs.overview.tab import overview_tab, wire_overview
from privlens.ui.tabs.session_part import session_part
from privlens.ui.text import en
from privlens.ui.theme import keys, outside, style, theme
from privlens.ui.traces.settings import leaving_nothing
from privlens.ui.traces.uploads import UNREAD
from privlens.ui.traces.visits import VisitRegistry

THREADS = 128
"""Listeners that may run at the same time: many more than compute, since most of them wait for their turn."""
DELETE_CACHE = (60, UNREAD)
"""Seconds: how often gradio checks the files that visitors opened or saved, and the age at which it deletes them. Lists are
deleted once they were read."""


def build_cache(
    model: str = "demo", device: str = "auto", dtype: str = "auto", also: Sequence[str] = (), allow_paths: Sequence[str] = ()
) -> ModelCache:
    """The models of a page, the first of them loaded.

    Args:
        also: other models that visitors may load by these names. allow_paths: folders below which visitors may name paths.

    Raises:
        BadInput: for an allow_paths entry that is not a folder; also what `load` raises.
    """
    return ModelCache(ModelName(model, device, dtype), allowed=allowed([model, *also], allow_paths))


def build_ui(shelf: ModelCache) -> gr.Blocks:
    """The page, which opens with the first of these models."""
    page: gr.Blocks
    profiles = ProfileCache()
    with gr.Blocks(title="PrivLens", analytics_enabled=False, fill_width=True, delete_cache=DELETE_CACHE) as page:
        skip_link()
        side = sidebar(shelf)
        above = header(side.listed.value)
        with above.row:
            lesson_part(shelf)
        side.listed.change(lambda listed: hides(listed, bundled_lists()), side.listed, above.mask, **QUICK)
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as tabs:
            with gr.Tab(en.OVERVIEW_TAB, id="overview"):
                help_link("overview")
                overview = overview_tab(shelf, side)
            with gr.Tab(en.CHECK_TAB, id="memorized"):
                help_link("memorized")
                to_localize = memorized_tab(shelf, side)
            with gr.Tab(en.LOCALIZE_TAB, id="localize"):
                help_link("localize")
                chosen, to_deactivate = localize_tab(shelf, side, profiles)
            with gr.Tab(en.DEACTIVATE_TAB, id="deactivate"):
                help_link("deactivate")
                part, bars, back = deactivate_tab(shelf, side, chosen)
            with gr.Tab(en.ERASE_TAB, id="erase"):
                help_link("erase")
                edits = erase_tab(shelf, side, chosen, above)
            with gr.Tab(en.COMPARE_TAB, id="compare"):
                help_link("compare")
                compared = compare_tab(shelf, side, chosen)
            with gr.Tab(en.MANY_TAB, id="many"):
                help_link("many")
                voted = many_tab(shelf, side, chosen)
            with gr.Tab(en.NEURONS_TAB, id="neurons"):
                help_link("neurons")
                one = neurons_tab(shelf, side, chosen, profiles)
            with gr.Tab(en.AUDIT_TAB, id="audit"):
                help_link("audit")
                audit_tab(shelf, side)
        side.strips.wire([part.change for part in (side.secret, side.model, side.listed)])
        wire_effect(shelf, side, chosen.located, chosen.selection, [chosen.quick, part], bars)
        wire_neurons(chosen, one, tabs)
        wire_overview(shelf, side, overview, chosen, tabs)
        for button, tab in ((to_localize, "localize"), (to_deactivate, "deactivate"), (back, "localize")):
            button.click(lambda tab=tab: gr.Tabs(selected=tab), None, tabs, **QUICK)
        for transferred in (compared, voted):
            transferred.success(lambda: gr.Tabs(selected="deactivate"), None, tabs, **QUICK)
        session_part(shelf, side, chosen, edits)
        address_part(page, shelf, side, chosen, one, tabs)
        endpoints(shelf, side.model, chosen.located, chosen.selection)
    return page


def launch(
    page: gr.Blocks,
    host: str = "127.0.0.1",
    port: int | None = None,
    door: Door | None = None,
    beside: Sequence[Beside] = (),
    **more: Any,
) -> str:
    """Serves the page and returns its address. Nothing that a visitor types is kept, and nothing is fetched from elsewhere.

    Args:
        host, port: the address; by default the first free port from 7860 on.
        door: who may reach the page; by default a lock if other machines can reach this host.
        beside: what is served beside the page and the manual, behind the same door. more: passed on to gradio.
    """
    door = door or make_door(host)
    page.queue(default_concurrency_limit=None)  # `jobs.LINE` and the models' locks decide whose turn it is
    notices = logging.getLogger("privlens.memory")
    if not any(isinstance(handler, Notices) for handler in notices.handlers):
        notices.addHandler(Notices())
    visits, beside = VisitRegistry(), [Manual(), *beside]
    settings, middleware = leaving_nothing(visits, [served.lifespan for served in beside])
    blocks = not more.pop("prevent_thread_lock", False)
    quiet = more.pop("quiet", False)
    try:
        _, address, _ = page.launch(
            server_name=served_on(host),
            server_port=port,
            theme=theme(),
            css=style(),
            head=script() + keys() + outside(),
            run_history=False,
            favicon_path=str(ASSETS / "favicon.svg"),
            footer_links=[],
            share=False,
            ssr_mode=False,
            root_path=door.root_path or None,
            max_file_size=door.max_upload,
            max_threads=THREADS,
            prevent_thread_lock=True,
            quiet=True,
            _app=LockedApp(door, middleware, [route for served in beside for route in served.routes]),
            **settings,
            **more,
        )
        if not quiet:
            print(f"PrivLens is ready: {' or '.join(addresses(door, page.server_port))}", flush=True)
        if blocks:
            page.block_thread()
    except SystemExit:  # a signal
        visits.end_all()
        page.close(verbose=False)
        raise
    return str(address)
