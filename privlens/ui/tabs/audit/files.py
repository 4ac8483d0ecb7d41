"""The report of an audit and its tables as files."""

from dataclasses import replace
from typing import Any

import gradio as gr

from privlens import validation
from privlens.audit.population import population
from privlens.audit.report.csv_file import findings_csv
from privlens.audit.report.html import report_html
from privlens.audit.sample import rejected_csv
from privlens.secret_lists import ListFile
from privlens.ui.components.exports import export_part, text_value
from privlens.ui.state.jobs import QUICK, SLOW, show_errors
from privlens.ui.tabs.audit.form import Finished, unnamed
from privlens.ui.text import en
from privlens.ui.traces.typed import UNKEPT


def files_part(finished: gr.State, source: gr.State) -> None:
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
        return gr.update(value=text_value("privlens-audit-rejected.csv", rejected_csv(unnamed(source).rejected), "text/csv"))

    report.click(show_errors(written), [finished, *stated.values()], file, **SLOW)
    findings.click(show_errors(listed), finished, file, **SLOW)
    rejected.click(show_errors(left_out), source, file, **QUICK)
    finished.change(lambda made: (gr.update(interactive=bool(made)),) * 2, finished, [report, findings], **QUICK)
