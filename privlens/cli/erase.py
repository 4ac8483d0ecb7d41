"""`python -m privlens erase` and `apply`: erase secrets from the weights, and write the edited model."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, get_args

import typer

from privlens import results_json
from privlens.cli import inputs, progress, tables
from privlens.cli.options import AnyEdits, AsJson, Chat, Device, Dtype, Model, Reference, Retained, Secrets, Seed
from privlens.deactivation import EvalContext, eval_baseline
from privlens.erasure import (
    ERASURE_INFO,
    MAX_SHARE,
    SHARE_PER_TEXT,
    Depth,
    ErasureSettings,
    Granularity,
    Request,
    Scope,
    WeightMetric,
    method_settings,
)
from privlens.erasure import erase as erase_steps
from privlens.erasure.attacks import AttackSetup, diagnosed
from privlens.erasure.attacks import attacks as attack_steps
from privlens.erasure.effects import effects
from privlens.errors import BadInput
from privlens.lm.edit_files import save_edit
from privlens.lm.export import check_folder, folded, write_model
from privlens.memorization.states import known as known_after
from privlens.neuron_files import read_neurons
from privlens.outcomes import Attack, EraseOrHide, ErasureStep, KeptCount
from privlens.provenance import provenance
from privlens.resources import REFERENCE
from privlens.retained.others import retained_of, unseen_of
from privlens.secret_lists import read_reference, read_secrets
from privlens.types import Edit, Site
from privlens.zoo.loading import load

DEFAULTS = ErasureSettings()
METHOD_HELP = "; ".join(f"{name}: {info.meaning}" for name, info in ERASURE_INFO.items())
CHOICE_HELP = f"The metric that chooses the weights: {', '.join(get_args(WeightMetric))}."
SCOPE_HELP = (
    "The tokens that emso makes equally likely: vocabulary (all, as in the paper) or format (those of the true token's format)."
)
SPREAD_HELP = "neuron: whole output vectors of MLP neurons; global, matrix: single weights of the whole model, or of each matrix."
KEEP_HELP = "Weight of retained text: other memorized rows and the model's own samples. 0 retains nothing, as in the paper."
ROWS_HELP = "Rows of the file to erase, from 0: 3 or 3,5,9. The other memorized rows should stay known."
RATE_HELP = "Learning rate, in units of the chosen weights' root mean square (default: the method's own)."
DECAY_HELP = "Before every step the changed weights move back by this share of their change."
REPAIR_HELP = (
    "Once the depth is reached, so many of the steps go on with more weight on retained text, and bring back what else was lost; "
    "the last state at the depth is kept."
)
SHARE_HELP = (
    f"Share of all weights that may change, above 0 and at most 1 (default: {SHARE_PER_TEXT:g} for each secret to erase, "
    f"at most {MAX_SHARE:g})."
)
DEPTH_HELP = (
    "When the run ends: forgotten (all values as likely as those that they are compared with) or unseen (none is written, and "
    "their MA and EL_10 are at the level of unseen text)."
)
GUARD_HELP = "End at the last good state when perplexity rises above this ratio."
SITE_HELP = "Where the neurons are: mlp, attention or both (default: what the file says)."


def erase(
    secrets: Secrets,
    rows: Annotated[str, typer.Option(help=ROWS_HELP)],
    out: Annotated[Path, typer.Option(help="Write the edit to this file, a .safetensors.")],
    method: Annotated[str, typer.Option(help=METHOD_HELP)] = DEFAULTS.method,
    share: Annotated[float | None, typer.Option(help=SHARE_HELP)] = None,
    scope: Annotated[str, typer.Option(help=SCOPE_HELP)] = DEFAULTS.scope,
    choice: Annotated[str, typer.Option(help=CHOICE_HELP)] = DEFAULTS.choice,
    spread: Annotated[str, typer.Option(help=SPREAD_HELP)] = DEFAULTS.spread,
    depth: Annotated[str, typer.Option(help=DEPTH_HELP)] = DEFAULTS.depth,
    steps: Annotated[int, typer.Option(min=1, help="Training steps, at most.")] = DEFAULTS.steps,
    rate: Annotated[float | None, typer.Option(help=RATE_HELP)] = None,
    keep: Annotated[float, typer.Option(min=0, help=KEEP_HELP)] = DEFAULTS.keep,
    decay: Annotated[float, typer.Option(help=DECAY_HELP)] = DEFAULTS.decay,
    repair: Annotated[int, typer.Option(min=0, help=REPAIR_HELP)] = DEFAULTS.repair,
    guard: Annotated[float, typer.Option(help=GUARD_HELP)] = DEFAULTS.guard,
    retained: Retained = "half",
    retain: Annotated[Path | None, typer.Option(help="Text to retain; paragraphs separated by empty lines.")] = None,
    reference: Reference = REFERENCE,
    attacks: Annotated[bool, typer.Option(help="Try to recover the values afterwards.")] = True,
    edit: AnyEdits = None,
    chat: Chat = False,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Erase secrets from the weights by a sparse edit, written to a file; and measure its effect on them and on the rest."""
    chosen, rest = inputs.rows_of(secrets, rows)
    settings = ErasureSettings(
        share=share,
        scope=inputs.one_of(scope, Scope, "--scope"),
        depth=inputs.one_of(depth, Depth, "--depth"),
        steps=steps,
        choice=inputs.one_of(choice, WeightMetric, "--choice"),
        spread=inputs.one_of(spread, Granularity, "--spread"),
        keep=keep,
        decay=decay,
        repair=repair,
        guard=guard,
    )
    settings = method_settings(method, settings, rate).checked()
    paragraphs = read_reference(reference)
    texts = read_reference(retain) if retain else ()
    inputs.check_writable(out)
    lm = inputs.under(load(model, device, dtype), edit, chat)
    targets = tuple(row.secret for row in chosen)
    known = eval_baseline(lm, EvalContext(rest)).known
    seen = retained_of(known, retained if settings.keep else "none")
    unseen = unseen_of(known, seen)
    listed = tuple(row.secret for row in read_secrets(secrets))
    last = _last(erase_steps(Request(lm, targets, seen, texts, unseen, paragraphs, settings, seed, listed)))
    assert last.result, "an erasure ends with its edit"
    save_edit(last.result, out)
    after = lm.under(last.result)
    attack_records: list[Attack] = []
    shifts: tuple[EraseOrHide, ...] = ()
    if attacks:
        setup = AttackSetup(lm, after, targets, tuple(row.reworded for row in chosen), known, tuple(rest), seed=seed)
        for attack in attack_steps(setup):
            progress.report_progress(f"attack: {attack.name}{'' if attack.ran else ' ' + attack.note}")
            attack_records.append(attack)
        shifts, note = diagnosed(setup)
        progress.report_progress(f"erase or hide{': ' + note if note else ''}")
    kept = [KeptCount(len(known_after(after, part)), len(part)) for part in (unseen, seen)]
    target_effects = effects(lm, after, targets, listed, seed)
    report = results_json.erasure(
        last, target_effects, unseen=kept[0], seen=kept[1], attacks=attack_records, shifts=shifts, out=str(out), listed=listed
    )
    tables.show(report, as_json, tables.erasure)


def _last(steps: Iterator[ErasureStep]) -> ErasureStep:
    """Runs an erasure to its end, reporting progress on stderr."""
    for step in steps:
        ratio = "" if step.perplexity_ratio is None else f", perplexity x{step.perplexity_ratio:.3f}"
        kept = "" if step.kept is None or math.isnan(step.kept) else f", others kept {step.kept:.0%}"
        forgotten = "" if step.n_forgotten is None else f", {step.n_forgotten} of {step.n_targets} forgotten"
        numbers = f"entropy {step.entropy:.2f}, NLL {step.nll:.2f}, MA {step.memorization_accuracy:.2f}{forgotten}{ratio}{kept}"
        progress.report_step(step, f": {numbers}")
    return step


def apply(
    out: Annotated[Path, typer.Option(help="A new folder for the model.")],
    edit: AnyEdits = None,
    neurons: Annotated[Path | None, typer.Option(help="The file from localize --out: neurons to switch off permanently.")] = None,
    site: Annotated[Site | None, typer.Option(help=SITE_HELP)] = None,
    model: Model = "demo",
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Write the whole model, with edits or switched-off neurons in its weights, as a folder for transformers."""
    if not edit and neurons is None:
        raise BadInput("Nothing is to be applied: give --edit FILE (from erase --out) or --neurons FILE (from localize --out).")
    off, where = read_neurons(neurons, site) if neurons else ((), site or "mlp")
    folder = check_folder(out)
    started = time.perf_counter()
    lm = inputs.under(load(model, device, dtype), edit)
    settings = {"edits": [str(path) for path in edit or ()], "neurons": len(off), "site": where}
    record = provenance(lm, 0, settings, started)
    edited = lm.under(Edit(folded(lm, lm.off(off, where), where), record)) if off else lm
    write_model(edited, folder)
    tables.show(results_json.applied(edited, record, str(folder)), as_json, tables.applied)
