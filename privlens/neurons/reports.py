"""Results about several neurons as JSON: what the commands print, and what the page saves."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from privlens import intervals
from privlens.neurons.coupled_records import Coupling, SwitchEffect
from privlens.neurons.entropy_records import ENTROPY_CAUTIONS, EntropyLaw
from privlens.neurons.probe_records import Erased, Geometry, Probes
from privlens.neurons.universal_records import UniversalAblation, Universality

Json = dict[str, Any]
MOST_UNIVERSAL = 10
"""Neurons that are listed by name."""


def coupled_report(coupling: Coupling) -> Json:
    """The object that `coupled` prints; neurons are [layer, index], best first."""
    return {
        "provenance": asdict(coupling.provenance),
        "categories": list(coupling.names),
        "k_top": coupling.k_top,
        "k_general": coupling.k_general,
        "first": [list(neuron) for neuron in coupling.first],
        "second": [list(neuron) for neuron in coupling.second],
        "coupled": [list(neuron) for neuron in coupling.coupled],
        "venn": asdict(coupling.venn),
        "overlap": asdict(coupling.overlap),
        "n_used": list(coupling.n_used),
        "n_measured": list(coupling.n_measured),
        "effects": [{**asdict(effect), "perplexity_ratio": effect.perplexity_ratio} for effect in coupling.effects],
        "random": _random_sets(coupling.effects),
    }


def _random_sets(effects: Sequence[SwitchEffect]) -> Json | None:
    """The mean rise in NLL over the random sets, and its t interval over the sets."""
    random = [effect for effect in effects if effect.set_name == "random"]
    if not random:
        return None
    rises = {
        side: [getattr(effect, side).after - getattr(effect, side).before for effect in random] for side in ("first", "second")
    }
    return {
        "n": len(random),
        **{side: {"rise": sum(values) / len(values), "interval": intervals.mean(values)} for side, values in rises.items()},
    }


def entropy_report(law: EntropyLaw) -> Json:
    """The object that `entropy-law` prints; of the secrets it has rows and numbers, no text."""
    return {
        **asdict(law.provenance),
        "line": law.line and asdict(law.line),
        "normalized": law.normalized and asdict(law.normalized),
        "of_items": law.of_items and asdict(law.of_items),
        "shuffled": law.shuffled,
        "p_value": law.p_value,
        "too_few": law.too_few,
        "groups": [asdict(group) for group in law.groups],
        "items": [asdict(item) for item in law.items],
        "cautions": list(ENTROPY_CAUTIONS),
    }


def probe_report(probes: Probes, stayed: Geometry | None = None, erased: Erased | None = None) -> Json:
    """The object that `probe` prints."""
    return {
        **asdict(probes.provenance),
        "target": probes.target,
        "kind": probes.kind,
        "classes": list(probes.classes),
        "n_train": probes.n_train,
        "n_test": probes.n_test,
        "n_left_out": probes.n_left_out,
        "majority": asdict(probes.majority),
        "runs": [
            {
                **asdict(run),
                "selectivity": [
                    {"difference": difference, "interval": list(interval)} for difference, interval in run.selectivity
                ],
            }
            for run in probes.runs
        ],
        "geometry": stayed
        and {name: list(map(asdict, layers)) for name, layers in zip(stayed.conditions, stayed.layers, strict=True)},
        "kram": erased and asdict(erased),
    }


def universal_report(result: Universality, top: int = MOST_UNIVERSAL) -> Json:
    """The object that `universal` prints; of single neurons only the most universal."""
    excess = result.excess
    order = np.argsort(-excess, axis=None, kind="stable")[: min(top, result.n_alive)]
    best = [divmod(int(flat), excess.shape[1]) for flat in order]
    return {
        **asdict(result.provenance),
        "other": result.other,
        "n_tokens": result.n_tokens,
        "n_alive": result.n_alive,
        "threshold": result.threshold,
        "mean_correlation": float(np.nanmean(result.correlation)),
        "mean_rotated": float(np.nanmean(result.rotated)),
        "universal": asdict(result.universal),
        "by_layer": [asdict(share) for share in result.by_layer],
        "contrast": result.contrast and asdict(result.contrast),
        "ablation": result.ablation and {**asdict(result.ablation), **_means(result.ablation)},
        "most_universal": [
            {
                "neuron": [layer, index],
                "partner": result.partner[layer, index].tolist(),
                "correlation": round(float(result.correlation[layer, index]), 4),
                "excess": round(float(excess[layer, index]), 4),
            }
            for layer, index in best
        ],
    }


def _means(ablation: UniversalAblation) -> Json:
    """Geometric means of the perplexity ratios."""
    return {f"mean_{name}": float(np.exp(np.mean(np.log(getattr(ablation, name))))) for name in ("universal", "others")}
