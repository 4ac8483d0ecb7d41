"""The JSON objects that the commands print and that the page gives as files, built from records."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from privlens.lm.model import LanguageModel
from privlens.localization import unit_of
from privlens.localization.aggregate import chance_overlap, overlap
from privlens.memorization.depth import depth, finite
from privlens.memorization.extraction import log10_tries
from privlens.memorization.whose import listed_owner
from privlens.method_comparison import MethodComparison
from privlens.outcomes import (
    Attack,
    Comparison,
    CurvePoint,
    Effect,
    EraseOrHide,
    ErasureStep,
    KeptCount,
    MemorizationState,
    Outcome,
)
from privlens.retained.others import kept_counts, key_of
from privlens.types import Exposure, Memorization, NeuronScores, Provenance, Secret

Json = dict[str, Any]


def memorization(checked: Memorization, control: Memorization | None, provenance: Provenance) -> Json:
    """The object that `check` prints; `control` is a value that nobody trained on, null where there is none."""
    fields = asdict(checked)
    for name in ("exposure", "format_exposure", "lift", "sampled_logprob"):
        del fields[name]
    of_control = None
    if control:
        of_control = {**_secret(control.secret), **_numbers(control), **_exposure(control.exposure), **_sampled(control)}
    return {
        **asdict(provenance),
        **fields.pop("secret"),
        **fields,
        **_exposure(checked.exposure),
        **depth(checked),
        **_sampled(checked),
        "control": of_control,
    }


CHANCES = (0.1, 0.5, 0.9, 0.99)


def _sampled(checked: Memorization) -> Json:
    """How many samples it takes at the temperature and top_k of the check; null for never."""
    logprob = checked.sampled_logprob
    return {
        "sampled_logprob": finite(logprob),
        "log10_tries_for_chance": {f"{chance:g}": finite(log10_tries(logprob, chance)) for chance in CHANCES},
    }


def localization(scores: NeuronScores, target: Secret, k: int, retained: Sequence[Secret]) -> Json:
    """The object that `localize` prints and `deactivate` reads; neurons are [layer, index, score], best first.

    Of the other secrets that were retained it holds only the keys, by which `deactivate` recognizes them.
    """
    neurons = [[layer, index, round(float(scores.scores[layer, index]), 6)] for layer, index in scores.top(k)]
    return {
        "method": scores.method,
        **asdict(scores.provenance),
        "site": scores.site,
        "target": _secret(target),
        "retained": [key_of(secret) for secret in retained],
        "n_neurons": scores.n_neurons,
        "suggested_k": scores.suggested_k,
        "k": len(neurons),
        "neurons": neurons,
    }


def comparison(
    result: Comparison, texts: Sequence[tuple[str, str]], retained: Sequence[Secret] | None, listed: Sequence[Secret] = ()
) -> Json:
    """The object that `deactivate` prints.

    Args:
        texts: the others' texts, before and after. retained: those of the others that the method was given; None if unknown.
        listed: all rows of the list: the text written in place of the target may be another row's value.
    """
    chosen = _outcome(result.chosen, retained)
    chosen["target"]["after"]["listed_owner"] = owner(result.chosen.target, listed)
    for secret, (before, after) in zip(chosen["others"], texts, strict=True):
        secret["before"]["text"] = before
        secret["after"]["text"] = after
    return {**asdict(result.provenance), **chosen, "random": _outcome(result.random, retained)}


def erasure(
    last: ErasureStep,
    effects: Sequence[Effect],
    unseen: KeptCount,
    seen: KeptCount,
    attacks: Sequence[Attack],
    shifts: Sequence[EraseOrHide],
    out: str,
    listed: Sequence[Secret] = (),
) -> Json:
    """The object that `erase` prints.

    Of the other secrets that matched before, `unseen` counts those that the method never saw, `seen` those that it was given to
    retain, and `memorized` and `kept` all of them. `listed` are all rows of the list: the text written in place of a target may
    be another row's value.
    """
    assert last.result
    targets = [_effect(effect) for effect in effects]
    for target, effect in zip(targets, effects, strict=True):
        target["after"]["listed_owner"] = owner(effect, listed)
    edit = last.result
    return {
        **asdict(edit.provenance),
        "ended": last.ended,
        "steps": edit.provenance.settings["steps_taken"],
        "n_weights": edit.n_weights,
        "changed": {name: len(change.indices) for name, change in edit.changes.items()},
        "entropy": last.entropy,
        "targets": targets,
        "memorized": unseen.known + seen.known,
        "kept": unseen.kept + seen.kept,
        "unseen": _count(unseen),
        "seen": _count(seen),
        "perplexity_ratio": last.perplexity_ratio,
        **attacks_on(attacks, shifts),
        "edit": out,
    }


def attacks_on(attacks: Sequence[Attack], shifts: Sequence[EraseOrHide]) -> Json:
    """The part of it that attacks give: what each found, and whether each target was erased or hidden."""
    return {
        "attacks": [{**asdict(attack), "ran": attack.ran, "found_something": attack.found_something} for attack in attacks],
        "erase_or_hide": [{**asdict(record), "hidden_share": record.shift.hidden_share} for record in shifts],
    }


def applied(lm: LanguageModel, provenance: Provenance, folder: str) -> Json:
    """The object that `apply` prints: what was written to which folder, and the fingerprint of the edited model."""
    return {**asdict(provenance), "fingerprint_applied": lm.fingerprint, "folder": folder}


def method_comparison(result: MethodComparison, k: int) -> Json:
    """The object that `compare` prints: a row for every method and measured k, and the overlap of the best k."""
    scores = [measured.scores for measured in result.methods]
    n_neurons = scores[0].n_neurons
    return {
        **asdict(result.provenance),
        "target": _secret(result.target),
        "n_neurons": n_neurons,
        "methods": [
            {
                "method": of_method.method,
                "unit": unit_of(of_method.method),
                "suggested_k": of_method.suggested_k,
                "seconds": of_method.provenance.seconds,
            }
            for of_method in scores
        ],
        "overlap": {
            "k": k,
            "chance": chance_overlap(n_neurons, k),
            "methods": [of_method.method for of_method in scores],
            "jaccard": [[round(float(index), 6) for index in row] for row in overlap(scores, k)],
        },
        "rows": [
            {"method": measured.scores.method, "share": point.k / n_neurons, **_point(point)}
            for measured in result.methods
            for point in measured.curve
        ],
    }


def _outcome(outcome: Outcome, retained: Sequence[Secret] | None) -> Json:
    """`unseen` counts the others that the method never saw, `seen` the rest; both null where it is unknown which are which."""
    unseen, seen = (None, None) if retained is None else map(_count, kept_counts(outcome, retained))
    return {
        "neurons": [list(neuron) for neuron in outcome.neurons],
        "target": _effect(outcome.target),
        "others": [_effect(effect) for effect in outcome.others],
        "memorized": outcome.memorized,
        "kept": outcome.kept,
        "unseen": unseen,
        "seen": seen,
        "perplexity": {
            "before": outcome.perplexity_before,
            "after": outcome.perplexity_after,
            "ratio": outcome.perplexity_ratio,
        },
    }


def _count(count: KeptCount) -> Json:
    return {"memorized": count.known, "kept": count.kept}


def _exposure(exposure: Exposure) -> Json:
    """The first three are null where no other value has the format; the candidates are the values of the space, its own too.

    They are not fair if the value is made of words.
    """
    return {
        "exposure_bits": exposure.bits,
        "max_exposure_bits": exposure.max_bits,
        "chance_exposure_bits": exposure.chance_bits,
        "n_candidates": exposure.n,
        "candidates_are_fair": exposure.fair,
    }


def _point(point: CurvePoint) -> Json:
    """Of the exposure only the bits: all points of a comparison share one candidate space, which is in its settings."""
    bits = point.target_exposure and point.target_exposure.bits
    return {
        "k": point.k,
        "target_match": point.target_match,
        "target_nll": point.target_nll,
        "target_logprob": point.target_logprob,
        "target_log10_tries": finite(log10_tries(point.target_logprob)),
        "target_format_bits": point.target_format_exposure and point.target_format_exposure.bits,
        "target_exposure_bits": bits,
        "others_kept": point.others_kept,
        "perplexity_ratio": point.perplexity_ratio,
    }


def _secret(secret: Secret) -> Json:
    return {"prompt": secret.prompt, "value": secret.value, "category": secret.category}


def _numbers(state: MemorizationState | Memorization) -> Json:
    return {"greedy_match": state.greedy_match, "nll": state.nll, "memorization_accuracy": state.memorization_accuracy}


def _effect(effect: Effect) -> Json:
    return {**_secret(effect.secret), "before": _state(effect.before), "after": _state(effect.after)}


def owner(effect: Effect, listed: Sequence[Secret]) -> Json | None:
    """The other row whose value is written in place of the target's; null where there is none."""
    match = listed_owner(effect.after.text, effect.secret, listed)
    if match is None:
        return None
    return {"row": match.row, **_secret(match.secret), "match": match.kind, "similarity": round(match.similarity, 1)}


def _state(state: MemorizationState) -> Json:
    """Exposure and text are left out where they were not measured, as for the others."""
    if state.exposure is None:
        return {**_numbers(state), "logprob": state.logprob, "log10_tries": finite(log10_tries(state.logprob))}
    measured = {**_exposure(state.exposure), **depth(state), "forgotten": state.forgotten, "text": state.text}
    return {**_numbers(state), **measured}
