"""The JSON objects that the commands print, made of records. Computes nothing."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from privlens.localization import unit_of
from privlens.localization.aggregate import chance_overlap, overlap
from privlens.method_comparison import MethodComparison
from privlens.models.language_model import LanguageModel
from privlens.outcomes import Attack, Comparison, Effect, ErasureStep, Outcome, Recall
from privlens.records import Memorization, NeuronScores, Provenance, Secret

Json = dict[str, Any]


def memorization(found: Memorization, control: Memorization | None, provenance: Provenance) -> Json:
    """The object that `check` prints; the control's value is one that nobody trained on, null where there is none."""
    own = asdict(found)
    beside = None if control is None else {**_secret(control.secret), **_numbers(control), "exposure_bits": control.exposure_bits}
    return {**asdict(provenance), **own.pop("secret"), **own, "control": beside}


def localization(scores: NeuronScores, target: Secret, k: int) -> Json:
    """The object that `localize` prints and `deactivate` reads; neurons are [layer, index, score], best first."""
    neurons = [[layer, index, round(float(scores.scores[layer, index]), 6)] for layer, index in scores.top(k)]
    return {
        "method": scores.method,
        **asdict(scores.provenance),
        "site": scores.site,
        "target": _secret(target),
        "n_neurons": scores.n_neurons,
        "natural_k": scores.natural_k,
        "k": len(neurons),
        "neurons": neurons,
    }


def comparison(result: Comparison, texts: Sequence[tuple[str, str]]) -> Json:
    """The object that `deactivate` prints; texts are those of the others, before and after."""
    chosen = _outcome(result.chosen)
    for other, (before, after) in zip(chosen["others"], texts, strict=True):
        other["before"]["text"], other["after"]["text"] = before, after
    return {**asdict(result.provenance), **chosen, "random": _outcome(result.random)}


def erasure(last: ErasureStep, effects: Sequence[Effect], memorised: int, attacks: Sequence[Attack], out: str) -> Json:
    """The object that `erase` prints; `kept` and `memorised` count the other secrets that matched before."""
    assert last.result
    edit = last.result
    return {
        **asdict(edit.provenance),
        "ended": last.ended,
        "steps": edit.provenance.settings["steps_taken"],
        "n_weights": edit.n_weights,
        "changed": {name: len(change.indices) for name, change in edit.changes.items()},
        "entropy": last.entropy,
        "targets": [_effect(effect) for effect in effects],
        "memorised": memorised,
        "kept": None if last.kept is None else round(last.kept * memorised),
        "perplexity_ratio": last.perplexity_ratio,
        "attacks": [
            {**asdict(attack), "ran": attack.ran, "found_something": attack.found_something} for attack in attacks
        ],
        "edit": out,
    }


def applied(lm: LanguageModel, provenance: Provenance, folder: str) -> Json:
    """The object that `apply` prints: what went into which folder, and the fingerprint under which it was measured here."""
    return {**asdict(provenance), "fingerprint_applied": lm.fingerprint, "folder": folder}


def method_comparison(result: MethodComparison, k: int) -> Json:
    """The object that `compare` prints: a row for every method and k that was measured, and the overlap of the best k."""
    scores = [one.scores for one in result.methods]
    n_neurons = scores[0].n_neurons
    return {
        **asdict(result.provenance),
        "target": _secret(result.target),
        "n_neurons": n_neurons,
        "methods": [
            {"method": one.method, "unit": unit_of(one.method), "natural_k": one.natural_k, "seconds": one.provenance.seconds}
            for one in scores
        ],
        "overlap": {
            "k": k,
            "chance": chance_overlap(n_neurons, k),
            "methods": [one.method for one in scores],
            "jaccard": [[round(float(one), 6) for one in row] for row in overlap(scores, k)],
        },
        "rows": [
            {"method": one.scores.method, "share": point.k / n_neurons, **asdict(point)}
            for one in result.methods for point in one.curve
        ],
    }  # fmt: skip


def _outcome(outcome: Outcome) -> Json:
    return {
        "neurons": [list(neuron) for neuron in outcome.neurons],
        "target": _effect(outcome.target),
        "others": [_effect(effect) for effect in outcome.others],
        "memorised": outcome.memorised,
        "kept": outcome.kept,
        "perplexity": {
            "before": outcome.perplexity_before,
            "after": outcome.perplexity_after,
            "ratio": outcome.perplexity_ratio,
        },
    }


def _secret(secret: Secret) -> Json:
    return {"prompt": secret.prompt, "value": secret.value, "category": secret.category}


def _numbers(state: Recall | Memorization) -> Json:
    return {"greedy_match": state.greedy_match, "nll": state.nll, "memorization_accuracy": state.memorization_accuracy}


def _effect(effect: Effect) -> Json:
    return {**_secret(effect.secret), "before": _state(effect.before), "after": _state(effect.after)}


def _state(state: Recall) -> Json:
    """The others are measured without exposure and text; what was not measured is left out."""
    measured = {"exposure_bits": state.exposure_bits, "text": state.text} if state.exposure_bits is not None else {}
    return {**_numbers(state), **measured}
