"""`python -m privlens universal`: which neurons two models have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from privlens.cli import inputs, progress, tables
from privlens.cli.options import AsJson, Device, Dtype, Model, Reference, Seed
from privlens.errors import BadInput
from privlens.neuron_files import read_neurons
from privlens.neurons.reports import MOST_UNIVERSAL, Json, universal_report
from privlens.neurons.universal import UniversalRequest, UniversalSettings
from privlens.neurons.universal import universal as compare
from privlens.resources import REFERENCE
from privlens.secret_lists import read_reference
from privlens.types import to_json
from privlens.zoo.loading import load

DEFAULT = UniversalSettings()
CHOSEN = "Are these neurons less universal than the others? What localize --out wrote, or a JSON list of [layer, index]."


def universal(
    other: Annotated[str, typer.Option(help="The other model, with the same tokenizer: another seed of the same recipe.")],
    neurons: Annotated[Path | None, typer.Option(help=CHOSEN)] = None,
    reference: Reference = REFERENCE,
    threshold: Annotated[float, typer.Option(help="Excess correlation from which a neuron is universal.")] = DEFAULT.threshold,
    ablated: Annotated[float, typer.Option(help="Share of all neurons that each draw switches off; 0: none.")] = DEFAULT.ablated,
    draws: Annotated[int, typer.Option(help="Draws of universal neurons, and of as many others.")] = DEFAULT.draws,
    top: Annotated[int, typer.Option(min=0, help="How many of the most universal neurons to list.")] = MOST_UNIVERSAL,
    out: Annotated[Path | None, typer.Option(help="Also write all correlations to this file, as JSON.")] = None,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """Which neurons does a model of another seed have too, by their activations on the same text?"""
    chosen, site = read_neurons(neurons) if neurons else ((), "mlp")
    if site != "mlp":
        raise BadInput(f"{neurons} lists neurons of the site {site!r}: only those of MLPs are compared.")
    paragraphs = read_reference(reference)
    if out:
        inputs.check_writable(out)
    settings = UniversalSettings(threshold, ablated, draws)
    lm, twin = load(model, device, dtype), load(other, device, dtype)
    for step in compare(UniversalRequest(lm, twin, paragraphs, chosen, settings, seed)):
        progress.report_step(step)
    assert step.result, "a comparison ends with its result"
    if out:
        inputs.write(out, to_json(step.result))
    tables.show(universal_report(step.result, top), as_json, view)


def view(found: Json) -> Sequence[tables.Part]:
    """What `universal` prints without --json."""
    facts = [
        (
            "models",
            f"{found['model']} ({found['fingerprint']}) and {found['other']}, seed {found['seed']}, {found['seconds']:.1f} s",
        ),
        ("compared on", f"{found['n_tokens']} tokens; {found['n_alive']} neurons change on them"),
        ("mean correlation", f"{found['mean_correlation']:.3f}, rotated {found['mean_rotated']:.3f}"),
        (f"excess of {found['threshold']:g} or more", share(found["universal"])),
    ]
    if found["contrast"]:
        chosen = found["contrast"]
        interval = f" ({chosen['interval'][0]:.3f} to {chosen['interval'][1]:.3f})" if chosen["interval"] else ""
        facts += [
            (
                "given neurons",
                f"{chosen['n_chosen']}: mean excess {chosen['chosen_mean']:.3f}, the other {chosen['n_others']}: "
                f"{chosen['others_mean']:.3f}; {chosen['n_silent']} given ones never change",
            ),
            ("AUC", f"{chosen['auc']:.3f}{interval}, p {chosen['p_value']:.2g}; within layers p {chosen['p_within_layers']:.2g}"),
        ]
    if found["ablation"]:
        off = found["ablation"]
        interval = f" ({off['interval'][0]:+.4f} to {off['interval'][1]:+.4f})" if off["interval"] else ""
        said = f"{off['k']} universal neurons off x{off['mean_universal']:.4f}, as many others x{off['mean_others']:.4f}"
        facts += [
            ("perplexity", said),
            ("difference", f"{off['difference']:+.4f} nats/token{interval}, {len(off['others'])} draws"),
        ]
    layers = [(str(layer), share(of_layer)) for layer, of_layer in enumerate(found["by_layer"])]
    header = ("layer", "neuron", "partner's layer", "neuron", "correlation", "excess")
    best = [
        (*map(str, row["neuron"]), *map(str, row["partner"]), f"{row['correlation']:.3f}", f"{row['excess']:.3f}")
        for row in found["most_universal"]
    ]
    return [
        tables.pairs(facts),
        tables.columns(("layer", "universal"), layers, ("layer",)),
        *([tables.columns(header, best, header)] if best else []),
    ]


def share(of: Json) -> str:
    """A share with its interval."""
    if of["interval"] is None:
        return "-"
    low, high = of["interval"]
    return f"{of['k']} of {of['n']}, {of['k'] / of['n']:.1%} ({low:.1%} to {high:.1%})"
