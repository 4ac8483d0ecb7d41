"""What it does to a model that some neurons are off: to the secret, to the other secrets, to ordinary text.

Every number comes before and after, and beside it the same for as many random neurons. Gates here are 0 or 1; which neurons
to choose is the localization room's business.
"""

import random
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score
from privlens.memorization import states
from privlens.memorization.candidates import SPACE_SIZE
from privlens.memorization.check import exposure_of, recall
from privlens.outcomes import Comparison, ComparisonStep, CurvePoint, Effect, MemorizationState, Outcome, SweepRow, SweepStep
from privlens.provenance import provenance
from privlens.retained.others import other_secrets
from privlens.types import Neuron, NeuronScores, Secret, Site


@dataclass(frozen=True)
class EvalContext:
    """What should not change when a target is switched off.

    Attributes:
        others: the other secrets. reference: paragraphs of ordinary text, may be empty.
        site, seed, stop: where the gates stand, what random neurons and candidates depend on, asked between batches.
    """

    others: tuple[Secret, ...] = ()
    reference: tuple[str, ...] = ()
    site: Site = "mlp"
    seed: int = 0
    stop: Stop = never_stop


def random_like(widths: Sequence[int], k: int, seed: int) -> tuple[Neuron, ...]:
    """The control: k different neurons drawn evenly from all layers, of these widths. Raises BadInput where there are fewer."""
    if not 0 <= k <= sum(widths):
        raise BadInput(f"{k} neurons were asked for, but this model has {sum(widths)}.")
    ends = list(accumulate(widths))
    drawn = random.Random(seed).sample(range(sum(widths)), k)
    layers = [bisect_right(ends, flat) for flat in drawn]
    return tuple(Neuron(layer, flat - ends[layer] + widths[layer]) for layer, flat in zip(layers, drawn, strict=True))


def texts_before_and_after(
    lm: LanguageModel, secrets: Sequence[Secret], neurons: Sequence[Neuron], around: EvalContext
) -> list[tuple[str, str]]:
    """Greedy continuations of every prompt with all neurons on and with some off, all in ONE batch of two rows a prompt."""
    off = lm.off(neurons, around.site)
    gates = torch.cat([torch.ones_like(off), off]).repeat(len(secrets), 1, 1)
    twice = [secret for secret in secrets for _ in range(2)]
    texts = states.continuations(lm, twice, gates, site=around.site, stop=around.stop)
    return list(zip(texts[::2], texts[1::2], strict=True))


def gates_of(lm: LanguageModel, neurons: Sequence[Neuron], around: EvalContext) -> Tensor | None:
    """Gates [1, n_layers, width] that switch them off; None for no neurons, which needs no gates."""
    return lm.off(neurons, around.site) if neurons else None


def recalls(
    lm: LanguageModel, secrets: Sequence[Secret], neurons: Sequence[Neuron], around: EvalContext
) -> list[MemorizationState]:
    """What remains of every secret with these neurons off; teacher-forced, without text."""
    return states.recalls(lm, secrets, gates_of(lm, neurons, around), site=around.site, stop=around.stop)


def effect_steps(lm: LanguageModel, target: Secret, neurons: Sequence[Neuron], around: EvalContext) -> Iterator[Effect]:
    """The answer to a click: at once both texts and NLLs, then exposure too, for which all values must be run.

    Raises:
        Cancelled: when `around.stop` said so.
    """
    [texts] = texts_before_and_after(lm, [target], neurons, around)
    choices = ((), tuple(neurons))
    found = [replace(recalls(lm, [target], off, around)[0], text=text) for off, text in zip(choices, texts, strict=True)]
    yield Effect(target, *found)
    whole = [
        states.exposed(lm, [target], [one], gates_of(lm, off, around), site=around.site, seed=around.seed, stop=around.stop)[0]
        for off, one in zip(choices, found, strict=True)
    ]
    yield Effect(target, *whole)


def effect_on(lm: LanguageModel, target: Secret, neurons: Sequence[Neuron], around: EvalContext) -> Effect:
    """The target before and after, with exposure and both texts."""
    *_, effect = effect_steps(lm, target, neurons, around)
    return effect


def reference_perplexity(lm: LanguageModel, neurons: Sequence[Neuron], around: EvalContext) -> float | None:
    """exp(mean NLL in nats/token) of the reference text; None without one."""
    return states.perplexity(lm, around.reference, gates_of(lm, neurons, around), site=around.site, stop=around.stop)


def compare(lm: LanguageModel, target: Secret, neurons: Sequence[Neuron], around: EvalContext) -> Iterator[ComparisonStep]:
    """The neurons off beside as many random ones off. Yields the target's effect first, the whole at the end.

    A copy of the target among the others is left out, and one of another counts once.

    Raises:
        BadInput: for a neuron that does not exist. Cancelled: when `around.stop` said so.
    """
    started, chosen = time.perf_counter(), tuple(neurons)
    states.reference_ids(lm, around.reference)  # what is refused is refused before any work
    around = replace(around, others=other_secrets(around.others, [target]))
    control = random_like(lm.widths(around.site), len(chosen), around.seed)
    effect = effect_on(lm, target, chosen, around)
    yield ComparisonStep(1, 5, "the target", effect)
    before = recalls(lm, around.others, (), around)
    perplexity = reference_perplexity(lm, (), around)
    yield ComparisonStep(2, 5, "the others and the reference text, all neurons on", effect)
    outcomes = []
    for step, (stage, off) in enumerate((("the chosen neurons off", chosen), ("random neurons off", control)), start=3):
        own = effect if off == chosen else effect_on(lm, target, off, around)
        after = recalls(lm, around.others, off, around)
        others = tuple(map(Effect, around.others, before, after))
        outcomes.append(Outcome(off, own, others, perplexity, reference_perplexity(lm, off, around)))
        yield ComparisonStep(step, 5, stage, effect)
    settings = {"site": around.site, "k": len(chosen), "n_others": len(around.others), "n_reference": len(around.reference)}
    result = Comparison(outcomes[0], outcomes[1], provenance(lm, around.seed, settings, started))
    yield ComparisonStep(5, 5, "done", effect, result)


def sweep_ks(n_neurons: int, largest_share: float = 0.05) -> list[int]:
    """Ten or so values of k from 1 to a share of all neurons, evenly spaced on a logarithmic axis."""
    largest = max(1, round(n_neurons * largest_share))
    return sorted({0} | {round(largest ** (step / 11)) for step in range(12)})


@dataclass(frozen=True, eq=False)
class AllOn:
    """What a curve is held against: the other secrets that the model knows with all neurons on, and its perplexity."""

    known: tuple[Secret, ...]
    perplexity: float | None


def all_on(lm: LanguageModel, around: EvalContext) -> AllOn:
    """Measures the surroundings with all neurons on."""
    return AllOn(states.known(lm, around.others, stop=around.stop), reference_perplexity(lm, (), around))


def states_of(
    lm: LanguageModel, target: Secret, choices: Sequence[Sequence[Neuron]], around: EvalContext
) -> list[MemorizationState]:
    """What remains of the target with each choice of neurons off: ONE batch, a row of gates each."""
    encoded = lm.encode(target)
    gates = torch.cat([lm.off(off, around.site) for off in choices])
    scored = score(lm, [encoded] * len(gates), gates, site=around.site, stop=around.stop)
    return [recall(lm, encoded, one) for one in scored]


def curve(
    lm: LanguageModel, target: Secret, choices: Sequence[Sequence[Neuron]], around: EvalContext, before: AllOn
) -> Iterator[CurvePoint]:
    """What every choice of neurons does when it is off, one after the other.

    Raises:
        BadInput: for a neuron that does not exist. Cancelled: when `around.stop` said so.
    """
    for off, own in zip(choices, states_of(lm, target, choices, around), strict=True):
        yield whole_point(lm, target, off, point_of(off, own), around, before)


def point_of(off: Sequence[Neuron], own: MemorizationState) -> CurvePoint:
    """A point of which the target alone was measured, without its exposure: the cheap part."""
    return CurvePoint(len(off), own.greedy_match, own.nll, None, None, None)


def whole_point(
    lm: LanguageModel,
    target: Secret,
    off: Sequence[Neuron],
    begun: CurvePoint,
    around: EvalContext,
    before: AllOn,
    n_candidates: int = SPACE_SIZE,
) -> CurvePoint:
    """The same point with the target's exposure among so many candidates, the others and the reference text."""
    kept, ratio = _surroundings_kept(lm, off, around, before)
    gates = lm.off(off, around.site)
    exposure = exposure_of(lm, target, gates=gates, site=around.site, seed=around.seed, stop=around.stop, size=n_candidates)
    return replace(begun, target_exposure=exposure, others_kept=kept, perplexity_ratio=ratio)


def sweep(lm: LanguageModel, target: Secret, scores: NeuronScores, ks: Sequence[int], around: EvalContext) -> Iterator[SweepStep]:
    """The effect of the best k neurons for every k, target, others and reference, beside random ones. Yields after every k."""
    widths = lm.widths(around.site)
    floor = [random_like(widths, k, around.seed) for k in ks]
    of_floor = states_of(lm, target, floor, around)
    before = all_on(lm, around)
    points = curve(lm, target, [scores.top(k) for k in ks], around, before)
    rows: list[SweepRow] = []
    for one, random_off, state in zip(points, floor, of_floor, strict=True):
        kept, ratio = _surroundings_kept(lm, random_off, around, before)
        rows.append(
            SweepRow(
                one.k,
                one.k / sum(widths),
                one.target_match,
                one.target_nll,
                one.target_exposure,
                one.others_kept,
                one.perplexity_ratio,
                state.nll,
                kept,
                ratio,
            )
        )
        yield SweepStep(len(rows), len(ks), tuple(rows))


def _surroundings_kept(
    lm: LanguageModel, off: Sequence[Neuron], around: EvalContext, before: AllOn
) -> tuple[float | None, float | None]:
    """Share of the known others that still match, and the perplexity ratio; None where there is nothing to keep."""
    kept = states.kept(lm, before.known, gates_of(lm, off, around), site=around.site, stop=around.stop)
    return kept, states.ratio(reference_perplexity(lm, off, around), before.perplexity)
