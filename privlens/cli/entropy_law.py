"""`python -m privlens entropy-law`: how far continuations are from values, against the entropy of the values."""

from collections.abc import Sequence

from rich.console import Group

from privlens.cli import inputs, progress, tables
from privlens.cli.options import AnyEdits, AsJson, Chat, Device, Dtype, Model, Secrets, Seed
from privlens.neurons.entropy_memorization import entropy_law as measure
from privlens.neurons.reports import Json, entropy_report
from privlens.resources import SECRETS
from privlens.secret_lists import read_secrets
from privlens.zoo.loading import load


def entropy_law(
    secrets: Secrets = SECRETS,
    edit: AnyEdits = None,
    chat: Chat = False,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Are values of higher entropy harder to memorize? Sets of equal distance, a line through them, and the objections."""
    listed = [row.secret for row in read_secrets(secrets)]
    lm = inputs.under(load(model, device, dtype), edit, chat)
    for step in measure(lm, listed, seed=seed):
        progress.report_step(step)
    assert step.result, "a measurement ends with its result"
    tables.show(entropy_report(step.result), as_json, view)


def view(found: Json) -> Sequence[tables.Part]:
    """What `entropy-law` prints without --json."""
    facts = [
        ("model", f"{found['model']} ({found['fingerprint']}), seed {found['seed']}, {found['seconds']:.1f} s"),
        ("sets", _line(found["line"]) if found["line"] else found["too_few"]),
        ("sets, normalized", _line(found["normalized"])),
        ("single secrets", _line(found["of_items"])),
    ]
    if found["shuffled"] is not None:
        facts.append(
            ("distances dealt at random", f"r {found['shuffled']:.2f} on average; as high as here with p {found['p_value']:.3g}")
        )
    rows = [
        (
            str(group["distance"]),
            str(group["n_items"]),
            str(group["n_tokens"]),
            str(group["n_different"]),
            f"{group['entropy']:.2f}",
            "-" if group["normalized"] is None else f"{group['normalized']:.2f}",
        )
        for group in found["groups"]
    ]
    header = ("distance", "secrets", "tokens", "different", "entropy (bits)", "normalized")
    return [tables.pairs(facts), tables.columns(header, rows, header), Group(*map(tables.line, found["cautions"]))]


def _line(line: Json | None) -> str:
    if line is None:
        return "-"
    interval = f" ({line['interval'][0]:.2f} to {line['interval'][1]:.2f})" if line["interval"] else ""
    return f"r {line['r']:.2f}{interval}, distance = {line['slope']:.2f} x entropy {line['intercept']:+.2f}, {line['n']} points"
