"""`python -m privlens bench inj` and `bench recall`: which method finds planted neurons?"""

import math
from dataclasses import asdict
from statistics import fmean
from typing import Annotated

import typer

from privlens.bench import injection
from privlens.cli import inputs, progress, tables
from privlens.cli.options import AsJson, Device, Dtype, Methods, Model, PerLayer, Seed, SkipLayers
from privlens.planting.plant import PlantSettings
from privlens.types import Secret
from privlens.zoo.catalogue import PLANTED
from privlens.zoo.loading import load
from privlens.zoo.planted import planted_truth

EDITS_HELP = "Also erase every plant by these methods, such as emso,revs: does the change of the weights reach its neurons?"


def inj(
    ratio: Annotated[float, typer.Option(help="Share of all neurons to plant in.")] = 0.001,
    methods: Methods = "gradient,contrastive-gradient",
    n: Annotated[int, typer.Option(min=1, help="Number of plants; the seed draws secrets and neurons.")] = 20,
    planting: Annotated[str, typer.Option(help="fair (norms stay) or published (output vectors grow).")] = "fair",
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each plant, at most.")] = 400,
    edits: Annotated[str, typer.Option(help=EDITS_HELP)] = "",
    per_layer: PerLayer = False,
    skip_layers: SkipLayers = 0,
    model: Model = "demo",
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: AsJson = False,
) -> None:
    """INJ: do methods find the neurons that a new sequence was planted in? Controls: random neurons, and norms of the weights."""
    method_names = inputs.methods(methods)
    edit_names = inputs.erasure_methods(edits) if edits else []
    fair = inputs.is_fair(planting)
    inputs.check_proportion(ratio, "--ratio")
    lm = load(model, device, dtype)
    choice = inputs.choice(per_layer, skip_layers, lm)
    settings = PlantSettings(ratio, fair, steps)
    results, erasures = [], []
    for planted, recalls in injection.run(lm, method_names, settings, n, seed, progress.report_progress, choice):
        results.append((planted, recalls))
        if edit_names:
            erasures.append(list(injection.erasures(lm, planted, edit_names, seed)))
            found = ", ".join(f"{edit.method} {edit.auc or math.nan:.3f}" for edit in erasures[-1])
            progress.report_progress(f"  AUC of edits: {found}")
    n_planted = fmean(len(planted.neurons) for planted, _ in results)
    report = {
        "rows": injection.summary([scores for _, scores in results], n_planted, ratio, lm.n_neurons),
        "settings": {
            "model": lm.name,
            "fingerprint": lm.fingerprint,
            "ratio": ratio,
            "planting": planting,
            "n": n,
            "seed": seed,
            "steps": steps,
            "until_nll": settings.until,
            "learning_rate": settings.rate,
            "retained": "none listed",
            **asdict(choice),
            "device": str(lm.device),
            "reached": sum(planted.greedy_match for planted, _ in results),
        },
        "plants": [injection.described(*result) for result in results],
    }
    if edit_names:
        report["edits"] = injection.erasure_summary(erasures, n_planted)
    tables.show(report, as_json, tables.measured)


def recall(
    methods: Methods = "active-token-gradient,token-gradient,gradient,activations",
    seed: Seed = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Do methods find each secret's own neurons in smollm2+planted, with all plants present at once? Beside three controls."""
    method_names = inputs.methods(methods)
    lm = load(PLANTED, device, "float32")
    truth = planted_truth()
    results = []
    secrets = [Secret(prompt, value) for prompt, value in truth]
    targeted = [method for method in method_names if method not in injection.CONTROLS]
    controls = list(injection.rankings(lm, secrets[0], injection.CONTROLS, seed))
    for secret, neurons in zip(secrets, truth.values(), strict=True):
        ranked = [*injection.rankings(lm, secret, targeted, seed), *controls]
        results.append([ranking.judged(neurons) for ranking in ranked])
        progress.report_progress(f"{secret.value}: " + ", ".join(f"{row.method} {row.recall[0]:.2f}" for row in results[-1]))
    n_planted = fmean(map(len, truth.values()))
    report = {
        "rows": injection.summary(results, n_planted, n_planted / lm.n_neurons, lm.n_neurons),
        "settings": {"model": lm.name, "fingerprint": lm.fingerprint, "seed": seed, "device": str(lm.device)},
        "plants": [
            {"prompt": secret.prompt, "value": secret.value, "methods": injection.found_by(recalls)}
            for secret, recalls in zip(secrets, results, strict=True)
        ],
    }
    tables.show(report, as_json, tables.measured)
