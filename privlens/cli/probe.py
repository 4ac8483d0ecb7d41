"""`python -m privlens probe`: what can be read off the hidden states, before and after neurons are off or weights are edited."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Group

from privlens.cli import inputs, progress, tables
from privlens.cli.options import AnyEdits, AsJson, Chat, Device, Dtype, Model, Secrets, Seed
from privlens.cli.universal import share
from privlens.neuron_files import read_neurons
from privlens.neurons.kram import geometry, kram
from privlens.neurons.probe_records import ProbeKind, ProbeTarget
from privlens.neurons.probe_training import TrainingSettings
from privlens.neurons.probes import ProbeRequest, ProbeSettings
from privlens.neurons.probes import probe as train_probes
from privlens.neurons.reports import Json, probe_report
from privlens.resources import SECRETS
from privlens.secret_lists import read_secrets
from privlens.zoo.loading import load

DEFAULT = ProbeSettings()
TARGET = f"What is read: {', '.join(get_args(ProbeTarget))} (whether a value is the prompt's own)."
OFF = "Also with these neurons off, and as many random ones. What localize --out wrote, or a JSON list of [layer, index]."
KRAM = "Also erase what is read from the states of this layer (0 is the embeddings), and probe them again (KRaM)."


def probe(
    secrets: Secrets = SECRETS,
    target: Annotated[ProbeTarget, typer.Option(help=TARGET)] = DEFAULT.target,
    kind: Annotated[ProbeKind, typer.Option(help="A linear probe, or an MLP with one hidden layer.")] = TrainingSettings.kind,
    neurons: Annotated[Path | None, typer.Option(help=OFF)] = None,
    edit: AnyEdits = None,
    chat: Chat = False,
    kram_layer: Annotated[int | None, typer.Option("--kram", min=0, help=KRAM)] = None,
    test_share: Annotated[float, typer.Option(help="Share of the secrets that probes are tested on.")] = DEFAULT.test_share,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """What do the hidden states of each layer tell about secrets? Beside a control task; before and after an intervention."""
    listed = tuple(row.secret for row in read_secrets(secrets))
    off, site = read_neurons(neurons) if neurons else ((), "mlp")
    lm = inputs.under(load(model, device, dtype), None, chat)
    after = inputs.under(lm, edit) if edit else None
    settings = ProbeSettings(target, test_share, TrainingSettings(kind=kind))
    request = ProbeRequest(lm, listed, off, after, site, settings, seed)
    if kram_layer is not None:
        inputs.check_layer(kram_layer, lm.n_layers)
    for step in train_probes(request):
        progress.report_step(step)
    assert step.result, "probes end with their result"
    stayed = geometry(request) if off or after else None
    erased = None
    if kram_layer is not None:
        progress.report_progress(f"a map that erases {target} from layer {kram_layer}")
        erased = kram(request, kram_layer)
    tables.show(probe_report(step.result, stayed, erased), as_json, view)


def view(found: Json) -> Sequence[tables.Part]:
    """What `probe` prints without --json."""
    facts = [
        ("model", f"{found['model']} ({found['fingerprint']}), seed {found['seed']}, {found['seconds']:.1f} s"),
        ("read", f"{found['target']}, {len(found['classes'])} classes, by a {found['kind']} probe"),
        ("items", f"{found['n_train']} to train on, {found['n_test']} to test on; {found['n_left_out']} secrets left out"),
        ("most frequent class", share(found["majority"])),
    ]
    parts: list[tables.Part] = [tables.pairs(facts), *(_run(run) for run in found["runs"])]
    for name, layers in (found["geometry"] or {}).items():
        header = ("layer", "rate before (nats)", "after", "half of neighbours kept", "a tenth")
        rows = [
            (str(layer), f"{of['rate_before']:.1f}", f"{of['rate_after']:.1f}", _aligned(of["half"]), _aligned(of["tenth"]))
            for layer, of in enumerate(layers)
        ]
        parts.append(Group(tables.line(f"Geometry, {name}"), tables.columns(header, rows, header)))
    if found["kram"]:
        parts.append(_erased(found["kram"]))
    return parts


def _run(run: Json) -> Group:
    header = ("layer", "accuracy", "control task", "selectivity", "control, trained on", "probes of all on")
    rows = [
        (
            str(layer),
            share(run["accuracy"][layer]),
            _percent(run["control"][layer]),
            "{:+.0%} ({:+.0%} to {:+.0%})".format(selective["difference"], *selective["interval"]),
            _percent(run["control_trained"][layer]),
            _percent(run["transferred"][layer]) if run["transferred"] else "-",
        )
        for layer, selective in enumerate(run["selectivity"])
    ]
    return Group(tables.line(f"Probes, {run['condition']}"), tables.columns(header, rows, header[:1]))


def _erased(erased: Json) -> Group:
    facts = [
        ("accuracy before", share(erased["before"])),
        ("accuracy after", share(erased["after"])),
        ("control task after", share(erased["control"])),
        ("R(Z|K) (nats)", f"{erased['kernel_before']:.1f} to {erased['kernel_after']:.1f}"),
        ("half of neighbours kept", _aligned(erased["geometry"]["half"])),
        ("a tenth", _aligned(erased["geometry"]["tenth"])),
    ]
    return Group(tables.line(f"{erased['target']} erased from the states of layer {erased['layer']} (KRaM)"), tables.pairs(facts))


def _percent(of: Json) -> str:
    return f"{of['k'] / of['n']:.0%}"


def _aligned(of: Json) -> str:
    return f"{of['score']:.2f} (chance {of['chance']:.2f})"
