"""The tab Audit: the whole list by a plan, findings as they come, and the report. What was measured stays for the next Start."""

import json
import secrets as random_bytes
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr

from privlens import validation
from privlens.audit.population import population
from privlens.audit.records import Audit, Plan
from privlens.audit.report.csv_file import findings_csv
from privlens.audit.report.html import report_html
from privlens.audit.run import Job, audit, check_plan, readable
from privlens.audit.sample import KEY_BYTES, ReadSample, rejected_csv, sample_of
from privlens.audit.store import Store, open_store
from privlens.erasure import ERASURE_METHODS
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import METHODS
from privlens.secret_lists import ListFile
from privlens.types import to_json
from privlens.ui.components.exports import export_part, exports, text_value
from privlens.ui.components.form import Form, Given, Update
from privlens.ui.components.parts import Clock, facts, progress, results_table, verdict
from privlens.ui.components.plot import plot
from privlens.ui.sidebar import commands
from privlens.ui.sidebar.panel import Sidebar, SidebarValues
from privlens.ui.state.freshness import Asked, Made, strip, told, watch
from privlens.ui.state.jobs import QUICK, SLOW, run_buttons, show_errors, wire
from privlens.ui.state.session import ModelCache
from privlens.ui.tabs.audit import view as show
from privlens.ui.tabs.audit.from_text import text_part
from privlens.ui.text import en
from privlens.ui.traces.typed import UNKEPT

FIRST_METHOD, FIRST_AT_MOST = "stepwise", 3
"""What is done about memorized secrets unless a person chooses otherwise: something, and not for long."""


@dataclass(frozen=True, eq=False)
class Begun:
    """An audit that was begun: of which question and model, what was read, and everything that is measured so far."""

    question: object
    read: ReadSample
    store: Store
    made: Made


@dataclass(frozen=True, eq=False)
class Finished:
    """An audit that ended, and the command that makes it."""

    audit: Audit
    command: Callable[[], str]


@dataclass(frozen=True)
class AuditForm:
    """The list, the model and the plan; and what was begun before, which is not part of the question."""

    side: SidebarValues
    source: ListFile
    reference: tuple[str, ...]
    methods: list[str]
    erasure: str
    at_most: float | None
    attacks: bool
    temperature: float | None
    top_k: float | None
    seed: float | None
    begun: Begun | None

    @property
    def question(self) -> object:
        """What must be the same for an audit to go on: all but the secret in the sidebar."""
        return self.side.model, self.source, self.reference, self.plan

    @property
    def described(self) -> Asked:
        """The question by name, for the strip."""
        return (
            ("list", f"{self.source.name} ({self.source.sha256[:8]})"),
            ("methods", ", ".join(self.methods) or "none"),
            ("erasing", self.erasure or "none"),
            ("attacks", "yes" if self.attacks else "no"),
            ("at most", f"{self.at_most or 0:.0f}"),
            ("temperature", f"{1.0 if self.temperature is None else self.temperature:g}"),
            ("top-k", f"{self.top_k or 0:.0f}"),
            ("seed", f"{self.seed or 0:.0f}"),
        )

    @property
    def plan(self) -> Plan:
        """Raises BadInput for a plan that cannot be carried out."""
        plan = Plan(
            seed=validation.seed(self.seed or 0),
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=int(self.top_k or 0),
            methods=tuple(self.methods),
            erasure=self.erasure,
            attacks=self.attacks,
            at_most=int(self.at_most or 0),
        )
        check_plan(plan)
        return plan


def audit_tab(shelf: ModelCache, side: Sidebar) -> None:
    """Builds the tab."""
    gr.Markdown(en.AUDIT_INTRO)
    text_part(side)
    about_list = facts("audit-list")
    about_list.value = show.of_list(_unnamed(side.source.value))
    plan = _plan_controls()
    start, cancel = run_buttons(en.START, "audit")
    bar = progress("audit-progress")
    begun, finished = gr.State(None), gr.State(None)
    with gr.Column(elem_classes="results"):
        made_strip = strip("audit-made")
        said = verdict("audit-verdict", en.AUDIT_EMPTY)
        numbers = facts("audit-facts")
        table = results_table("audit-table", en.AUDIT_TABLE, show.WIDTHS)
        note_form = _note_form()
        curves = plot("audit-curves", en.AUDIT_CURVES_EMPTY, 300)
    drawn = [said, numbers, table, curves]
    _wire_notes(table, begun, finished, note_form, drawn)
    _files(finished, side.source)
    exports("audit", finished, lambda made: json.loads(to_json(made.audit)))
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
    wire(start, cancel, bar, run, form, outputs, redraw=(stopped, [begun], drawn))
    watch(([part.change for part in (begun, side.model, side.source, *plan.values())], tell, form.inputs), [made_strip])
    side.source.change(lambda source: gr.update(value=show.of_list(_unnamed(source))), side.source, about_list, **QUICK)


def begin(form: AuditForm, lm: LanguageModel) -> Begun:
    """An audit of which nothing is measured yet, under a key of its own. Raises BadInput where the model can read no secret."""
    read = readable(lm, sample_of(form.source, random_bytes.token_bytes(KEY_BYTES)))
    return Begun(form.question, read, open_store("sqlite://"), Made(lm.fingerprint, form.described, len(form.side.model.edits)))


def _unnamed(source: ListFile) -> ReadSample:
    """What was read of a list; under no key of its own, since nothing that it names is kept."""
    return sample_of(source, bytes(KEY_BYTES))


def _plan_controls() -> dict[str, Any]:
    """The controls of the plan, by the fields of `AuditForm`."""
    with gr.Accordion(en.AUDIT_PLAN, open=True, elem_id="audit-plan"):
        with gr.Row():
            methods = gr.Dropdown(
                list(METHODS),
                value=[FIRST_METHOD],
                multiselect=True,
                label=en.AUDIT_METHODS,
                info=en.AUDIT_METHODS_INFO,
                elem_id="audit-methods",
                min_width=260,
            )
            erasure = gr.Dropdown(
                [(en.AUDIT_NO_ERASE, ""), *((name, name) for name in ERASURE_METHODS)],
                value="",
                label=en.AUDIT_ERASE,
                info=en.AUDIT_ERASE_INFO,
                elem_id="audit-erase",
                min_width=220,
            )
            at_most = gr.Number(
                FIRST_AT_MOST,
                label=en.AUDIT_AT_MOST,
                info=en.AUDIT_AT_MOST_INFO,
                precision=0,
                minimum=0,
                elem_id="audit-at-most",
                min_width=160,
            )
        attacks = gr.Checkbox(False, label=en.AUDIT_ATTACKS, elem_id="audit-attacks")
        with gr.Accordion(en.AUDIT_MORE, open=False), gr.Row():
            temperature = gr.Number(
                1.0, label=en.TEMPERATURE, info=en.TEMPERATURE_INFO, elem_id="audit-temperature", min_width=160
            )
            top_k = gr.Number(0, label=en.SAMPLED_TOKENS, info=en.SAMPLED_TOKENS_INFO, precision=0, elem_id="audit-top-k")
            seed = gr.Number(0, label=en.SEED, precision=0, minimum=0, elem_id="audit-seed", min_width=120)
    return {
        "methods": methods,
        "erasure": erasure,
        "at_most": at_most,
        "attacks": attacks,
        "temperature": temperature,
        "top_k": top_k,
        "seed": seed,
    }


def _note_form() -> tuple[gr.Number, gr.Textbox, gr.Textbox, gr.Button]:
    """Row, note, why the finding does not count, and the button that keeps them."""
    with gr.Accordion(en.AUDIT_NOTE, open=False, elem_id="audit-note"), gr.Row():
        row = gr.Number(
            None, label=en.AUDIT_NOTE_ROW, info=en.AUDIT_NOTE_ROW_INFO, precision=0, elem_id="audit-row", min_width=140
        )
        note = gr.Textbox("", label=en.AUDIT_NOTE_TEXT, elem_id="audit-note-text", max_length=validation.MAX_PROMPT, **UNKEPT)
        struck = gr.Textbox(
            "",
            label=en.AUDIT_STRUCK,
            info=en.AUDIT_STRUCK_INFO,
            elem_id="audit-struck",
            max_length=validation.MAX_PROMPT,
            **UNKEPT,
        )
        save = gr.Button(en.AUDIT_NOTE_SAVE, elem_id="audit-note-save", min_width=120)
    return row, note, struck, save


def _wire_notes(table: gr.Dataframe, begun: gr.State, finished: gr.State, form: Any, drawn: list[Any]) -> None:
    """Notes on findings, which change what counts."""
    row, note, struck, save = form

    def chosen(now: Begun | None, event: gr.SelectData) -> tuple[Any, ...]:
        number = int(event.row_value[0])
        found = next((finding for finding in now.store.findings() if finding.row == number), None) if now else None
        return (number, found.note, found.false_positive) if found else (number, "", "")

    def keep(now: Begun | None, made: Finished | None, number: float | None, text: str, because: str) -> tuple[Any, ...]:
        findings = tuple(now.store.findings()) if now else ()
        key = next((finding.key for finding in findings if finding.row == number), None)
        if now is None or key is None:
            raise BadInput(en.audit_no_row("?" if number is None else f"{number:.0f}"))
        for name, given in (("note", text), ("reason", because)):
            validation.text(given, name, validation.MAX_PROMPT)
        now.store.annotate(key, text.strip(), because.strip())
        noted = tuple(now.store.findings())
        if made is None:
            return *show.of_part(noted, len(now.read.secrets)), None
        result = replace(made.audit, findings=noted)
        return *show.of_result(result), replace(made, audit=result)

    table.select(chosen, begun, [row, note, struck], **QUICK)
    save.click(show_errors(keep), [begun, finished, row, note, struck], [*drawn, finished], **SLOW)


def _files(finished: gr.State, source: gr.State) -> None:
    """The report and the tables as files, and what the report says about who audits for whom."""
    with gr.Accordion(en.AUDIT_STATED, open=False, elem_id="audit-stated"):
        stated = {
            name: gr.Textbox("", label=label, elem_id=f"audit-{name}", max_length=validation.MAX_PROMPT, **UNKEPT)
            for name, label in en.AUDIT_STATEMENTS.items()
        }
    with gr.Row():
        report = gr.Button(en.AUDIT_REPORT, elem_id="audit-report", interactive=False, size="sm", min_width=140, scale=0)
        findings = gr.Button(en.AUDIT_FINDINGS, elem_id="audit-findings", interactive=False, size="sm", min_width=140, scale=0)
        rejected = gr.Button(en.AUDIT_REJECTED, elem_id="audit-rejected", size="sm", min_width=170, scale=0)
    file = export_part("audit-file")

    def written(made: Finished, *texts: str) -> Any:
        for name, text in zip(stated, texts, strict=True):
            validation.text(text, name, validation.MAX_PROMPT)
        said: dict[str, Any] = dict(zip(stated, texts, strict=True))
        result = replace(made.audit, **said)
        return gr.update(value=text_value("privlens-audit.html", report_html(result, population(result)), "text/html"))

    def listed(made: Finished) -> Any:
        return gr.update(value=text_value("privlens-audit-findings.csv", findings_csv(made.audit.findings), "text/csv"))

    def left_out(source: ListFile) -> Any:
        return gr.update(value=text_value("privlens-audit-rejected.csv", rejected_csv(_unnamed(source).rejected), "text/csv"))

    report.click(show_errors(written), [finished, *stated.values()], file, **SLOW)
    findings.click(show_errors(listed), finished, file, **SLOW)
    rejected.click(show_errors(left_out), source, file, **QUICK)
    finished.change(lambda made: (gr.update(interactive=bool(made)),) * 2, finished, [report, findings], **QUICK)
