"""Erasing from the weights: is the target gone, what else went, at equal forgetting for all methods?

Forget texts are drawn by the seed from the memorized secrets; the other memorized ones are split in two: the half that is `seen`
may be retained text, `unseen` never is, and specificity is judged on it. Every method has the same steps, retained text and stop
rule. A method's name with `:all` behind it runs on all weights by Adam, without turned steps.
"""

import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from privlens import intervals
from privlens.bench.timing import peak_mb
from privlens.deactivation import EvalContext, all_on, recalls, reference_perplexity
from privlens.erasure import ErasureSettings, Request, erase, settings_of
from privlens.erasure.evaluate import EL_N
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.memorization.check import exposure_of, extraction_likelihoods
from privlens.outcomes import ErasureStep
from privlens.retained.others import other_secrets, unseen_of
from privlens.types import Edit, Secret, forgotten

Reworded = Mapping[Secret, Sequence[str]]
"""Other prompts for a secret's value."""


@dataclass(frozen=True)
class ErasureRow:
    """One method on some forget texts. Rates and MA are shares in 0..1, `entropy` in nats, `perplexity_ratio` after / before.

    `reworded_match` counts all reworded prompts of the targets, None without any; `peak_memory_ratio` is the most memory that the
    run took beside the model, measurements and all, as a multiple of the model's weights, None where the system does not tell.
    `share_changed` of all weights differ; fewer than were asked for, where fewer take part in what is to be forgotten.
    `n_unseen` secrets were never shown to the method: `unseen_kept` moves in steps of 1 / n_unseen. `unseen_nll_rise` is how much
    their mean NLL rose, nats/token: it tells methods apart that keep the same few. `forgotten` is the share of those targets with
    enough values of their format to judge it, None without any.
    """

    method: str
    n_forget: int
    steps: int
    seconds: float
    share_changed: float
    target_match: float
    target_ma: float
    target_el: float
    target_exposure_bits: float | None
    forgotten: float | None
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
    """What is to be forgotten, and the memorized rest in two halves."""

    forget: tuple[Secret, ...]
    seen: tuple[Secret, ...]
    unseen: tuple[Secret, ...]


def trials(lm: LanguageModel, secrets: Sequence[Secret], n_forget: int, draws: int, seed: int) -> list[ErasureTrial]:
    """Draws of n_forget memorized secrets. Raises BadInput where fewer than two would be left to judge by."""
    memorized = all_on(lm, EvalContext(other_secrets(secrets, ()), seed=seed)).known
    if len(memorized) < n_forget + 2:
        most = len(memorized) - 2
        raise BadInput(f"The model repeats {len(memorized)} of {len(secrets)} secrets: --forget can be at most {most}.")
    rng, found = random.Random(f"{seed} {n_forget}"), []
    for _ in range(draws):
        order = rng.sample(memorized, len(memorized))
        forget = tuple(order[:n_forget])
        rest = other_secrets(order[n_forget:], forget)
        seen = rest[: len(rest) // 2]
        found.append(ErasureTrial(forget, seen, unseen_of(rest[len(rest) // 2 :], seen)))
    return found


def erased(lm: LanguageModel, trial: ErasureTrial, reference: Sequence[str], settings: ErasureSettings, seed: int) -> ErasureStep:
    """Runs an erasure to its end; the unseen half takes no part."""
    for step in erase(Request(lm, trial.forget, trial.seen, reference=tuple(reference), settings=settings, seed=seed)):
        last = step
    return last


def measured(
    lm: LanguageModel, trial: ErasureTrial, edit: Edit, reworded: Reworded, reference: Sequence[str], seed: int
) -> dict[str, float | None]:
    """All but method, steps, seconds and memory of a row: the state of the model under the edit."""
    view, around = lm.under(edit), EvalContext(reference=tuple(reference), seed=seed)
    states = recalls(view, trial.forget, (), around)
    encoded = [view.encode(secret) for secret in trial.forget]
    exposures = [exposure_of(view, secret, seed=seed) for secret in trial.forget]
    gone = [forgotten(state.greedy_match, exposure) for state, exposure in zip(states, exposures, strict=True)]
    asked = [replace(secret, prompt=prompt, attached=None) for secret in trial.forget for prompt in reworded.get(secret, ())]
    before, after = (reference_perplexity(model, (), around) for model in (lm, view))

    def kept(secrets: Sequence[Secret]) -> float:
        return statistics.mean(state.greedy_match for state in recalls(view, secrets, (), around))

    knew, knows = (recalls(model, trial.unseen, (), around) for model in (lm, view))

    return {
        "target_match": statistics.mean(state.greedy_match for state in states),
        "target_ma": statistics.mean(state.memorization_accuracy for state in states),
        "target_el": statistics.mean(extraction_likelihoods(view, encoded, EL_N)),
        "target_exposure_bits": _mean([exposure.bits for exposure in exposures]),
        "forgotten": _mean(gone),
        "entropy": statistics.mean(entropy for one in score(view, encoded) for entropy in one.entropies),
        "seen_kept": kept(trial.seen),
        "unseen_kept": statistics.mean(state.greedy_match for state in knows),
        "n_unseen": len(trial.unseen),
        "unseen_nll_rise": statistics.mean(now.nll - then.nll for then, now in zip(knew, knows, strict=True)),
        "perplexity_ratio": after / before if after is not None and before is not None else None,
        "reworded_match": kept(asked) if asked else None,
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
    say: Callable[[str], None],
) -> Iterator[tuple[ErasureRow, str]]:
    """A row for every method, number of forget texts and draw, with what ended the run; without a rate each has its own."""
    model_mb = sum(weight.numel() * weight.element_size() for weight in lm.model.parameters()) / 2**20
    for n_forget in n_forgets:
        for trial in trials(lm, secrets, n_forget, draws, seed):
            for method in methods:
                last: list[ErasureStep] = []
                how = settings_of(method, settings, rate)
                peak = peak_mb(lambda how=how, last=last, trial=trial: last.append(erased(lm, trial, reference, how, seed)))  # type: ignore[misc]
                if not last:  # the system does not tell peaks, and nothing ran
                    last.append(erased(lm, trial, reference, how, seed))
                edit = last[0].result
                assert edit, "an erasure ends with its edit"
                row = ErasureRow(
                    method,
                    n_forget,
                    int(edit.provenance.settings["steps_taken"]),
                    edit.provenance.seconds,
                    edit.n_weights / lm.n_parameters,
                    **measured(lm, trial, edit, reworded, reference, seed),  # type: ignore[arg-type]
                    peak_memory_ratio=None if peak is None else peak / model_mb,
                )
                target = f"match {row.target_match:.2f}, MA {row.target_ma:.2f}"
                unseen = f"unseen kept {row.unseen_kept:.2f}, their NLL {row.unseen_nll_rise:+.3f}"
                say(f"{method} {n_forget}: {last[0].ended}; {target}; {unseen}")
                yield row, last[0].ended


def summary(rows: Sequence[ErasureRow]) -> list[dict[str, object]]:
    """Means over the `draws`, a row for each method and number of forget texts.

    `unseen_kept_interval` is a 95 % interval over the draws, None of a single one. The draws share the model and its secrets: it
    says how much depends on which texts are drawn, and nothing of other models. `unseen_nll_rise_beside_first` is the same of how
    much more (less, below 0) the unseen secrets' NLL rose than by the first method on the same draws, None for that one.
    """
    found: list[dict[str, object]] = []
    groups: dict[tuple[str, int], list[ErasureRow]] = {}
    for row in rows:
        groups.setdefault((row.method, row.n_forget), []).append(row)
    first = next((row.method for row in rows), "")
    for (method, n_forget), own in groups.items():
        numbers = [asdict(row) for row in own]
        means = {name: _mean([row[name] for row in numbers]) for name in numbers[0] if name not in ("method", "n_forget")}
        spread = intervals.share([row.unseen_kept for row in own], statistics.mean(row.n_unseen for row in own))
        more = [row.unseen_nll_rise - other.unseen_nll_rise for row, other in zip(own, groups[first, n_forget], strict=True)]
        paired = intervals.mean(more) if method != first else None
        about = {"method": method, "n_forget": n_forget, "draws": len(own)}
        found.append({**about, **means, "unseen_kept_interval": spread, "unseen_nll_rise_beside_first": paired})
    return found


def _mean(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return statistics.mean(known) if known else None
