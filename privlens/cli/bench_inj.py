"""`python -m privlens bench inj`: which method finds planted neurons?"""

import sys
from typing import Annotated, Any

import typer

from privlens.benchmarks import injection
from privlens.benchmarks.planting import PlantSettings
from privlens.errors import BadInput
from privlens.localization import METHODS
from privlens.models.loading import load


def measured(
    model: str, device: str, dtype: str, ratio: float, methods: str, n: int, seed: int, planting: str, steps: int
) -> dict[str, Any]:
    """The object that the command prints. Raises BadInput for a method, ratio or planting that does not exist."""
    asked = list(METHODS) if methods == "all" else [name.strip() for name in methods.split(",") if name.strip()]
    for name in asked:
        if name not in METHODS:
            raise BadInput(f"There is no method {name!r}: use all, or {', '.join(METHODS)}.")
    if planting not in ("fair", "published"):
        raise BadInput(f"There is no planting {planting!r}: use fair or published.")
    if not 0 < ratio < 1:
        raise BadInput(f"--ratio is {ratio}, but must be above 0 and below 1; 0.001 is one neuron in a thousand.")
    lm, settings = load(model, device, dtype), PlantSettings(ratio, planting == "fair", steps)
    results = []
    for result in injection.run(lm, asked, settings, n, seed, lambda line: print(line, file=sys.stderr, flush=True)):
        results.append(result)
    return {
        "rows": injection.summary(results, ratio, lm.n_neurons, seed),
        "settings": {
            "model": lm.name, "fingerprint": lm.fingerprint, "ratio": ratio, "planting": planting, "n": n, "seed": seed,
            "steps": steps, "until_nll": settings.until, "learning_rate": settings.rate, "retained": "none listed",
            "resamples": injection.RESAMPLES, "device": str(lm.device),
            "reached": sum(planted.greedy_match for planted, _ in results),
        },
        "plants": [injection.described(planted) for planted, _ in results],
    }  # fmt: skip


Ratio = Annotated[float, typer.Option(help="Share of all neurons to plant in.")]
Planting = Annotated[str, typer.Option(help="fair (norms stay) or published (output vectors grow).")]
