"""`privlens verify`: is the folder of an audit as its auditor left it, and does measuring some of it again give the same?"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from privlens.audit.folder import read_audit
from privlens.audit.manifest import Verification
from privlens.audit.manifest import verify as verify_folder
from privlens.audit.report import words
from privlens.audit.rerun import N_FINDINGS, Remeasured, Rerun, RerunStep, check_sources
from privlens.audit.rerun import rerun as measure_again
from privlens.audit.sample import key_beside, read_key, read_sample
from privlens.cli import inputs, progress, tables
from privlens.cli.options import AnyEdits, AsJson, Device, Dtype, Model, Seed
from privlens.errors import BadInput
from privlens.types import to_object
from privlens.zoo.loading import load

Folder = Annotated[Path, typer.Argument(help="The folder that an audit was written to.")]
PublicKey = Annotated[Path | None, typer.Option(help="The auditor's public key, received some other way.")]
N = Annotated[
    int | None,
    typer.Option("--rerun", min=1, help=f"Measure so many findings again (default with --list: {N_FINDINGS}); needs --list."),
]
Listed = Annotated[Path | None, typer.Option("--list", help="The list that was audited, to measure findings again.")]
Key = Annotated[Path | None, typer.Option(help="The key that its secrets were named by (default: DIR.key).")]
SIGNATURES = {
    "good": "good",
    "bad": "BAD: the manifest or the signature was changed",
    "by another key": "BY ANOTHER KEY than the one given",
    "not signed": "not signed: whoever can write to the folder could have written all of it anew",
}


def verify(
    folder: Folder,
    public_key: PublicKey = None,
    n: N = None,
    listed: Listed = None,
    key: Key = None,
    edit: AnyEdits = None,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Is the folder of an audit as its auditor left it? With --list, also: does measuring give the same? Exit code 1 if not."""
    if n and not listed:
        raise BadInput("--rerun measures from the list that was audited: give it by --list, and the key by --key.")
    verified = verify_folder(folder, public_key)
    again = None
    if listed:
        audit, read = read_audit(folder), read_sample(listed, read_key(key or key_beside(folder), may_make=False))
        check_sources(read.sample, audit)
        lm = inputs.under(load(model, device, dtype), edit, audit.target.chat)
        again = _last(measure_again(lm, read, audit, n or N_FINDINGS, seed))
    again_json = to_object(again) | {"same": again.same, "drift": again.drift} if again else None
    report = to_object(verified) | {"good": verified.good, "rerun": again_json}
    tables.show(report, as_json, lambda _: [*_verified(verified), *(_measured_again(again) if again else ())])
    if not (verified.good and (again is None or again.same)):
        raise typer.Exit(1)


def _last(steps: Iterator[RerunStep]) -> Rerun:
    for step in steps:
        progress.report_step(step)
    assert step.result, "measuring again ends with its result"
    return step.result


def _verified(verified: Verification) -> Sequence[tables.Part]:
    counts = {state: list(verified.files.values()).count(state) for state in ("same", "changed", "missing", "added")}
    facts = [
        ("manifest", f"of {words.moment(verified.made)}"),
        ("files", ", ".join(f"{n} {state}" for state, n in counts.items() if n) or "none"),
        ("signature", SIGNATURES[verified.signature]),
        ("log of queries", verified.log_in_words),
    ]
    if verified.key:
        facts.append(
            ("key", verified.key if verified.given else f"{verified.key} (from the folder itself: compare it with the auditor's)")
        )
    files = tables.columns(("file", "since then"), [(words.visible(name), state) for name, state in verified.files.items()])
    told = "The folder is as it was." if verified.good else "The folder is NOT as it was, or not the auditor's."
    return [files, tables.pairs(facts), tables.line(told)]


def _measured_again(again: Rerun) -> Sequence[tables.Part]:
    rows = [row for finding in again.findings for row in _rows(finding)]
    n_different = sum(not finding.same for finding in again.findings)
    drift = "none that is a number" if again.drift is None else f"{again.drift:.2g} nats per token"
    facts = [
        ("measured again", f"{len(again.findings)} of {again.n_findings:,} findings, drawn by seed {again.seed}"),
        ("largest change of a log-probability", f"{drift}; up to {again.tolerance:g} is the same"),
        ("now", f"{again.target.dtype} on {again.target.device}, torch {again.target.versions['torch']}"),
    ]
    told = f"DIFFERENT: {n_different} of {len(again.findings)} findings." if n_different else "Measured again, all is the same."
    header = ("row", "masked", "measured again", "then", "now")
    return [tables.columns(header, rows, ("row",)), tables.pairs(facts), tables.line(told)]


def _rows(finding: Remeasured) -> Sequence[tuple[str, ...]]:
    """A line that says that all is the same, or one for each difference."""
    start = (str(finding.row), words.visible(finding.masked))
    if finding.same:
        return [(*start, "same", "", "")]
    return [
        (
            *start,
            f"DIFFERENT: {changed.whose}, {changed.field}",
            words.visible(changed.before),
            words.visible(changed.now),
        )
        for changed in finding.differences
    ]
