"""The tab Check: one secret beside a control of the same kind."""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from privlens import plots, results_json
from privlens.memorization.check import check, control
from privlens.provenance import provenance
from privlens.types import Memorization, Provenance
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Update
from privlens.ui.components.parts import Clock, facts, marked_text, progress, results_table, token_chips, verdict
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues, all_of
from privlens.ui.state.jobs import QUICK, run_buttons, wire
from privlens.ui.state.session import ModelCache
from privlens.ui.text import en, wording
from privlens.ui.traces.typed import UNKEPT

ENTERED = """() => {
    const seen = selector => document.querySelector(selector)?.offsetParent && document.querySelector(selector);
    const press = tries => {
        if (!seen('#check-start')) return void (tries && setTimeout(() => press(tries - 1), 50));
        seen('#check-start').click();
        seen('#done')?.click();
    };
    if (seen('#overview')) seen('#overview-check')?.click();
    if (seen('#overview') || seen('#check-start')) press(100);
}"""
"""Enter in the private value presses Check where that can be seen, or the page just opened; on a narrow screen the page with the
answer is shown then."""
TOKEN_WIDTHS = ["105px", "130px", "105px", "75px"]


@dataclass(frozen=True)
class CheckForm:
    """The secret in question, and the sampling that tries are counted in; top_k 0 is all tokens."""

    side: SidebarValues
    temperature: float
    top_k: int


@dataclass(frozen=True, eq=False)
class Checked:
    """A check, that of its control where there is one, what it was made with, and the command that makes it."""

    checked: Memorization
    control: Memorization | None
    provenance: Provenance
    command: Callable[[], str]

    @property
    def report(self) -> results_json.Json:
        """The JSON that the command prints."""
        return results_json.memorization(self.checked, self.control, self.provenance)


def memorized_tab(shelf: ModelCache, side: Sidebar) -> gr.Button:
    """Builds the tab; returns the button that leads on."""
    gr.Markdown(en.CHECK_INTRO)
    with gr.Accordion(en.CHECK_SAMPLING, open=False), gr.Row():
        temperature = gr.Number(1.0, label=en.TEMPERATURE, info=en.TEMPERATURE_INFO, elem_id="temperature", min_width=160)
        top_k = gr.Number(0, label=en.SAMPLED_TOKENS, info=en.SAMPLED_TOKENS_INFO, precision=0, elem_id="check-top-k")
    start, cancel = run_buttons(en.CHECK, "check")
    bar = progress("check-progress")
    verdict_part = verdict("check-verdict", en.CHECK_EMPTY)
    with gr.Row():
        value_part = gr.Textbox(label=en.CHECK_VALUE, interactive=False, elem_id="true-value", **UNKEPT)
        written = marked_text("continuation", en.CHECK_WRITTEN)
    chips = token_chips("check-tokens", en.CHECK_TOKENS)
    numbers = facts("check-facts")
    with gr.Accordion(en.CHECK_TABLES, open=False):
        bars = plot("check-bars", en.CHECK_BARS_EMPTY, 320)
        with gr.Row():
            with gr.Column(min_width=320):
                own_table = results_table("own-tokens", en.CHECK_VALUE_TOKENS, TOKEN_WIDTHS)
            with gr.Column(min_width=320):
                control_table = results_table("control-tokens", en.CHECK_CONTROL_TOKENS, TOKEN_WIDTHS)
        gr.Markdown(en.CHECK_LEGEND, elem_classes="small")
    made = gr.State(None)
    exports("check", made, lambda checked: checked.report)
    onward = gr.Button(en.CHECK_NEXT, elem_id="to-localize")
    outputs = [verdict_part, value_part, written, chips, numbers, bars, own_table, control_table, made]

    def run(form: CheckForm, stop: threading.Event) -> Iterator[Update]:
        lm, secret, clock, started = shelf.get(form.side.model), form.side.target, Clock(), time.perf_counter()
        measure = functools.partial(
            check, lm, others=all_of(form.side.listed), temperature=form.temperature, top_k=form.top_k, stop=stop.is_set
        )
        yield {bar: gr.update(value=clock.at(0, 2, en.CHECK_STAGES[0]))}
        checked = measure(secret)
        yield {bar: gr.update(value=clock.at(1, 2, en.CHECK_STAGES[1]))}
        rival = control(lm, secret, 0)
        rivaled = measure(rival) if rival else None
        record = provenance(lm, 0, {"n_listed": len(all_of(form.side.listed))}, started)
        command = functools.partial(commands.check, form.side, form.temperature, form.top_k)
        shown = *view(checked, rivaled), Checked(checked, rivaled, record, command)
        yield {bar: gr.update(value=clock.at(2, 2, en.CHECK_STAGES[2])), **dict(zip(outputs, shown, strict=True))}

    def empty() -> Update:
        return dict(zip(outputs, (*cleared(), None), strict=True))

    events = [side.secret.change, side.model.change]
    form = Form(CheckForm, side=Form(SidebarValues, **side.controls), temperature=temperature, top_k=top_k)
    wire(start, cancel, bar, run, form, outputs, events, empty, heavy=False)
    side.value.submit(None, None, None, js=ENTERED, **QUICK)
    return onward


def view(checked: Memorization, rival: Memorization | None) -> tuple[Any, ...]:
    """The values of the tab's outputs; `rival` is None where there is no control."""
    written, _ = plots.marked(checked.continuation.strip(), checked.secret.value.strip())
    bars = plots.token_bars(checked.tokens, rival.tokens if rival else (), en.CHECK_SERIES)
    return (
        gr.update(value=wording.verdict_of_check(checked, rival)),
        checked.secret.value,
        gr.update(value=written),
        gr.update(value=wording.of_tokens(checked.tokens)),
        gr.update(value=wording.of_check(checked, rival)),
        gr.update(value=bars.to_json()),
        gr.update(value=plots.token_table(checked.tokens), visible=True),
        gr.update(value=plots.token_table(rival.tokens), visible=True) if rival else gr.update(visible=False),
    )


def cleared() -> tuple[Any, ...]:
    """Another secret: nothing is known of it yet."""
    said, empty, table = (
        {"kind": "none", "text": en.CHECK_EMPTY},
        [gr.update(value=[]) for _ in range(3)],
        gr.update(visible=False),
    )
    return gr.update(value=said), "", *empty, gr.update(value=""), table, table
