"""The tab Audit: the whole list by a plan, findings as they come, and the report. What was measured stays for the next Start."""

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from privlens.audit.run import Job, audit
from privlens.types import to_object
from privlens.ui.components.exports import exports
from privlens.ui.components.form import Form, Given, Update
from privlens.ui.components.parts import Clock, facts, progress, results_table, verdict
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues
from privlens.ui.state.freshness import strip, told
from privlens.ui.state.jobs import QUICK, Redraw, run_buttons, wire
from privlens.ui.state.session import ModelCache
from privlens.ui.tabs.audit import view as show
from privlens.ui.tabs.audit.files import files_part
from privlens.ui.tabs.audit.form import AuditForm, Begun, Finished, begin, plan_controls, unnamed
from privlens.ui.tabs.audit.from_text import text_part
from privlens.ui.tabs.audit.notes import note_form, wire_notes
from privlens.ui.text import en


def audit_tab(shelf: ModelCache, side: Sidebar) -> None:
    """Builds the tab."""
    gr.Markdown(en.AUDIT_INTRO)
    text_part(side)
    about_list = facts("audit-list")
    about_list.value = show.of_list(unnamed(side.source.value))
    plan = plan_controls()
    start, cancel = run_buttons(en.START, "audit")
    bar = progress("audit-progress")
    begun, finished = gr.State(None), gr.State(None)
    with gr.Column(elem_classes="results"):
        made_strip = strip("audit-made")
        said = verdict("audit-verdict", en.AUDIT_EMPTY)
        numbers = facts("audit-facts")
        table = results_table("audit-table", en.AUDIT_TABLE, show.WIDTHS)
        notes = note_form()
        curves = plot("audit-curves", en.AUDIT_CURVES_EMPTY, 300)
        sets = plot("audit-sets", en.AUDIT_SETS_EMPTY, 300)
    drawn = [said, numbers, table, curves, sets]
    wire_notes(table, begun, finished, notes, drawn)
    files_part(finished, side.source)
    exports("audit", finished, lambda made: to_object(made.audit))
    outputs = [*drawn, begun, finished]

    def run(form: AuditForm, stop: threading.Event) -> Iterator[Update]:
        lm, fixed_plan = shelf.get(form.side.model), form.plan
        now = form.begun if form.begun and form.begun.question == form.question else begin(form, lm)
        job = Job(lm, now.read, fixed_plan, None, form.reference, stop=stop.is_set)
        clock, found = Clock(), {finding.row: finding for finding in now.store.findings()}
        emptied: Update = {} if now is form.begun else dict(zip(drawn, show.nothing(), strict=True))
        started = gr.update(value=clock.at(0, len(now.read.secrets), en.AUDIT_STAGES["checking"]))
        yield {**emptied, begun: now, finished: None, bar: started}
        for step in audit(job, now.store):
            update: Update = {bar: gr.update(value=clock.at(step.step, step.n_steps, en.AUDIT_STAGES[step.stage]))}
            if step.result:
                made = Finished(step.result, partial(commands.audit, form.side, fixed_plan, form.reference))
                update |= dict(zip(outputs, (*show.of_result(step.result), now, made), strict=True))
            else:
                found |= {finding.row: finding for finding in step.findings}
                update |= dict(zip((said, table), show.so_far(found.values()), strict=True))
            yield update

    def tell(given: Given) -> dict[str, str]:
        asked = form.read(given)
        return told(shelf, asked.side.model, asked.begun.made if asked.begun else None, asked.described)

    def stopped(now: Begun | None) -> tuple[Any, ...]:
        return show.of_part(tuple(now.store.findings()), len(now.read.secrets)) if now else show.nothing()

    form = Form(
        AuditForm, side=Form(SidebarValues, **side.controls), source=side.source, reference=side.reference, begun=begun, **plan
    )
    wire(start, cancel, bar, run, form, outputs, redraw=Redraw(stopped, [begun], drawn))
    events = [part.change for part in (begun, side.model, side.source, *plan.values())]
    side.strips.watch((events, tell, form.inputs), made_strip)
    side.source.change(lambda source: gr.update(value=show.of_list(unnamed(source))), side.source, about_list, **QUICK)
