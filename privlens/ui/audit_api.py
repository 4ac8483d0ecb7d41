"""The page's HTTP endpoint for audits: a list and a plan in, the record of the audit out."""

import json
import secrets as random_bytes
from typing import Any

import gradio as gr

from privlens import validation
from privlens.audit.plan_files import plan_of
from privlens.audit.run import Job, audit, check_plan, readable
from privlens.audit.sample import KEY_BYTES, sample_of
from privlens.audit.store import open_store
from privlens.errors import BadInput
from privlens.resources import REFERENCE
from privlens.secret_lists import list_of_rows, read_reference
from privlens.types import to_json
from privlens.ui.state.jobs import in_line, show_errors, stoppable
from privlens.ui.state.session import ModelCache, ModelName

ROWS_MOST = 10_000


def audit_endpoint(cache: ModelCache, model: gr.State) -> None:
    """/audit(rows, plan, chat): rows are objects with prompt, value and what else a list may have; the plan is as in a file.

    The answer is what audit.json holds, its values masked. Keys of findings are made by a key of this call alone.
    """
    with gr.Column(visible=False):
        rows, plan = gr.JSON(label="rows"), gr.JSON(label="plan")
        chat = gr.Checkbox(False, label="chat")
        answer = gr.JSON()
        ask = gr.Button()

    def audited(name: ModelName, rows: Any, plan: Any, chat: Any) -> Any:
        fixed_plan = plan_of({} if plan is None else plan, "The plan")
        check_plan(fixed_plan)
        listed = list_of_rows("The list", cells_of(rows))
        lm = cache.get(name._replace(chat=validation.choice(chat, "chat")))
        read = readable(lm, sample_of(listed, random_bytes.token_bytes(KEY_BYTES)))
        with stoppable() as stop:
            job = Job(lm, read, fixed_plan, None, tuple(read_reference(REFERENCE)), stop=stop.is_set)
            *_, last = audit(job, open_store("sqlite://"))
        assert last.result, "an audit ends with its record"
        return json.loads(to_json(last.result))

    ask.click(show_errors(in_line(audited)), [model, rows, plan, chat], answer, api_name="audit")


def cells_of(rows: Any) -> list[dict[str, str]]:
    """The cells of rows of any JSON, as text; numbers as they are written. Raises BadInput for anything but a list of objects."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput('The list must be a list of objects such as {"prompt": "...", "value": "..."}.')
    if len(rows) > ROWS_MOST:
        raise BadInput(f"The list has {len(rows):,} rows, but may have {ROWS_MOST:,}: use the command line for more.")
    for number, row in enumerate(rows, 1):
        for name, cell in row.items():
            if isinstance(cell, bool) or not isinstance(cell, str | int | None):
                raise BadInput(f"Row {number} of the list: {validation.shown(name)} must be text.")
    return [{name: str(cell) for name, cell in row.items() if cell is not None} for row in rows]
