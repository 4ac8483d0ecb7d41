"""Measurements of secrets and of ordinary text in one state of a model; every before/after comparison is made of these.

A state is a model with all neurons on or some off (`gates`), a view of it under edits, or the model during an erasure. `gates`
are [1, n_layers, width], or None; `stop` is called between batches, and Cancelled is raised when it returns true.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score, text_nll
from privlens.lm.tokens import plain_ids
from privlens.memorization.check import exposure_of, recall
from privlens.memorization.format_exposure import format_exposure_of
from privlens.memorization.lift import lift_of
from privlens.outcomes import MemorizationState
from privlens.types import Secret, Site

REFERENCE_TOKENS = 256
"""A reference paragraph is cut after this many tokens: more of them make perplexity less noisy and slower to measure."""
EXTRA_TOKENS = 8
"""Continuations run this many tokens past the value, to show what follows."""


def continuations(
    lm: LanguageModel, secrets: Sequence[Secret], gates: Tensor | None = None, *, site: Site = "mlp", stop: Stop = never_stop
) -> list[str]:
    """The greedy continuation of every prompt, all in one batch; `gates` may have a row for each."""
    encoded = [lm.encode(secret) for secret in secrets]
    longest = max((len(text.value_ids) for text in encoded), default=0) + EXTRA_TOKENS
    prompts = [text.prompt_ids for text in encoded]
    generated = lm.generate(prompts, longest, gates, site=site, stop=stop) if prompts else []
    return [str(lm.tokenizer.decode(ids)) for ids in generated]


def memorization_states(
    lm: LanguageModel, secrets: Sequence[Secret], gates: Tensor | None = None, *, site: Site = "mlp", stop: Stop = never_stop
) -> list[MemorizationState]:
    """The state of every secret; teacher-forced, without text and exposure."""
    encoded = [lm.encode(secret) for secret in secrets]
    scored = score(lm, encoded, gates, site=site, stop=stop) if encoded else []
    return [recall(lm, text, value_score) for text, value_score in zip(encoded, scored, strict=True)]


def states(
    lm: LanguageModel,
    secrets: Sequence[Secret],
    texts: Sequence[str],
    gates: Tensor | None = None,
    *,
    site: Site = "mlp",
    others: Sequence[Secret] = (),
    seed: int = 0,
    stop: Stop = never_stop,
) -> list[MemorizationState]:
    """The complete state of every secret: with its exposures and lift, and the text that was generated from its prompt.

    Args:
        texts: from `continuations` in this state, one per secret. others: other listed secrets, for the lift. seed: of the
            exposure's candidates.
    """
    without_text = memorization_states(lm, secrets, gates, site=site, stop=stop)
    with_text = [replace(state, text=text) for state, text in zip(without_text, texts, strict=True)]
    return exposed(lm, secrets, with_text, gates, site=site, others=others, seed=seed, stop=stop)


def exposed(
    lm: LanguageModel,
    secrets: Sequence[Secret],
    measured: Sequence[MemorizationState],
    gates: Tensor | None = None,
    *,
    site: Site = "mlp",
    others: Sequence[Secret] = (),
    seed: int = 0,
    stop: Stop = never_stop,
) -> list[MemorizationState]:
    """The states of secrets measured so far, with what a verdict needs: both exposures and the lift.

    Args:
        others: other listed secrets, for the lift; without them no secret has one. seed: of the exposure's candidates.
    """
    return [
        replace(
            state,
            exposure=exposure_of(lm, secret, gates=gates, site=site, seed=seed, stop=stop),
            format_exposure=format_exposure_of(lm, secret, gates=gates, site=site, seed=seed, stop=stop),
            lift=lift_of(lm, secret, others, gates=gates, site=site, stop=stop),
        )
        for secret, state in zip(secrets, measured, strict=True)
    ]


def known(
    lm: LanguageModel, secrets: Sequence[Secret], gates: Tensor | None = None, *, site: Site = "mlp", stop: Stop = never_stop
) -> tuple[Secret, ...]:
    """The secrets that greedy decoding generates word for word."""
    measured = memorization_states(lm, secrets, gates, site=site, stop=stop)
    return tuple(secret for secret, state in zip(secrets, measured, strict=True) if state.greedy_match)


def kept(
    lm: LanguageModel, before: Sequence[Secret], gates: Tensor | None = None, *, site: Site = "mlp", stop: Stop = never_stop
) -> float | None:
    """Share of the secrets known `before` that are still known, 0..1; None if there are none."""
    return len(known(lm, before, gates, site=site, stop=stop)) / len(before) if before else None


def reference_ids(lm: LanguageModel, paragraphs: Sequence[str]) -> list[list[int]]:
    """The ids of reference paragraphs, each cut to what is measured.

    Raises:
        BadInput: if no paragraph has two tokens: the first of each is not predicted from anything.
    """
    ids = [plain_ids(lm.tokenizer, text, min(REFERENCE_TOKENS, lm.room)) for text in paragraphs]
    if ids and max(map(len, ids)) < 2:
        raise BadInput("The reference text is too short to measure perplexity on: give a paragraph of a sentence or more.")
    return ids


def perplexity(
    lm: LanguageModel, paragraphs: Sequence[str], gates: Tensor | None = None, *, site: Site = "mlp", stop: Stop = never_stop
) -> float | None:
    """exp(mean NLL in nats/token) of ordinary text; None if there is none. Raises BadInput as `reference_ids` does."""
    ids = reference_ids(lm, paragraphs)
    return math.exp(text_nll(lm, ids, gates, site=site, stop=stop)) if ids else None


def ratio(after: float | None, before: float | None) -> float | None:
    """Ratio of two perplexities; None if one was not measured."""
    return None if after is None or before is None else after / before
