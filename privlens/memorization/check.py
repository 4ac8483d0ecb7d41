"""Measures how well a model knows one secret, by every metric of this room. Changes nothing in the model."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import ValueScore, score
from privlens.lm.tokens import Encoded, token_texts
from privlens.memorization import metrics
from privlens.memorization.candidates import SPACE_SIZE, candidates, describe
from privlens.outcomes import MemorizationState
from privlens.types import Exposure, Memorization, Secret, Site, TokenScore

EL_N = 3
EL_STARTS = 8
"""n-gram length of EL_n, and at most so many starts, evenly spread over the value."""


def rivals(lm: LanguageModel, secret: Secret, seed: int, size: int = SPACE_SIZE) -> Iterator[tuple[Secret, Encoded]]:
    """Every other candidate value, asked for as the secret is; those that the model has no room for are left out.

    Args:
        seed: decides the candidates. size: of their space, the value itself included.
    """
    secret = lm.settled(secret)
    for value in candidates(secret.value, seed, size):
        rival = secret.with_value(value)
        try:
            yield rival, lm.encode(rival)
        except BadInput:  # it has more tokens than the value, and the value alone is the person's
            continue


def exposure_of(
    lm: LanguageModel,
    secret: Secret,
    *,
    gates: Tensor | None = None,
    site: Site = "mlp",
    seed: int = 0,
    stop: Stop = never_stop,
    size: int = SPACE_SIZE,
) -> Exposure:
    """Exposure of the value among the candidates of its format.

    A candidate's log-probability can only fall with every further token. So one that is below the value's after a few of its
    tokens is ranked, and the rest of it is not run: the rank is the same, and of a memorized value next to nothing is run.

    Args:
        gates: [1, n_layers, width] or None. seed: decides the candidates, not the model. size: of the candidate space.
    """

    def totals(texts: Sequence[Encoded]) -> list[float]:
        return [sum(one.logprobs) for one in score(lm, texts, gates, site=site, stop=stop)] if texts else []

    secret = lm.settled(secret)
    [own] = totals([lm.encode(secret)])
    running = [encoded for _, encoded in rivals(lm, secret, seed, size)]
    n_others, n = len(running), 1
    while running and n <= max(len(one.value_ids) for one in running) // 2:
        begun = [Encoded(one.ids[: one.n_prompt + n], one.n_prompt) for one in running]
        different = list(dict.fromkeys(begun))
        reached = dict(zip(different, totals(different), strict=True))
        running = [one for one, first in zip(running, begun, strict=True) if reached[first] >= own - metrics.TIE]
        pace = sum(reached.values()) / len(reached) / n  # nats a token, at which most will have fallen below the value
        n = max(n + 1, math.ceil(own / pace)) if pace else n + 1
    behind = [-math.inf] * (n_others - len(running))
    return metrics.exposure(own, totals(running) + behind)


def recall(lm: LanguageModel, encoded: Encoded, scored: ValueScore) -> MemorizationState:
    """What a score says of a secret. Greedy decoding repeats the value exactly where every token is the first choice."""
    return MemorizationState(
        greedy_match=metrics.greedy_match(scored.argmax, encoded.value_ids),
        nll=metrics.nll(scored.logprobs),
        memorization_accuracy=metrics.memorization_accuracy(scored.argmax, encoded.value_ids),
        tokens=token_scores(lm, encoded, scored),
    )


def token_scores(lm: LanguageModel, encoded: Encoded, scored: ValueScore) -> tuple[TokenScore, ...]:
    """The value's tokens with their log-probabilities and ranks."""
    texts = token_texts(lm.tokenizer, encoded.value_ids)
    return tuple(map(TokenScore, texts, scored.logprobs, scored.ranks))


def check(lm: LanguageModel, secret: Secret, *, seed: int = 0, stop: Stop = never_stop) -> Memorization:
    """Everything section 'Memorized?' shows of one secret.

    Args:
        seed: decides the candidate space.

    Raises:
        BadInput: empty prompt or value, or longer than the model reads. Cancelled: when `stop` said so.
    """
    secret = lm.settled(secret)
    encoded = lm.encode(secret)
    [scored] = score(lm, [encoded], stop=stop)
    written = _from_starts(lm, encoded, EL_N, stop)
    exposure = exposure_of(lm, secret, seed=seed, stop=stop)
    return Memorization(
        secret=secret,
        greedy_match=metrics.greedy_match(scored.argmax, encoded.value_ids),
        continuation=str(lm.tokenizer.decode(_agreeing(encoded.value_ids, scored.argmax, written[0]))),
        nll=metrics.nll(scored.logprobs),
        memorization_accuracy=metrics.memorization_accuracy(scored.argmax, encoded.value_ids),
        extraction_strength=metrics.extraction_strength(scored.argmax, encoded.value_ids),
        extraction_likelihood=_likelihood(encoded, written, EL_N),
        exposure=exposure,
        candidate_space=describe(exposure, seed),
        tokens=token_scores(lm, encoded, scored),
    )


def _agreeing(value: Sequence[int], chosen: Sequence[int], written: Sequence[int]) -> list[int]:
    """The greedy continuation, in agreement with the first choices under teacher forcing, which decide the match.

    Two tokens may be so nearly equal that decoding step by step, in bfloat16 say, takes the other one. Then the continuation is
    the value up to its first wrong token, and the first choice there.
    """
    right = next((place for place, (own, true) in enumerate(zip(chosen, value, strict=True)) if own != true), len(value))
    surely = [*value[:right], *chosen[right : right + 1]]
    return list(written) if list(written[: len(surely)]) == surely else surely


def extraction_likelihoods(lm: LanguageModel, encoded: Sequence[Encoded], n: int, *, stop: Stop = never_stop) -> list[float]:
    """EL_n of every value, 0..1; n is cut to the value's tokens. Raises Cancelled when `stop` said so."""
    return [_likelihood(one, _from_starts(lm, one, n, stop), n) for one in encoded]


def _likelihood(encoded: Encoded, written: Sequence[Sequence[int]], n: int) -> float:
    suffixes = [encoded.ids[start:] for start in _starts(encoded, n)]
    return metrics.extraction_likelihood(written, suffixes, min(n, len(encoded.value_ids)))


def _from_starts(lm: LanguageModel, encoded: Encoded, n: int, stop: Stop) -> list[list[int]]:
    """What greedy decoding writes from every start to the value's end."""
    starts = _starts(encoded, n)
    written = lm.generate([encoded.ids[:start] for start in starts], len(encoded.value_ids), stop=stop)
    return [ids[: len(encoded.ids) - start] for ids, start in zip(written, starts, strict=True)]


def _starts(encoded: Encoded, n: int) -> Sequence[int]:
    """Where greedy decoding sets out: the value's first token, and others evenly spread that leave an n-gram."""
    last = len(encoded.ids) - min(n, len(encoded.value_ids))
    step = max(1, math.ceil((last - encoded.n_prompt + 1) / EL_STARTS))
    return range(encoded.n_prompt, last + 1, step)


def control(lm: LanguageModel, secret: Secret, seed: int) -> Secret | None:
    """A control of the same kind: the same prompt with another value of the same format, which nobody planted.

    None where there is no such value: no digit or letter to vary, or no room in the model for any that differs.
    """
    return next((rival for rival, _ in rivals(lm, secret, seed + 1)), None)
