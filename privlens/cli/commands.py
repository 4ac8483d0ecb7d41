"""The commands: they read input, call the packages below and print. Wrong input ends in one line and exit code 2."""

import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from privlens import results_json, validation
from privlens.cli import inputs, progress, tables
from privlens.cli.app import serve
from privlens.cli.audit import audit
from privlens.cli.audit_files import audit_diff, audit_key, audit_report
from privlens.cli.audit_verify import verify
from privlens.cli.bench import bench
from privlens.cli.compare import compare as compare_command
from privlens.cli.coupled import coupled
from privlens.cli.entropy_law import entropy_law
from privlens.cli.erase import apply, erase
from privlens.cli.from_text import find_pii
from privlens.cli.leaks import find_leaks
from privlens.cli.models import models
from privlens.cli.neuron import lens, neuron, salience
from privlens.cli.options import (
    SITE,
    AnyEdits,
    AsJson,
    Chat,
    Depth,
    Device,
    Dtype,
    Exchange,
    Hold,
    Model,
    PerLayer,
    Reference,
    Retained,
    Seed,
    SkipLayers,
)
from privlens.cli.probe import probe
from privlens.cli.prompts import add_prompts
from privlens.cli.universal import universal
from privlens.deactivation import EvalContext, compare, eval_baseline, texts_in_batches
from privlens.errors import BadInput, PrivlensError
from privlens.localization import METHOD_INFO, METHODS, Task, looked_at, steps_of
from privlens.localization.choice import how_many
from privlens.localization.hard_concrete import MaskSettings, asked_for
from privlens.memorization.check import check as check_memorization
from privlens.memorization.check import control
from privlens.neuron_files import read_neurons
from privlens.provenance import provenance
from privlens.resources import REFERENCE
from privlens.retained.others import retained_of
from privlens.secret_lists import read_reference, read_secrets
from privlens.types import LocalizationStep, NeuronScores, Secret, Site
from privlens.zoo.loading import load, quiet

INTERRUPTED = 130
"""The exit code of an interrupted command, as in shells; typer returns it when standalone_mode is off."""

commands = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="See where a language model keeps a private string, switch those neurons off, or erase it from the weights.",
)
commands.command(name="app")(serve)
commands.add_typer(bench, name="bench")
commands.command()(erase)
commands.command()(apply)
commands.command()(audit)
commands.command(name="compare")(compare_command)
commands.command("leaks")(find_leaks)
commands.command()(coupled)
commands.command()(universal)
commands.command("entropy-law")(entropy_law)
commands.command()(probe)
commands.command("find-pii")(find_pii)
commands.command("prompts")(add_prompts)
commands.command()(neuron)
commands.command()(lens)
commands.command()(salience)
commands.add_typer(models, name="models")
commands.command()(verify)
commands.command(name="audit-diff")(audit_diff)
commands.command(name="audit-report")(audit_report)
commands.command(name="audit-key")(audit_key)

METHOD_HELP = "; ".join(f"{name}: {info.meaning} ({info.cost})" for name, info in METHOD_INFO.items())
PEERS = "A CSV file of other people's secrets: a value made of words is judged beside theirs."
ROW = "The target's row in the CSV file, from 0 (default: 0). The other rows should stay known."


@commands.command()
def check(
    prompt: Annotated[str, typer.Option(help="The text before the private value.")],
    value: Annotated[str, typer.Option(help="The private value.")],
    secrets: Annotated[Path | None, typer.Option(help=PEERS)] = None,
    temperature: Annotated[float, typer.Option(help="Of the sampling that tries are counted in, above 0.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Sample from this many likeliest tokens; 0: from all.")] = 0,
    edit: AnyEdits = None,
    chat: Chat = False,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Has the model memorized this value? Compared with a value of the same format that nobody trained on."""
    validation.secret(prompt, value)
    listed = [row.secret for row in read_secrets(secrets)] if secrets else []
    target = next((row for row in listed if (row.prompt, row.value) == (prompt, value)), Secret(prompt, value))
    lm = inputs.under(load(model, device, dtype), edit, chat)
    started = time.perf_counter()
    checked = check_memorization(lm, target, others=listed, seed=seed, temperature=temperature, top_k=top_k)
    rival = control(lm, target, seed)
    checked_rival = None
    if rival:
        checked_rival = check_memorization(lm, rival, others=listed, seed=seed, temperature=temperature, top_k=top_k)
    report = results_json.memorization(checked, checked_rival, provenance(lm, seed, {"n_listed": len(listed)}, started))
    tables.show(report, as_json, tables.memorization)


@commands.command()
def localize(
    prompt: Annotated[str | None, typer.Option(help="The text before the private value.")] = None,
    value: Annotated[str | None, typer.Option(help="The private value.")] = None,
    secrets: Annotated[Path | None, typer.Option(help="Instead: a CSV file with the columns prompt and value.")] = None,
    row: Annotated[int | None, typer.Option(help=ROW)] = None,
    method: Annotated[str, typer.Option(help=METHOD_HELP)] = "hard-concrete",
    site: Annotated[Site, typer.Option(help=SITE)] = "mlp",
    share: Annotated[float | None, typer.Option(help="Report this share of all neurons, above 0 and at most 1.")] = None,
    top: Annotated[int | None, typer.Option(help="Number of neurons to report (default: suggested k, or 1 %).")] = None,
    depth: Depth = MaskSettings.depth,
    hold: Hold = MaskSettings.hold,
    exchange: Exchange = None,
    per_layer: PerLayer = False,
    skip_layers: SkipLayers = 0,
    retained: Retained = "half",
    retain: Annotated[Path | None, typer.Option(help="Text to retain; paragraphs separated by empty lines.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON object to this file, for deactivate.")] = None,
    edit: AnyEdits = None,
    chat: Chat = False,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Which neurons carry this value? Best first; layers and neurons are counted from 0."""
    if method not in METHODS:
        raise BadInput(f"There is no method {method!r}: use {', '.join(METHODS)}.")
    inputs.check_count(share, top)
    chosen, mask = inputs.choose(prompt, value, secrets, row), asked_for(depth, hold, exchange)
    texts = read_reference(retain) if retain else ()
    if out:
        inputs.check_writable(out)
    lm = inputs.under(load(model, device, dtype), edit, chat)
    inputs.check_top(top, lm, site)
    choice = inputs.choice(per_layer, skip_layers, lm)
    lm.encode(chosen.target)
    seen = looked_at(method, retained_of(eval_baseline(lm, EvalContext(chosen.others)).known, retained))
    scores = choice.of(_last(steps_of(method, Task(lm, chosen.target, seen, texts, seed, site), mask)))
    k = how_many(scores, share, top)
    report = results_json.localization(scores, chosen.target, k, seen)
    if out:
        inputs.write(out, json.dumps(report))
    tables.show(report, as_json, tables.localization)


@commands.command()
def deactivate(
    secrets: Annotated[Path, typer.Option(help="A CSV file with the columns prompt and value.")],
    neurons: Annotated[Path, typer.Option(help="What localize --out wrote, or a JSON list of [layer, index].")],
    row: Annotated[int, typer.Option(help=ROW)] = 0,
    site: Annotated[Site | None, typer.Option(help=SITE + " Default: what the file says, or mlp.")] = None,
    reference: Reference = REFERENCE,
    edit: AnyEdits = None,
    chat: Chat = False,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """What changes when these neurons are off: target, other secrets, perplexity; compared with as many random neurons."""
    chosen = inputs.row_of(secrets, row)
    off, where = read_neurons(neurons, site)
    context = EvalContext(chosen.others, read_reference(reference), where, seed)
    lm = inputs.under(load(model, device, dtype), edit, chat)
    for step in compare(lm, chosen.target, off, context):
        progress.report_step(step)
    assert step.result, "a comparison ends with its result"
    texts = texts_in_batches(lm, chosen.others, off, context)
    listed = (*chosen.others[:row], chosen.target, *chosen.others[row:])
    report = results_json.comparison(step.result, texts, inputs.retained_in(neurons, chosen.others), listed)
    tables.show(report, as_json, tables.comparison)


def _last(steps: Iterator[LocalizationStep]) -> NeuronScores:
    """Runs a localization to its end, reporting progress on stderr."""
    for step in steps:
        is_training = not math.isnan(step.target_nll)
        numbers = f": {step.n_closed} closed, the target's NLL {step.target_nll:.2f} nats/token" if is_training else ""
        progress.report_step(step, numbers)
    assert step.result, "a localization ends with its result"
    return step.result


def _print_error(message: str) -> int:
    """Prints one line on stderr; returns the exit code for wrong input."""
    print(" ".join(message.split()), file=sys.stderr)
    return 2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and exits: 0 on success, 2 with one line on stderr for wrong input, 130 when interrupted.

    Any other exception ends in one line and exit code 1; with PRIVLENS_DEBUG set in the environment it is raised.

    Args:
        arguments: what follows `python -m privlens`; None for this process's own.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    quiet()
    try:
        try:
            code = typer.main.get_command(commands)(arguments, prog_name="python -m privlens", standalone_mode=False)
        finally:
            progress.close()
        sys.stdout.flush()
        if code == INTERRUPTED:
            raise KeyboardInterrupt
    except PrivlensError as error:
        sys.exit(_print_error(str(error)))
    except typer.TyperException as error:
        sys.exit(_print_error(f"{error.format_message()} See --help."))
    except (KeyboardInterrupt, typer.Abort):
        print("Stopped.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of the output has closed it, like `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("PRIVLENS_DEBUG"):
            raise
        _print_error(
            f"Something failed that PrivLens did not expect ({type(error).__name__}: {str(error)[:500]}). Please report it, with "
            "the output of the same command run with PRIVLENS_DEBUG=1."
        )
        sys.exit(1)
    sys.exit(code)
