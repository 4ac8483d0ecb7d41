"""The effect of switching neurons off: on the secret, on the other secrets, and on ordinary text.

Every number is measured before and after, and also for the same number of random neurons. Gates are 0 or 1 here; the neurons are
chosen by `privlens.localization`.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from privlens.lm.gating import random_like
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score
from privlens.memorization import states
from privlens.memorization.candidates import SPACE_SIZE
from privlens.memorization.check import exposure_of, recall
from privlens.memorization.format_exposure import format_exposure_of
from privlens.outcomes import Comparison, ComparisonStep, CurvePoint, Effect, MemorizationState, Outcome, SweepRow, SweepStep
from privlens.provenance import provenance
from privlens.retained.others import other_secrets
from privlens.types import Neuron, NeuronScores, Secret, Site


@dataclass(frozen=True)
class EvalContext:
    """What the effect of switching neurons off is evaluated on besides the target, and how.

    Attributes:
        others: the other secrets. reference: paragraphs of ordinary text, may be empty. Neither should change.
        site: which activations have gates. seed: of the random neurons and the exposure's candidates.
        stop: called between batches. listed: the whole list, with the values that nobody trained on, which a lift is ranked
            among; the others if empty.
    """

    others: tuple[Secret, ...] = ()
    reference: tuple[str, ...] = ()
    site: Site = "mlp"
    seed: int = 0
    stop: Stop = never_stop
    listed: tuple[Secret, ...] = ()


def texts_before_and_after(
    lm: LanguageModel, secrets: Sequence[Secret], neurons: Sequence[Neuron], context: EvalContext
) -> list[tuple[str, str]]:
    """Greedy continuations of every prompt with all neurons on and with some off, all in ONE batch of two rows per prompt."""
    off = lm.off(neurons, context.site)
    gates = torch.cat([torch.ones_like(off), off]).repeat(len(secrets), 1, 1)
    twice = [secret for secret in secrets for _ in range(2)]
    texts = states.continuations(lm, twice, gates, site=context.site, stop=context.stop)
    return list(zip(texts[::2], texts[1::2], strict=True))


PROMPTS_AT_ONCE = 32
"""Prompts in one batch of generations; each takes two rows, before and after. More need more memory."""


def texts_in_batches(
    lm: LanguageModel, secrets: Sequence[Secret], neurons: Sequence[Neuron], context: EvalContext
) -> list[tuple[str, str]]:
    """The same for any number of secrets, PROMPTS_AT_ONCE in a batch."""
    batches = [secrets[start : start + PROMPTS_AT_ONCE] for start in range(0, len(secrets), PROMPTS_AT_ONCE)]
    return [texts for batch in batches for texts in texts_before_and_after(lm, batch, neurons, context)]


def gates_of(lm: LanguageModel, neurons: Sequence[Neuron], context: EvalContext) -> Tensor | None:
    """Gates [1, n_layers, width] that switch the neurons off; None if there are none, which needs no gates."""
    return lm.off(neurons, context.site) if neurons else None


def memorization_states(
    lm: LanguageModel, secrets: Sequence[Secret], neurons: Sequence[Neuron], context: EvalContext
) -> list[MemorizationState]:
    """The state of every secret with these neurons off; teacher-forced, without text."""
    return states.memorization_states(lm, secrets, gates_of(lm, neurons, context), site=context.site, stop=context.stop)


def effect_steps(lm: LanguageModel, target: Secret, neurons: Sequence[Neuron], context: EvalContext) -> Iterator[Effect]:
    """The effect on the target: first with texts and NLLs, then with exposure too, for which all candidate values are run.

    Raises:
        Cancelled: when `context.stop` returns true.
    """
    [texts] = texts_before_and_after(lm, [target], neurons, context)
    neuron_sets = ((), tuple(neurons))
    measured = [
        replace(memorization_states(lm, [target], off, context)[0], text=text)
        for off, text in zip(neuron_sets, texts, strict=True)
    ]
    yield Effect(target, *measured)
    with_exposure = [
        states.exposed(
            lm,
            [target],
            [state],
            gates_of(lm, off, context),
            site=context.site,
            others=context.listed or context.others,
            seed=context.seed,
            stop=context.stop,
        )[0]
        for off, state in zip(neuron_sets, measured, strict=True)
    ]
    yield Effect(target, *with_exposure)


def effect_on(lm: LanguageModel, target: Secret, neurons: Sequence[Neuron], context: EvalContext) -> Effect:
    """The target before and after, with exposure and both texts."""
    *_, effect = effect_steps(lm, target, neurons, context)
    return effect


def reference_perplexity(lm: LanguageModel, neurons: Sequence[Neuron], context: EvalContext) -> float | None:
    """exp(mean NLL in nats/token) of the reference text; None if there is none."""
    return states.perplexity(lm, context.reference, gates_of(lm, neurons, context), site=context.site, stop=context.stop)


def compare(lm: LanguageModel, target: Secret, neurons: Sequence[Neuron], context: EvalContext) -> Iterator[ComparisonStep]:
    """The effect of the neurons beside that of as many random ones. Yields the target's effect first, everything at the end.

    Copies of the target among the others are left out, and duplicates count once.

    Raises:
        BadInput: if a neuron does not exist. Cancelled: when `context.stop` returns true.
    """
    started = time.perf_counter()
    chosen = tuple(neurons)
    states.reference_ids(lm, context.reference)  # refuses an unusable reference text before any work
    context = replace(context, others=other_secrets(context.others, [target]))
    control = random_like(lm.widths(context.site), len(chosen), context.seed)
    effect = effect_on(lm, target, chosen, context)
    yield ComparisonStep(1, 5, "the target", effect)
    before = memorization_states(lm, context.others, (), context)
    perplexity = reference_perplexity(lm, (), context)
    yield ComparisonStep(2, 5, "the others and the reference text, all neurons on", effect)
    outcomes = []
    for step, (stage, off) in enumerate((("the chosen neurons off", chosen), ("random neurons off", control)), start=3):
        target_effect = effect if off == chosen else effect_on(lm, target, off, context)
        after = memorization_states(lm, context.others, off, context)
        others = tuple(map(Effect, context.others, before, after))
        outcomes.append(Outcome(off, target_effect, others, perplexity, reference_perplexity(lm, off, context)))
        yield ComparisonStep(step, 5, stage, effect)
    settings = {"site": context.site, "k": len(chosen), "n_others": len(context.others), "n_reference": len(context.reference)}
    result = Comparison(outcomes[0], outcomes[1], provenance(lm, context.seed, settings, started))
    yield ComparisonStep(5, 5, "done", effect, result)


def sweep_ks(n_neurons: int, largest_share: float = 0.05) -> list[int]:
    """About ten values of k from 1 to a share of all neurons, evenly spaced on a logarithmic axis, and 0."""
    largest = max(1, round(n_neurons * largest_share))
    return sorted({0} | {round(largest ** (step / 11)) for step in range(12)})


@dataclass(frozen=True, eq=False)
class EvalBaseline:
    """The baseline of a curve: the other secrets that the model knows with all neurons on, and its perplexity."""

    known: tuple[Secret, ...]
    perplexity: float | None


def eval_baseline(lm: LanguageModel, context: EvalContext) -> EvalBaseline:
    """Measures the context with all neurons on."""
    return EvalBaseline(states.known(lm, context.others, stop=context.stop), reference_perplexity(lm, (), context))


def states_of(
    lm: LanguageModel, target: Secret, neuron_sets: Sequence[Sequence[Neuron]], context: EvalContext
) -> list[MemorizationState]:
    """The state of the target with each set of neurons off: ONE batch, a row of gates per set."""
    encoded = lm.encode(target)
    gates = torch.cat([lm.off(off, context.site) for off in neuron_sets])
    scored = score(lm, [encoded] * len(gates), gates, site=context.site, stop=context.stop)
    return [recall(lm, encoded, value_score) for value_score in scored]


def curve(
    lm: LanguageModel, target: Secret, neuron_sets: Sequence[Sequence[Neuron]], context: EvalContext, before: EvalBaseline
) -> Iterator[CurvePoint]:
    """The effect of switching each set of neurons off, one set after the other.

    Raises:
        BadInput: if a neuron does not exist. Cancelled: when `context.stop` returns true.
    """
    for off, state in zip(neuron_sets, states_of(lm, target, neuron_sets, context), strict=True):
        yield complete_point(lm, target, off, target_point(off, state), context, before)


def target_point(off: Sequence[Neuron], state: MemorizationState) -> CurvePoint:
    """A point with measurements of the target alone, without its exposure: the cheap part."""
    return CurvePoint(
        k=len(off),
        target_match=state.greedy_match,
        target_nll=state.nll,
        target_logprob=state.logprob,
        target_exposure=None,
        others_kept=None,
        perplexity_ratio=None,
    )


def complete_point(
    lm: LanguageModel,
    target: Secret,
    off: Sequence[Neuron],
    point: CurvePoint,
    context: EvalContext,
    before: EvalBaseline,
    n_candidates: int = SPACE_SIZE,
) -> CurvePoint:
    """The point with the target's exposures, the others and the reference text added.

    Args:
        n_candidates: values that the exposure is among, and draws that the exposure in the whole format is estimated from.
    """
    kept, ratio = _context_kept(lm, off, context, before)
    gates = lm.off(off, context.site)
    exposure = exposure_of(lm, target, gates=gates, site=context.site, seed=context.seed, stop=context.stop, size=n_candidates)
    in_format = format_exposure_of(
        lm, target, gates=gates, site=context.site, seed=context.seed, stop=context.stop, n_draws=n_candidates
    )
    return replace(point, target_exposure=exposure, target_format_exposure=in_format, others_kept=kept, perplexity_ratio=ratio)


def sweep(
    lm: LanguageModel, target: Secret, scores: NeuronScores, ks: Sequence[int], context: EvalContext
) -> Iterator[SweepStep]:
    """The effect of the best k neurons on target, others and reference for every k, beside random ones. Yields after every k."""
    widths = lm.widths(context.site)
    random_sets = [random_like(widths, k, context.seed) for k in ks]
    random_states = states_of(lm, target, random_sets, context)
    before = eval_baseline(lm, context)
    points = curve(lm, target, [scores.top(k) for k in ks], context, before)
    rows: list[SweepRow] = []
    for point, random_off, random_state in zip(points, random_sets, random_states, strict=True):
        random_kept, random_ratio = _context_kept(lm, random_off, context, before)
        row = SweepRow(
            k=point.k,
            share=point.k / sum(widths),
            target_match=point.target_match,
            target_nll=point.target_nll,
            target_logprob=point.target_logprob,
            target_exposure=point.target_exposure,
            target_format_exposure=point.target_format_exposure,
            others_kept=point.others_kept,
            perplexity_ratio=point.perplexity_ratio,
            random_nll=random_state.nll,
            random_logprob=random_state.logprob,
            random_kept=random_kept,
            random_perplexity_ratio=random_ratio,
        )
        rows.append(row)
        yield SweepStep(len(rows), len(ks), tuple(rows))


def _context_kept(
    lm: LanguageModel, off: Sequence[Neuron], context: EvalContext, before: EvalBaseline
) -> tuple[float | None, float | None]:
    """Share of the known others that still match, and the perplexity ratio; None for either if there is nothing to measure."""
    kept = states.kept(lm, before.known, gates_of(lm, off, context), site=context.site, stop=context.stop)
    return kept, states.ratio(reference_perplexity(lm, off, context), before.perplexity)
