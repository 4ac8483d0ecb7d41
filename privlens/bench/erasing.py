"""Erasing from the weights: is the target gone, and what else is lost, at equal forgetting for all methods?

Forget texts are drawn by the seed from the memorized secrets; the other memorized ones are split in two: the half called `seen`
may be retained text, `unseen` never is, and specificity is judged on it. Every method has the same steps, retained text and
stopping rule. A method's name followed by `:all` runs on all weights by Adam, without preconditioned steps.
"""

import random
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from privlens import intervals
from privlens.bench.journal import Journal
from privlens.bench.timing import peak_mb
from privlens.deactivation import EvalContext, eval_baseline, memorization_states, reference_perplexity
from privlens.erasure import ErasureSettings, Request, erase, method_settings
from privlens.erasure.evaluate import EL_N
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.memorization.check import extraction_likelihoods
from privlens.memorization.extraction import log10_tries
from privlens.memorization.states import exposed
from privlens.outcomes import ErasureStep
from privlens.retained.others import other_secrets, unseen_of
from privlens.types import Edit, Secret

NOT_MEANS = ("method", "n_forget", "draw", "ended", "target_log10_tries", "forgotten", "n_judged")
"""Columns of a row whose mean over the draws says nothing, or something else."""
Reworded = Mapping[Secret, Sequence[str]]
"""Other prompts for a secret's value."""


@dataclass(frozen=True)
class ErasureRow:
    """One method on the forget texts of one `draw`, from 0. Rates and MA are shares in 0..1, `entropy` in nats.

    `perplexity_ratio` is that of the reference text, after / before.
    `reworded_match` is over all reworded prompts of the targets, None without any; `peak_memory_ratio` is the run's peak memory
    in addition to the model, measurements included, as a multiple of the model's weights, None if the system does not report it.
    `share_changed` is the share of all weights that differ: less than requested, if fewer contribute to the forget texts.
    `n_unseen` secrets were never shown to the method: `unseen_kept` is a multiple of 1 / n_unseen. `unseen_nll_rise` is how much
    their mean NLL rose, in nats/token: it distinguishes methods that keep the same few. `target_log10_tries` is the median over
    the targets; `forgotten` is over the `n_judged` of them that can be judged, None without any. `ended` says why the run ended.
    """

    method: str
    n_forget: int
    draw: int
    ended: str
    steps: int
    seconds: float
    share_changed: float
    target_match: float
    target_ma: float
    target_el: float
    target_exposure_bits: float | None
    target_log10_tries: float
    forgotten: float | None
    n_judged: int
    entropy: float
    seen_kept: float
    unseen_kept: float
    n_unseen: int
    unseen_nll_rise: float
    perplexity_ratio: float | None
    reworded_match: float | None
    peak_memory_ratio: float | None


@dataclass(frozen=True)
class ErasureTrial:
    """The secrets to forget, the other memorized ones in two halves, and the whole list."""

    forget: tuple[Secret, ...]
    seen: tuple[Secret, ...]
    unseen: tuple[Secret, ...]
    listed: tuple[Secret, ...] = ()


def trials(lm: LanguageModel, secrets: Sequence[Secret], n_forget: int, draws: int, seed: int) -> list[ErasureTrial]:
    """Draws of n_forget memorized secrets. Raises BadInput if fewer than two would be left to judge by."""
    memorized = eval_baseline(lm, EvalContext(other_secrets(secrets, ()), seed=seed)).known
    if len(memorized) < n_forget + 2:
        most = len(memorized) - 2
        raise BadInput(f"The model repeats {len(memorized)} of {len(secrets)} secrets: --forget can be at most {most}.")
    rng = random.Random(f"{seed} {n_forget}")
    drawn = []
    for _ in range(draws):
        order = rng.sample(memorized, len(memorized))
        forget = tuple(order[:n_forget])
        rest = other_secrets(order[n_forget:], forget)
        seen = rest[: len(rest) // 2]
        drawn.append(ErasureTrial(forget, seen, unseen_of(rest[len(rest) // 2 :], seen), tuple(secrets)))
    return drawn


def erased(lm: LanguageModel, trial: ErasureTrial, reference: Sequence[str], settings: ErasureSettings, seed: int) -> ErasureStep:
    """Runs an erasure to its end; the unseen half is not used."""
    request = Request(lm, trial.forget, trial.seen, reference=tuple(reference), settings=settings, seed=seed, listed=trial.listed)
    for step in erase(request):
        last = step
    return last


def measured(
    lm: LanguageModel, trial: ErasureTrial, edit: Edit, reworded: Reworded, reference: Sequence[str], seed: int
) -> dict[str, float | None]:
    """The columns of a row that describe the model under the edit: all but method, number, end and cost of a run."""
    view = lm.under(edit)
    context = EvalContext(reference=tuple(reference), seed=seed)
    states = memorization_states(view, trial.forget, (), context)
    encoded = [view.encode(secret) for secret in trial.forget]
    states = exposed(view, trial.forget, states, others=trial.listed, seed=seed)
    rewordings = [replace(secret, prompt=prompt, attached=None) for secret in trial.forget for prompt in reworded.get(secret, ())]
    before, after = (reference_perplexity(model, (), context) for model in (lm, view))

    def kept(secrets: Sequence[Secret]) -> float:
        return statistics.mean(state.greedy_match for state in memorization_states(view, secrets, (), context))

    unseen_before, unseen_after = (memorization_states(model, trial.unseen, (), context) for model in (lm, view))
    nll_rises = [later.nll - earlier.nll for earlier, later in zip(unseen_before, unseen_after, strict=True)]

    return {
        "target_match": statistics.mean(state.greedy_match for state in states),
        "target_ma": statistics.mean(state.memorization_accuracy for state in states),
        "target_el": statistics.mean(extraction_likelihoods(view, encoded, EL_N)),
        "target_exposure_bits": _mean([state.exposure.bits for state in states if state.exposure]),
        "target_log10_tries": statistics.median(log10_tries(state.logprob) for state in states),
        "forgotten": _mean([state.forgotten for state in states]),
        "n_judged": sum(state.forgotten is not None for state in states),
        "entropy": statistics.mean(entropy for scores in score(view, encoded) for entropy in scores.entropies),
        "seen_kept": kept(trial.seen),
        "unseen_kept": statistics.mean(state.greedy_match for state in unseen_after),
        "n_unseen": len(trial.unseen),
        "unseen_nll_rise": statistics.mean(nll_rises),
        "perplexity_ratio": after / before if after is not None and before is not None else None,
        "reworded_match": kept(rewordings) if rewordings else None,
    }


def run(
    lm: LanguageModel,
    secrets: Sequence[Secret],
    reworded: Reworded,
    reference: Sequence[str],
    methods: Sequence[str],
    n_forgets: Sequence[int],
    draws: int,
    settings: ErasureSettings,
    rate: float | None,
    seed: int,
    journal: Journal,
) -> Iterator[ErasureRow]:
    """A row for every method, number of forget texts and draw; those that the journal has are not computed again.

    The draws are the first of an endless row that the seed decides, so that a run may go on with more of them, or more methods.

    Args:
        rate: the learning rate; None for each method's own.
    """
    known = {(row["method"], row["n_forget"], row["draw"]): row for row in journal.rows}
    for n_forget in n_forgets:
        for draw, trial in enumerate(trials(lm, secrets, n_forget, draws, seed)):
            for method in methods:
                stored = known.get((method, n_forget, draw))
                if stored is None:
                    used = method_settings(method, settings, rate)
                    stored = journal.add(asdict(_row(lm, trial, method, used, reworded, reference, draw, seed)))
                yield ErasureRow(**stored)


def _row(
    lm: LanguageModel,
    trial: ErasureTrial,
    method: str,
    settings: ErasureSettings,
    reworded: Reworded,
    reference: Sequence[str],
    draw: int,
    seed: int,
) -> ErasureRow:
    """One method on one draw; its memory is watched."""
    steps: list[ErasureStep] = []
    peak = peak_mb(lambda: steps.append(erased(lm, trial, reference, settings, seed)))
    if not steps:  # the system does not report peaks, and nothing ran
        steps.append(erased(lm, trial, reference, settings, seed))
    edit = steps[0].result
    assert edit, "an erasure ends with its edit"
    model_mb = sum(weight.numel() * weight.element_size() for weight in lm.model.parameters()) / 2**20
    return ErasureRow(
        method=method,
        n_forget=len(trial.forget),
        draw=draw,
        ended=steps[0].ended,
        steps=int(edit.provenance.settings["steps_taken"]),
        seconds=edit.provenance.seconds,
        share_changed=edit.n_weights / lm.n_parameters,
        **measured(lm, trial, edit, reworded, reference, seed),  # type: ignore[arg-type]
        peak_memory_ratio=None if peak is None else peak / model_mb,
    )


def described(row: ErasureRow) -> str:
    """A line on a finished row."""
    share = "-" if row.forgotten is None else f"{row.forgotten:.2f}"
    target = f"match {row.target_match:.2f}, MA {row.target_ma:.2f}, forgotten {share}"
    unseen = f"unseen kept {row.unseen_kept:.2f}, their NLL {row.unseen_nll_rise:+.3f}"
    return f"{row.method} {row.n_forget}: {row.ended}; {target}; {unseen}"


def summary(rows: Sequence[ErasureRow]) -> list[dict[str, object]]:
    """Means over the `draws`, a row for each method and number of forget texts.

    `unseen_kept_interval` and `perplexity_ratio_interval` are 95 % intervals over the draws, None for a single one. The draws
    share the model and its secrets, so they say how much depends on which texts are drawn, and nothing about other models.
    `forgotten` is the share of all targets that could be judged, `forgotten_interval` its Clopper-Pearson interval, None without
    any, and `target_log10_tries` the median over the draws. `ended` counts the reasons why the runs ended.
    `unseen_nll_rise_beside_first` is such an interval of how much more (if negative, less) the unseen secrets' NLL rose than with
    the first method on the same draws; None for that one.
    """
    summaries: list[dict[str, object]] = []
    groups: dict[tuple[str, int], list[ErasureRow]] = {}
    for row in rows:
        groups.setdefault((row.method, row.n_forget), []).append(row)
    first = next((row.method for row in rows), "")
    for (method, n_forget), group in groups.items():
        numbers = [asdict(row) for row in group]
        means = {name: _mean([row[name] for row in numbers]) for name in numbers[0] if name not in NOT_MEANS}
        ratios = [row.perplexity_ratio for row in group if row.perplexity_ratio is not None]
        kept_interval = intervals.share([row.unseen_kept for row in group], statistics.mean(row.n_unseen for row in group))
        baseline = groups[first, n_forget]
        differences = [row.unseen_nll_rise - base.unseen_nll_rise for row, base in zip(group, baseline, strict=True)]
        summary_row: dict[str, object] = {
            "method": method,
            "n_forget": n_forget,
            "draws": len(group),
            **means,
            **_depth(group),
            "unseen_kept_interval": kept_interval,
            "perplexity_ratio_interval": intervals.mean(ratios),
            "unseen_nll_rise_beside_first": intervals.mean(differences) if method != first else None,
        }
        summaries.append(summary_row)
    return summaries


def _depth(group: Sequence[ErasureRow]) -> dict[str, object]:
    """How many of the targets were forgotten, how deep they are, and why the runs ended."""
    n_judged = sum(row.n_judged for row in group)
    n_forgotten = sum(round((row.forgotten or 0.0) * row.n_judged) for row in group)
    return {
        "target_log10_tries": statistics.median(row.target_log10_tries for row in group),
        "forgotten": n_forgotten / n_judged if n_judged else None,
        "n_judged": n_judged,
        "forgotten_interval": intervals.rate(n_forgotten, n_judged) if n_judged else None,
        "ended": dict(Counter(row.ended for row in group)),
    }


def _mean(numbers: Sequence[float | None]) -> float | None:
    """The mean without the Nones; None if nothing is left."""
    present = [number for number in numbers if number is not None]
    return statistics.mean(present) if present else None
