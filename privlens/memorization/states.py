"""What one state of a model shows of secrets and of ordinary text: the measurement that every before and after is made of.

A state is a model with its neurons on or some off (`gates`), a view of it under edits, or the model in the midst of an erasure.
Knows neither which neurons were chosen nor what was erased. `gates` are [1, n_layers, width], or None; `stop` is asked between
batches, and Cancelled is raised where it said so.
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
from privlens.outcomes import MemorizationState
from privlens.types import Secret, Site

REFERENCE_TOKENS = 256
"""A reference paragraph is cut after so many tokens."""
EXTRA_TOKENS = 8
"""Texts run so many tokens past the value, to show what follows."""


def continuations(
    lm: LanguageModel, secrets: Sequence[Secret], gates: Tensor | None = None, *, site: Site = "mlp", stop: Stop = never_stop
) -> list[str]:
    """What greedy decoding writes behind every prompt, all in one batch; `gates` may have a row for each."""
    encoded = [lm.encode(secret) for secret in secrets]
    longest = max((len(one.value_ids) for one in encoded), default=0) + EXTRA_TOKENS
    prompts = [one.prompt_ids for one in encoded]
    written = lm.generate(prompts, longest, gates, site=site, stop=stop) if prompts else []
    return [str(lm.tokenizer.decode(ids)) for ids in written]


def recalls(
    lm: LanguageModel, secrets: Sequence[Secret], gates: Tensor | None = None, *, site: Site = "mlp", stop: Stop = never_stop
) -> list[MemorizationState]:
    """What remains of every secret; teacher-forced, without text and exposure."""
    encoded = [lm.encode(secret) for secret in secrets]
    scored = score(lm, encoded, gates, site=site, stop=stop) if encoded else []
    return [recall(lm, one, value) for one, value in zip(encoded, scored, strict=True)]


def states(
    lm: LanguageModel,
    secrets: Sequence[Secret],
    texts: Sequence[str],
    gates: Tensor | None = None,
    *,
    site: Site = "mlp",
    seed: int = 0,
    stop: Stop = never_stop,
) -> list[MemorizationState]:
    """What remains of every secret, whole: with its exposure, and the text that was written behind its prompt.

    Args:
        texts: of `continuations` in this state, one for each secret. seed: decides the candidates of the exposure.
    """
    found = recalls(lm, secrets, gates, site=site, stop=stop)
    whole = [replace(own, text=text) for own, text in zip(found, texts, strict=True)]
    return exposed(lm, secrets, whole, gates, site=site, seed=seed, stop=stop)


def exposed(
    lm: LanguageModel,
    secrets: Sequence[Secret],
    found: Sequence[MemorizationState],
    gates: Tensor | None = None,
    *,
    site: Site = "mlp",
    seed: int = 0,
    stop: Stop = never_stop,
) -> list[MemorizationState]:
    """What was found of every secret in this state, and its exposure; `seed` decides the candidates."""
    exposures = [exposure_of(lm, secret, gates=gates, site=site, seed=seed, stop=stop) for secret in secrets]
    return [replace(own, exposure=exposure) for own, exposure in zip(found, exposures, strict=True)]


def known(
    lm: LanguageModel, secrets: Sequence[Secret], gates: Tensor | None = None, *, site: Site = "mlp", stop: Stop = never_stop
) -> tuple[Secret, ...]:
    """Those of the secrets that greedy decoding writes word for word."""
    found = recalls(lm, secrets, gates, site=site, stop=stop)
    return tuple(secret for secret, own in zip(secrets, found, strict=True) if own.greedy_match)


def kept(
    lm: LanguageModel, before: Sequence[Secret], gates: Tensor | None = None, *, site: Site = "mlp", stop: Stop = never_stop
) -> float | None:
    """Share of the secrets known `before` that still are, 0..1; None without any."""
    return len(known(lm, before, gates, site=site, stop=stop)) / len(before) if before else None


def reference_ids(lm: LanguageModel, paragraphs: Sequence[str]) -> list[list[int]]:
    """The ids of reference paragraphs, each cut to what is measured.

    Raises:
        BadInput: where no paragraph has two tokens: the first of each is only read.
    """
    ids = [plain_ids(lm.tokenizer, text, min(REFERENCE_TOKENS, lm.room)) for text in paragraphs]
    if ids and max(map(len, ids)) < 2:
        raise BadInput("The reference text is too short to measure perplexity on: give a paragraph of a sentence or more.")
    return ids


def perplexity(
    lm: LanguageModel, paragraphs: Sequence[str], gates: Tensor | None = None, *, site: Site = "mlp", stop: Stop = never_stop
) -> float | None:
    """exp(mean NLL in nats/token) of ordinary text; None without any. Raises BadInput as `reference_ids` does."""
    ids = reference_ids(lm, paragraphs)
    return math.exp(text_nll(lm, ids, gates, site=site, stop=stop)) if ids else None


def ratio(after: float | None, before: float | None) -> float | None:
    """Of two perplexities; None where one was not measured."""
    return None if after is None or before is None else after / before
