"""`python -m privlens audit`: work through a list of secrets, and leave findings that another person can check."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from privlens.audit.manifest import LOG
from privlens.audit.plan_files import read_plan
from privlens.audit.query_log import QueryLog
from privlens.audit.ray_workers import on_ray
from privlens.audit.records import Audit, Plan
from privlens.audit.run import AuditStep, Job, check_plan, here, readable
from privlens.audit.run import audit as run_audit
from privlens.audit.sample import key_beside, read_key, read_sample, rejected_csv
from privlens.audit.store import open_store
from privlens.cli import inputs, progress, tables
from privlens.cli.audit_files import write_documents
from privlens.cli.options import AnyEdits, AsJson, Chat, Device, Dtype, Model, Reference
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.process.private_files import OWNER_ONLY_FOLDER
from privlens.resources import REFERENCE
from privlens.secret_lists import read_reference
from privlens.types import to_json
from privlens.zoo.loading import load

List = Annotated[Path, typer.Argument(help="The list: CSV, JSON lines, JSON or Parquet, with the columns prompt and value.")]
Out = Annotated[Path, typer.Option(help="The folder for the findings; it is made if there is none.")]
MethodNames = Annotated[
    str | None, typer.Option("--methods", help="Localization methods for memorized secrets: gradient,stepwise.")
]
Erasure = Annotated[str | None, typer.Option("--erase", help="An erasure method, run on each memorized secret by itself.")]
Attacks = Annotated[bool | None, typer.Option("--attacks/--no-attacks", help="Attack what was switched off or erased.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="The plan as a YAML or JSON file; options given beside it win.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the audit that is in the folder.")]
Key = Annotated[Path | None, typer.Option(help="The key that secrets are named by (default: OUT.key, made if there is none).")]
Database = Annotated[str | None, typer.Option(help="An SQLAlchemy URL (default: OUT/audit.sqlite).")]
KeepValues = Annotated[bool, typer.Option("--keep-values", help="Store private values as they are, not masked.")]
AtMost = Annotated[int | None, typer.Option(min=0, help="How many memorized secrets to work on, the likeliest first.")]
Stated = Annotated[str, typer.Option(help="For the report.")]
RayAddress = Annotated[
    str | None, typer.Option("--ray", help="Check on a Ray cluster: its address, or local for one on this machine.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Of the Ray cluster (default: as many as there is room for).")]
PlanSeed = Annotated[int | None, typer.Option(min=0, help="Seed of everything that is drawn at random.")]


def audit(
    secrets: List,
    out: Out,
    methods: MethodNames = None,
    erase: Erasure = None,
    attacks: Attacks = None,
    plan: PlanFile = None,
    resume: Resume = False,
    key: Key = None,
    database: Database = None,
    keep_values: KeepValues = False,
    at_most: AtMost = None,
    temperature: Annotated[float | None, typer.Option(help="Of the sampling that tries are counted in.")] = None,
    top_k: Annotated[int | None, typer.Option(min=0, help="Of the same sampling; 0 is all tokens.")] = None,
    seed: PlanSeed = None,
    auditor: Stated = "",
    client: Stated = "",
    question: Stated = "",
    scope: Stated = "",
    legal_basis: Stated = "",
    reference: Reference = REFERENCE,
    edit: AnyEdits = None,
    chat: Chat = False,
    model: Model = "demo",
    device: Device = "auto",
    dtype: Dtype = "auto",
    ray: RayAddress = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Audit a model by a list of secrets; a run that was stopped or killed goes on with --resume."""
    options = {
        "methods": tuple(inputs.methods(methods)) if methods is not None else None,
        "erasure": erase,
        "attacks": attacks,
        "at_most": at_most,
        "temperature": temperature,
        "top_k": top_k,
        "seed": seed,
    }
    chosen: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    fixed_plan = replace(read_plan(plan) if plan else Plan(), **chosen)
    check_plan(fixed_plan)
    if workers and not ray:
        raise BadInput("--workers is of a Ray cluster: name one by --ray, or write --ray local.")
    paragraphs = read_reference(reference)
    try:
        out.mkdir(mode=OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
    except OSError as cause:
        raise BadInput(f"{out} cannot be made ({cause.strerror}): give the name of a folder that may be written to.") from cause
    read = read_sample(secrets, read_key(key or key_beside(out)))
    store = open_store(database if database else out / "audit.sqlite")
    if store.has_begun() and not resume:
        raise BadInput(f"{out} holds an audit already: go on with it by --resume, or give another --out.")
    opened = partial(_opened, _absolute(model), device, dtype, tuple(path.absolute() for path in edit or ()), chat)
    lm = inputs.under(load(model, device, dtype), edit, chat)
    read = readable(lm, read)
    inputs.write(out / "rejected.csv", rejected_csv(read.rejected).rstrip("\n"))
    report_sample(read.sample.n_rows, len(read.secrets), len(read.rejected), read.sample.n_duplicates)
    checking = on_ray(ray, opened, workers) if ray else here
    job = Job(lm, read, fixed_plan, QueryLog(out / LOG), tuple(paragraphs), keep_values, checking=checking)
    result = _last(run_audit(job, store))
    store.close()
    result = replace(result, auditor=auditor, client=client, question=question, scope=scope, legal_basis=legal_basis)
    inputs.write(out / "audit.json", to_json(result))
    write_documents(result, out)
    tables.show(summary(result, out), as_json, _view)


def _opened(model: str, device: str, dtype: str, edits: tuple[Path, ...], chat: bool) -> LanguageModel:
    """The audited model, in a worker's process."""
    return inputs.under(load(model, device, dtype), edits, chat)


def _absolute(model: str) -> str:
    """A model's name, as a path that means the same in another folder if it is one."""
    return str(Path(model).absolute()) if Path(model).exists() else model


def report_sample(n_rows: int, n_secrets: int, n_rejected: int, n_duplicates: int) -> None:
    """Says what was read, before anything is measured."""
    progress.report_progress(
        f"{n_rows} rows: {n_secrets} secrets, {n_duplicates} duplicates, {n_rejected} left out (see rejected.csv)"
    )


def _last(steps: Iterator[AuditStep]) -> Audit:
    """Runs an audit to its end, reporting progress with an estimate of what is left."""
    started, first = time.monotonic(), 0
    for step in steps:
        first = first or step.step
        pace = (time.monotonic() - started) / max(1, step.step - first)
        left = f", about {pace * (step.n_steps - step.step):.0f} s left" if step.step > first else ""
        progress.report_step(step, left)
    assert step.result, "an audit ends with its record"
    return step.result


def summary(audit: Audit, out: Path) -> dict[str, Any]:
    """What the command prints."""
    counted = [finding for finding in audit.findings if finding.counts]
    controls = [finding.control for finding in audit.findings if finding.control]
    return {
        "out": str(out),
        "model": audit.target.model,
        "fingerprint": audit.target.fingerprint,
        "secrets": len(counted),
        "memorized": sum(finding.measured.is_memorized for finding in counted),
        "known": sum(finding.measured.greedy_match for finding in counted),
        "controls": len(controls),
        "controls_taken_for_memorized": sum(control.is_memorized for control in controls),
        "worked_on": sum(bool(finding.interventions) for finding in audit.findings),
        "seconds": round(audit.seconds, 3),
    }


def _view(report: dict[str, Any]) -> list[tables.Part]:
    return [
        tables.line(
            f"{report['known']} of {report['secrets']} secrets are written word for word, {report['memorized']} memorized."
        ),
        tables.line(
            f"{report['controls_taken_for_memorized']} of {report['controls']} paired controls were taken for memorized."
        ),
        tables.line(f"Findings of {report['model']} ({report['fingerprint']}) are in {report['out']}."),
    ]
