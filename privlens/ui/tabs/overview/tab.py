"""The tab Overview: the page opens with a secret whose result was recorded, and one large switch."""

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens.ui.components.parts import part, press_when_seen
from privlens.ui.sidebar.panel import Sidebar
from privlens.ui.state.example import example_of
from privlens.ui.state.jobs import QUICK, show_errors
from privlens.ui.state.session import Localization, ModelCache, ModelName, NeuronChoice
from privlens.ui.tabs.localize.selection import Chosen
from privlens.ui.tabs.overview.view import of_example
from privlens.ui.text import en


@dataclass(frozen=True)
class Overview:
    """What leads on: to checking, to the neurons, to a live run, to erasing."""

    check: gr.Button
    work: gr.Button
    live: gr.Button
    erase: gr.Button


def overview_tab(shelf: ModelCache, side: Sidebar) -> Overview:
    """Builds the tab; `wire_overview` makes its buttons do something, once the other tabs are there."""
    first = example_of(shelf, shelf.first)
    shown = first is not None
    overview = part("overview", template(), value=of_example(first), elem_id="overview")
    with gr.Row(elem_classes="overview-acts"):
        work = gr.Button(en.OVERVIEW_WORK, variant="primary", elem_id="overview-work", visible=shown, min_width=160)
        live = gr.Button(en.OVERVIEW_LIVE, elem_id="overview-live", visible=shown, min_width=120)
        erase = gr.Button(en.OVERVIEW_ERASE, elem_id="overview-erase", visible=shown, min_width=160)
        check = gr.Button(en.OVERVIEW_CHECK, elem_id="overview-check", min_width=120)

    def follow(model: ModelName) -> tuple[Any, ...]:
        example = example_of(shelf, model)
        return gr.update(value=of_example(example)), *(gr.update(visible=example is not None) for _ in range(3))

    side.model.change(show_errors(follow), side.model, [overview, work, live, erase], **QUICK)
    return Overview(check, work, live, erase)


def wire_overview(shelf: ModelCache, side: Sidebar, overview: Overview, chosen: Chosen, tabs: gr.Tabs) -> None:
    """The buttons: take the recorded neurons over, run it live, erase, or check a secret of one's own."""

    def asked(model: ModelName) -> tuple[Any, ...]:
        example = example_of(shelf, model)
        return (gr.skip(), gr.skip()) if example is None else (example.secret.prompt, example.secret.value)

    def offered(model: ModelName, prompt: str, value: str) -> tuple[Any, ...]:
        """The example, where nothing was typed yet: there is something to check on the tab that opens."""
        return (gr.skip(), gr.skip()) if prompt or value else asked(model)

    def taken(model: ModelName, selection: Any) -> tuple[Any, ...]:
        example = example_of(shelf, model)
        if example is None:
            return gr.skip(), gr.skip()
        localization = Localization(example.secret, frozenset(example.retained), example.scores)
        return localization, selection.to(NeuronChoice(example.off, frozenset(example.off)))

    def goes(tab: str) -> Any:
        return lambda: gr.Tabs(selected=tab)

    question = [side.prompt, side.value]
    took = overview.work.click(show_errors(asked), side.model, question, **QUICK).success(
        show_errors(taken), [side.model, chosen.selection], [chosen.located, chosen.selection], **QUICK
    )
    chosen.redraw.after(took.success(goes("localize"), None, tabs, **QUICK).success)
    running = overview.live.click(show_errors(asked), side.model, question, **QUICK)
    running.success(goes("localize"), None, tabs, **QUICK).success(
        None, None, None, js=press_when_seen("localize-start"), **QUICK
    )
    overview.erase.click(show_errors(asked), side.model, question, **QUICK).success(goes("erase"), None, tabs, **QUICK)
    checking = overview.check.click(show_errors(offered), [side.model, *question], question, **QUICK)
    checking.success(goes("memorized"), None, tabs, **QUICK)


def template() -> str:
    """The part's fixed words; everything else is set by its script."""
    texts = "".join(
        f'<div class="overview-text"><dt>{html.escape(label)}</dt><dd data-part="{name}"></dd></div>'
        for name, label in en.OVERVIEW_STATES.items()
    )
    return f"""
<div class="overview-empty" hidden>{html.escape(en.OVERVIEW_EMPTY)}</div>
<div class="overview" hidden>
  <p class="overview-say" data-part="sentence"></p>
  <p class="overview-sub" data-part="sure"></p>
  <div class="overview-two">
    <section class="overview-card">
      <h2>{html.escape(en.OVERVIEW_WHERE)} <em data-part="recorded"></em></h2>
      <div><canvas role="img"></canvas></div>
      <p class="overview-caption" data-part="pointed">{html.escape(en.OVERVIEW_CAPTION)}</p>
      <button type="button" class="overview-switch" role="switch" data-part="switch" id="overview-switch">
        <i></i><span class="overview-switch-text"></span></button>
    </section>
    <section class="overview-card">
      <h2>{html.escape(en.OVERVIEW_WRITES)}</h2>
      <div class="verdict" role="status" data-part="verdict"><strong></strong><span></span></div>
      <dl class="overview-texts">{texts}</dl>
      <dl class="overview-numbers" data-part="numbers"></dl>
    </section>
  </div>
  <p class="overview-chosen" data-part="chosen"></p>
</div>"""
