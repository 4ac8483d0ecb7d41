"""`python -m privlens coupled`: the neurons that two concepts share, categories of a list or texts, and what they do."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group

from privlens.cli import inputs, progress, tables
from privlens.cli.options import AnyEdits, AsJson, Chat, Device, Dtype, Model, Reference, Secrets, Seed
from privlens.errors import BadInput
from privlens.neurons.coupled import CoupledRequest, CoupledSettings
from privlens.neurons.coupled import coupled as search
from privlens.neurons.reports import Json, coupled_report
from privlens.neurons.texts import Text
from privlens.resources import REFERENCE, SECRETS
from privlens.secret_lists import ListedSecret, read_reference, read_secrets, trained_on
from privlens.types import Secret
from privlens.zoo.loading import load

DEFAULT = CoupledSettings()
TEXT_FILE = ".txt"
First = Annotated[str, typer.Option("--first", help="A category of the list, or a .txt file of paragraphs.")]
Second = Annotated[str, typer.Option("--second", help="Another category, or a .txt file of paragraphs.")]


def coupled(
    first: First,
    second: Second,
    secrets: Secrets = SECRETS,
    reference: Reference = REFERENCE,
    top: Annotated[float, typer.Option(help="Share of all neurons that are the best of a category.")] = DEFAULT.top,
    general: Annotated[
        float, typer.Option(help="Share that are the best of ordinary text, and of no category.")
    ] = DEFAULT.general,
    all_texts: Annotated[
        bool, typer.Option("--all-texts", help="Judge on the texts that chose, not on every second one.")
    ] = False,
    draws: Annotated[int, typer.Option(help="Random sets beside the coupled one.")] = DEFAULT.draws,
    out: Annotated[Path | None, typer.Option(help="Write the coupled neurons to this file, for deactivate.")] = None,
    edit: AnyEdits = None,
    chat: Chat = False,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Which neurons do two concepts share, that ordinary text does not need? Of the kind of DEAN.

    A concept is a category of private values, or texts of one's own: prompts about fairness, a topic, a person.
    """
    listed, paragraphs = read_secrets(secrets), read_reference(reference)
    of_first, of_second = concept(listed, first, "--first"), concept(listed, second, "--second")
    if out:
        inputs.check_writable(out)
    lm = inputs.under(load(model, device, dtype), edit, chat)
    settings = CoupledSettings(top, general, not all_texts, draws)
    for step in search(CoupledRequest(lm, of_first, of_second, paragraphs, (name_of(first), name_of(second)), settings, seed)):
        progress.report_step(step)
    assert step.result, "a search ends with its result"
    found = coupled_report(step.result)
    if out:
        inputs.write(out, json.dumps({"site": "mlp", **found["provenance"], "neurons": found["coupled"]}))
    tables.show(found, as_json, view)


def concept(listed: Sequence[ListedSecret], name: str, option: str) -> tuple[Text, ...]:
    """The paragraphs of a .txt file, or the secrets of a category. Raises BadInput if there are none."""
    return read_reference(name) if name.endswith(TEXT_FILE) else of_category(listed, name, option)


def name_of(concept: str) -> str:
    """What a concept is called: its category, or its file without the folder and the ending."""
    return Path(concept).stem if concept.endswith(TEXT_FILE) else concept


def of_category(listed: Sequence[ListedSecret], name: str, option: str) -> tuple[Secret, ...]:
    """The secrets of a category that were trained on, as far as the list says. Raises BadInput if there are none."""
    chosen = trained_on(listed, name)
    if not chosen:
        names = sorted({row.secret.category for row in listed} - {""})
        raise BadInput(f"{option} {name!r} is no category of the list with secrets that were trained on: use {', '.join(names)}.")
    return chosen


def view(found: Json) -> Sequence[tables.Part]:
    """What `coupled` prints without --json."""
    shared, (first, second) = found["overlap"], found["categories"]
    regrouped = sorted(shared["regrouped"])
    provenance = found["provenance"]
    facts = [
        (
            "model",
            f"{provenance['model']} ({provenance['fingerprint']}), seed {provenance['seed']}, {provenance['seconds']:.1f} s",
        ),
        (f"neurons of {first}", f"{len(found['first'])}, from {found['n_used'][0]} texts"),
        (f"neurons of {second}", f"{len(found['second'])}, from {found['n_used'][1]} texts"),
        ("coupled", f"{shared['observed']} (two independent sets: {shared['expected']:.1f}, p {shared['p_value']:.2g})"),
    ]
    if regrouped:
        mean = sum(regrouped) / len(regrouped)
        said = f"{mean:.1f} on average, {regrouped[0]} to {regrouped[-1]} (p of sharing no more {shared['p_apart']:.2g})"
        facts.append(("the same texts, mixed", said))
    rows = [
        (
            f"{effect['set_name']} off",
            str(effect["k"]),
            *(_shift(effect[side]) for side in ("first", "second")),
            "-" if effect["perplexity_ratio"] is None else f"x{effect['perplexity_ratio']:.4f}",
        )
        for effect in found["effects"]
    ]
    header = ("neurons", "k", f"NLL of {first} (nats/token)", f"NLL of {second}", "perplexity")
    judged = (
        "texts that chose the neurons" if provenance["settings"]["held_out"] is False else "texts that did not choose the neurons"
    )
    lines = [
        tables.line(f"Effects on {found['n_measured'][0]} and {found['n_measured'][1]} {judged}; intervals of the mean rise.")
    ]
    best = ", ".join(f"{layer}:{index}" for layer, index in found["coupled"][:20])
    return [
        tables.pairs(facts),
        *([Group(*lines, tables.columns(header, rows, header[1:2]))] if rows else []),
        tables.line(f"Best: {best or '-'}"),
    ]


def _shift(shift: Json) -> str:
    interval = shift["interval"]
    rise = shift["after"] - shift["before"]
    said = f" ({interval[0]:+.2f} to {interval[1]:+.2f})" if interval else ""
    return f"{shift['before']:.2f} to {shift['after']:.2f}, {rise:+.2f}{said}"
