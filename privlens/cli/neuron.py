"""`python -m privlens neuron`, `lens` and `salience`: one neuron, what each layer would say, what the prompt's tokens do."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from privlens.cli import inputs, neuron_tables, progress, tables
from privlens.cli.options import AnyEdits, AsJson, Chat, Device, Dtype, Model, Reference, Seed
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import QUICK_METHODS
from privlens.localization.prompt_salience import Baseline, SalienceSettings
from privlens.localization.prompt_salience import prompt_salience as salience_of
from privlens.neuron_files import read_neurons
from privlens.neuron_places import DEFAULT_METHODS, PlacesRequest, list_places, places_of
from privlens.neurons.lens import lens as lens_steps
from privlens.neurons.links import parse_neuron
from privlens.neurons.page import PageRequest
from privlens.neurons.page import page as page_steps
from privlens.neurons.place_records import NeuronPlaces
from privlens.resources import REFERENCE, SECRETS
from privlens.secret_lists import read_reference, read_secrets
from privlens.types import Neuron, to_object
from privlens.zoo.loading import load

Named = Annotated[str, typer.Argument(help="L5N1234 (layer 5, neuron 1234, from 0), 5:1234, or a link with a fingerprint.")]
Prompt = Annotated[str | None, typer.Option(help="The text before the private value.")]
Value = Annotated[str | None, typer.Option(help="The private value.")]
List = Annotated[Path | None, typer.Option(help="Instead: a CSV file; also says which of its secrets the neuron takes.")]
Row = Annotated[int | None, typer.Option(help="The secret's row in the CSV file, from 0 (default: 0).")]
NeededPrompt = Annotated[str, typer.Option(help="The text before the private value.")]
NeededValue = Annotated[str, typer.Option(help="The private value.")]
PLACES = "Also its place by quick methods for so many secrets of the list, as many of each category, beside a random neuron's."
BY = "Those methods: all, or " + ", ".join(QUICK_METHODS)
BASELINE = "What replaces the prompt's tokens: padding (or end of text), or zero."


def neuron(
    name: Named,
    prompt: Prompt = None,
    value: Value = None,
    secrets: List = None,
    row: Row = None,
    text: Annotated[str, typer.Option(help="Any other text: the neuron's activation at each of its tokens.")] = "",
    places: Annotated[int, typer.Option(min=0, help=PLACES)] = 0,
    methods: Annotated[str, typer.Option(help=BY)] = ",".join(DEFAULT_METHODS),
    reference: Reference = REFERENCE,
    edit: AnyEdits = None,
    chat: Chat = False,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """What does this neuron do? What it writes, where it is active, and what happens when it alone is dimmed or off."""
    is_asked = any(given is not None for given in (prompt, value, secrets, row))
    chosen = inputs.choose(prompt, value, secrets, row) if is_asked else None
    texts = read_reference(reference)
    lm = inputs.under(load(model, device, dtype), edit, chat)
    listed = (chosen.target, *chosen.others) if chosen and secrets else ()
    request = PageRequest(texts, chosen.target if chosen else None, text, listed, seed=seed)
    named = parse_neuron(name, lm.widths(), lm.fingerprint)
    by = tuple(QUICK_METHODS) if methods == "all" else tuple(inputs.methods(methods))
    if places and not secrets:
        raise BadInput("Places are those among the secrets of a list: give it with --secrets.")
    for step in page_steps(lm, named, request):
        progress.report_step(step)
    assert step.result, "a page ends with its result"
    stands = _places(lm, named, secrets, by, places, seed) if places and secrets else None
    tables.show(to_object(replace(step.result, places=stands)), as_json, neuron_tables.neuron)


def _places(lm: LanguageModel, neuron: Neuron, path: Path, methods: Sequence[str], n: int, seed: int) -> NeuronPlaces:
    """The neuron's places for n secrets of a list; only of the list that comes with PrivLens anything is kept on the disk."""
    listed = tuple(read_secrets(path))
    is_public = path.resolve() == SECRETS.resolve() and not lm.edits
    for step in list_places(PlacesRequest(lm, listed, tuple(methods), n, seed), use_cache=is_public):
        progress.report_step(step)
    assert step.result, "the places of a list end with their result"
    return places_of(step.result, listed, neuron, seed)


def lens(
    prompt: NeededPrompt,
    value: NeededValue,
    off: Annotated[Path | None, typer.Option(help="Neurons to be off afterwards: what localize --out wrote.")] = None,
    edit: AnyEdits = None,
    chat: Chat = False,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """What would each layer say if it were the last? Before, and after neurons are off or under an edit."""
    chosen = inputs.choose(prompt, value, None, None)
    neurons, site = read_neurons(off) if off else ((), "mlp")
    if site != "mlp":
        raise BadInput(f"{off} lists neurons of the site {site}: the lens switches MLP neurons off, so localize with --site mlp.")
    lm = inputs.under(load(model, device, dtype), None, chat)
    edited = inputs.under(lm, edit) if edit else None
    for step in lens_steps(lm, chosen.target, off=neurons, edited=edited, seed=seed):
        progress.report_step(step)
    result = step.result
    assert result, "the lens ends with its result"
    tables.show(to_object(result), as_json, lambda _: neuron_tables.lens(result))


def salience(
    prompt: NeededPrompt,
    value: NeededValue,
    steps: Annotated[int, typer.Option(min=2, help="Steps of the integral.")] = SalienceSettings.steps,
    baseline: Annotated[str, typer.Option(help=BASELINE)] = SalienceSettings.baseline,
    edit: AnyEdits = None,
    chat: Chat = False,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Which tokens of the prompt make the value likely? Integrated gradients over its embeddings, beside a control."""
    chosen = inputs.choose(prompt, value, None, None)
    lm = inputs.under(load(model, device, dtype), edit, chat)
    settings = SalienceSettings(steps, inputs.one_of(baseline, Baseline, "--baseline"))
    tables.show(to_object(salience_of(lm, chosen.target, settings, seed=seed)), as_json, neuron_tables.salience)
