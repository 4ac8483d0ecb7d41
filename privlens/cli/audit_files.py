"""What is done with the files of an audit: `audit-diff`, `audit-report` and `audit-key`. None of them needs a model."""

import getpass
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Group

from privlens import __version__
from privlens.audit.comparison import AuditComparison, Pair, SetsChange, compare
from privlens.audit.folder import read_audit
from privlens.audit.keys import make_key, needs_passphrase, read_key
from privlens.audit.manifest import MANIFEST, SIGNATURE, write_manifest
from privlens.audit.paired import Paired
from privlens.audit.records import Audit
from privlens.audit.report import REPORT, words, write_report
from privlens.audit.report.html import comparison_html
from privlens.cli import inputs, tables
from privlens.cli.options import AsJson
from privlens.errors import BadInput
from privlens.neurons.entropy_records import Line
from privlens.types import to_json

PASSPHRASE = "PRIVLENS_PASSPHRASE"
"""The environment variable that answers instead of a person."""
Json = dict[str, Any]
Folder = Annotated[Path, typer.Argument(help="The folder that an audit was written to.")]


def audit_key(
    file: Annotated[Path, typer.Argument(help="Where to write the private key; the public one gets the ending .pub.")],
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help=f"Encrypt the private key; asks twice, or reads {PASSPHRASE}.")
    ] = False,
) -> None:
    """Make a key pair for signing audits. The private key stays with you; give the public one to whoever checks."""
    secret = _new_passphrase() if passphrase else ""
    fingerprint = make_key(file, secret)
    rows = [("private key", f"{file}, which only you can read"), ("public key", f"{file}.pub"), ("fingerprint", fingerprint)]
    tables.print_parts([tables.pairs(rows)])


def _new_passphrase() -> str:
    secret = os.environ.get(PASSPHRASE)
    if secret is None:
        secret = getpass.getpass("Passphrase: ")
        if getpass.getpass("Again: ") != secret:
            raise BadInput("The two passphrases differ: run the command again.")
    if not secret:
        raise BadInput("The passphrase is empty: give one, or leave out --passphrase.")
    return secret


def write_documents(audit: Audit, folder: Path, key: Ed25519PrivateKey | None = None) -> None:
    """Writes the report and the other documents of an audit, and the manifest of the whole folder; signed where there is a key.

    Raises:
        BadInput: if a file cannot be written; each is complete or as it was.
    """
    try:
        write_report(audit, folder)
        write_manifest(folder, key, {"privlens": __version__, "python": platform.python_version()})
    except OSError as cause:
        raise BadInput(
            f"{folder} cannot be written ({cause.strerror}): free some space, or copy the folder elsewhere."
        ) from cause


def audit_report(
    folder: Folder,
    sign: Annotated[Path | None, typer.Option(help="A private key from audit-key, to sign the manifest with.")] = None,
) -> None:
    """Write the report of a folder's audit.json again, and the manifest; without --sign an older signature is removed."""
    audit = read_audit(folder)
    key = None
    if sign:
        secret = os.environ.get(PASSPHRASE) if needs_passphrase(sign) else ""
        key = read_key(sign, getpass.getpass(f"Passphrase of {sign}: ") if secret is None else secret)
    was_signed = (folder / SIGNATURE).exists()
    write_documents(audit, folder, key)
    signed = "signed" if key else "not signed any more" if was_signed else "not signed"
    tables.print_parts([tables.pairs([("report", str(folder / REPORT)), ("manifest", f"{folder / MANIFEST}, {signed}")])])


def audit_diff(
    a: Annotated[Path, typer.Argument(help="The folder of an audit, such as before a mitigation.")],
    b: Annotated[Path, typer.Argument(help="The folder of another, with the same plan and the same key.")],
    html: Annotated[Path | None, typer.Option(help="Also write the comparison to this file, as one HTML page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two audits of the same secrets: what is no longer written, what is newly written, and how tries changed."""
    if html:
        inputs.check_writable(html)
    before, after = read_audit(a), read_audit(b)
    diff = compare(before, after)
    if html:
        inputs.write(html, comparison_html(before, after, diff), "--html")
    report = {
        "a": _target(before.target.model, before.target.fingerprint, before.ended),
        "b": _target(after.target.model, after.target.fingerprint, after.ended),
        "extraction": asdict(diff.extraction),
        "controls": asdict(diff.controls),
        "tries": json.loads(to_json(diff.tries)),
        "sets": json.loads(to_json(diff.sets)),
        "pairs": [_pair(pair) for pair in diff.pairs],
        **{name: [pair.a.key for pair in pairs] for name, pairs in (("became_known", diff.became_known), ("gone", diff.gone))},
        "only_a": [finding.key for finding in diff.only_a],
        "only_b": [finding.key for finding in diff.only_b],
        "uncounted": diff.uncounted,
    }
    tables.show(report, as_json, lambda _: _compared(diff))


def _target(model: str, fingerprint: str, ended: str) -> Json:
    return {"model": model, "fingerprint": fingerprint, "ended": ended}


def _pair(pair: Pair) -> Json:
    """By its key; null tries are never."""
    both = (pair.a, pair.b)
    return {
        "key": pair.a.key,
        "rows": [finding.row for finding in both],
        "written": [finding.measured.greedy_match for finding in both],
        "log10_tries": [finding.measured.log10_tries for finding in both],
    }


def _compared(diff: AuditComparison) -> Sequence[tables.Part]:
    tries = diff.tries
    interval = f" (95 % interval {words.power(tries.interval[0])} to {words.power(tries.interval[1])})" if tries.interval else ""
    header = ("", "pairs", "written in A", "in B", "no longer", "newly", "McNemar")
    rows = [_tested("secrets", diff.extraction), _tested("their controls", diff.controls)]
    facts = [
        ("tries, median change", f"{words.power(tries.median)}{interval}"),
        (
            "more tries in B",
            f"{tries.harder} of {tries.n}; fewer: {tries.easier}; exact sign test {words.p_value(tries.p_value)}",
        ),
        *_of_sets(diff.sets),
        ("only in A, only in B", f"{len(diff.only_a)}, {len(diff.only_b)}"),
        ("not compared", f"{diff.uncounted} pairs that are controls, or that an auditor does not count"),
    ]
    lists = [("No longer written:", diff.gone), ("Newly written:", diff.became_known)]
    return [
        tables.columns(header, rows, header[1:6]),
        tables.pairs(facts),
        *(Group(tables.line(title), _listed(pairs)) for title, pairs in lists if pairs),
    ]


def _of_sets(sets: SetsChange) -> list[tuple[str, str]]:
    """How distances changed, and the correlation of distance and entropy in each audit."""
    moved = f"{sets.farther} of {sets.n}; nearer: {sets.nearer}; exact sign test {words.p_value(sets.p_value)}"
    both = [(name, of.line) for name, of in (("A", sets.a), ("B", sets.b)) if of and of.line]
    correlations = [(f"entropy of sets, r in {name}", _with_interval(line)) for name, line in both]
    return [("farther from the secret in B", moved), *correlations]


def _with_interval(line: Line) -> str:
    bounds = f" (95 % interval {line.interval[0]:.2f} to {line.interval[1]:.2f})" if line.interval else ""
    return f"{line.r:.2f}{bounds}"


def _tested(name: str, paired: Paired) -> tuple[str, ...]:
    numbers = (paired.n, paired.before, paired.after, paired.lost, paired.gained)
    return (name, *map(str, numbers), words.p_value(paired.p_value))


def _listed(pairs: Sequence[Pair]) -> tables.Part:
    header = ("row in A", "masked", "category", "tries in A", "tries in B")
    rows = [
        (
            str(pair.a.row),
            words.visible(pair.a.masked),
            words.visible(pair.a.category),
            words.tries(pair.a.measured.log10_tries),
            words.tries(pair.b.measured.log10_tries),
        )
        for pair in pairs
    ]
    return tables.columns(header, rows, ("row in A", "tries in A", "tries in B"))
