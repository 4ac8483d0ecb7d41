"""Records the example that the page opens with: of the secrets a model knows best, the one a mask removes most cleanly.

It is the clearest case and not a typical one, so the record says from how many it was chosen, and how many ended likewise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from privlens.deactivation import EvalContext, compare
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.localization import MASK, Task, result_of
from privlens.localization.hard_concrete import MaskSettings
from privlens.memorization.check import check, control
from privlens.memorization.depth import finite
from privlens.memorization.extraction import log10_tries
from privlens.outcomes import MemorizationState, Outcome
from privlens.recorded import RecordedExample, RecordedState
from privlens.retained.others import kept_counts, other_secrets, retained_of
from privlens.secret_lists import ListedSecret
from privlens.types import NeuronScores, Secret

DIGITS = 4
"""Decimals that scores are kept with: more than colours show, and few enough for a small file."""


def rank(example: RecordedExample) -> tuple[bool, int, int]:
    """Higher is better: forgotten, then more of the other secrets kept, then fewer neurons."""
    closed = example.closed
    return closed.verdict == "forgotten", closed.kept.kept - closed.kept.known, -len(example.off)


def candidates(
    lm: LanguageModel, rows: Sequence[ListedSecret], reference: Sequence[str], mask: MaskSettings, seed: int, command: str
) -> Iterator[RecordedExample]:
    """Localizes and measures every secret that the list says was repeated most often, one after the other.

    The counts over all candidates are `best`'s.

    Raises:
        BadInput: for a list without secrets that a model was trained on.
    """
    known = tuple(row.secret for row in rows if row.repeats)
    if not known:
        raise BadInput("No secret of this list was trained on: an example needs a column repeats with numbers above 0.")
    most = max(row.repeats or 0 for row in rows)
    listed = tuple(row.secret for row in rows)
    for target in (row.secret for row in rows if row.repeats == most):
        retained = tuple(retained_of(other_secrets(known, [target]), "half"))
        scores = result_of(MASK, Task(lm, target, others=retained, seed=seed), mask=mask)
        context = EvalContext(known, tuple(reference), scores.site, seed=seed, listed=listed)
        yield _example(lm, target, retained, scores, context, command)


def summary(example: RecordedExample) -> dict[str, Any]:
    """A row of the table over all candidates."""
    closed = example.closed
    return {
        "value": example.secret.value,
        "neurons": len(example.off),
        "verdict": closed.verdict,
        "log10_tries": finite(log10_tries(closed.logprob)),
        "unseen_kept": f"{closed.unseen_kept.kept} of {closed.unseen_kept.known}",
        "kept": f"{closed.kept.kept} of {closed.kept.known}",
        "perplexity_ratio": closed.perplexity_ratio,
    }


def best(found: Sequence[RecordedExample]) -> RecordedExample:
    """The clearest of the candidates, with the counts over all of them."""
    n_forgotten = sum(example.closed.verdict == "forgotten" for example in found)
    return replace(max(found, key=rank), n_candidates=len(found), n_forgotten=n_forgotten)


def _example(
    lm: LanguageModel,
    target: Secret,
    retained: tuple[Secret, ...],
    scores: NeuronScores,
    context: EvalContext,
    command: str,
) -> RecordedExample:
    off = tuple(scores.top(scores.suggested_k or 0))
    *_, last = compare(lm, target, off, context)
    assert last.result, "a comparison ends with its result"
    chosen, random = last.result.chosen, last.result.random
    rival = control(lm, target, context.seed)
    unchanged = replace(
        chosen,
        target=replace(chosen.target, after=chosen.target.before),
        others=tuple(replace(effect, after=effect.before) for effect in chosen.others),
        perplexity_after=chosen.perplexity_before,
    )
    return RecordedExample(
        secret=target,
        retained=retained,
        scores=replace(scores, scores=np.round(scores.scores, DIGITS)),
        off=off,
        on=_state(unchanged, retained),
        closed=_state(chosen, retained),
        random=_state(random, retained),
        control_logprob=check(lm, rival).logprob if rival else None,
        n_candidates=1,
        n_forgotten=0,
        command=command,
    )


def _state(outcome: Outcome, retained: tuple[Secret, ...]) -> RecordedState:
    """One state: what the target's `after` is, and what became of the others and of ordinary text."""
    after: MemorizationState = outcome.target.after
    unseen, seen = kept_counts(outcome, retained)
    return RecordedState(
        text=after.text,
        greedy_match=after.greedy_match,
        logprob=after.logprob,
        verdict=after.verdict,
        kept=replace(unseen, kept=unseen.kept + seen.kept, known=unseen.known + seen.known),
        unseen_kept=unseen,
        perplexity_ratio=outcome.perplexity_ratio or 1.0,
    )
