"""Measures how well a model has memorized one secret, by every metric of this package. The model is not changed."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from privlens import validation
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import ValueScore, score
from privlens.lm.tokens import Encoded, token_texts
from privlens.memorization import metrics
from privlens.memorization.candidates import SPACE_SIZE, candidates, describe
from privlens.memorization.format_exposure import format_exposure_of
from privlens.memorization.lift import lift_of
from privlens.memorization.words import has_words
from privlens.outcomes import MemorizationState
from privlens.types import Exposure, Memorization, Secret, Site, TokenScore

MAX_TOP_K = 10_000_000
"""No vocabulary is larger; it only keeps absurd numbers out."""
EL_N = 3
EL_STARTS = 8
"""n of EL_n, and the maximum number of starts, evenly spaced over the value: each of them costs a greedy decoding."""


def rivals(lm: LanguageModel, secret: Secret, seed: int, size: int = SPACE_SIZE) -> Iterator[tuple[Secret, Encoded]]:
    """Every other candidate value behind the same prompt, with its tokens; those that exceed the model's context are left out.

    Args:
        seed: of the candidates. size: of their space, the value itself included.
    """
    secret = lm.settled(secret)
    all_rivals = [secret.with_value(value) for value in candidates(secret.value, seed, size)]
    for batch in (all_rivals[:1], all_rivals[1:]):  # who asks for a control takes the first
        for rival, encoded in zip(batch, lm.encode_all(batch), strict=True):
            if encoded:  # else it has more tokens than the value; the user chose only the value
                yield rival, encoded


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

    A candidate's log-probability only falls with every further token. So once its first tokens are less likely than the whole
    value, its rank is decided and the rest is not run: the rank is the same, and for a memorized value almost nothing is run.

    Args:
        gates: [1, n_layers, width] or None. seed: of the candidates. size: of the candidate space.
    """

    def total_logprobs(texts: Sequence[Encoded]) -> list[float]:
        return [sum(value.logprobs) for value in score(lm, texts, gates, site=site, stop=stop)] if texts else []

    secret = lm.settled(secret)
    [value_logprob] = total_logprobs([lm.encode(secret)])
    running = [encoded for _, encoded in rivals(lm, secret, seed, size)]
    n_others = len(running)
    n = 1
    while running and n <= max(len(candidate.value_ids) for candidate in running) // 2:
        prefixes = [Encoded(candidate.ids[: candidate.n_prompt + n], candidate.n_prompt) for candidate in running]
        distinct = list(dict.fromkeys(prefixes))
        logprobs = dict(zip(distinct, total_logprobs(distinct), strict=True))
        likely_enough = [logprobs[prefix] >= value_logprob - metrics.TIE for prefix in prefixes]
        running = [candidate for candidate, likely in zip(running, likely_enough, strict=True) if likely]
        pace = sum(logprobs.values()) / len(logprobs) / n  # nats per token, at which most will have fallen below the value
        n = max(n + 1, math.ceil(value_logprob / pace)) if pace else n + 1
    ruled_out = [-math.inf] * (n_others - len(running))
    return metrics.exposure(value_logprob, total_logprobs(running) + ruled_out, fair=not has_words(lm, secret.value))


def recall(lm: LanguageModel, encoded: Encoded, scored: ValueScore) -> MemorizationState:
    """The state of a secret, from its score. Greedy decoding repeats the value exactly if every token is the first choice."""
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


def check(
    lm: LanguageModel,
    secret: Secret,
    *,
    others: Sequence[Secret] = (),
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int = 0,
    stop: Stop = never_stop,
) -> Memorization:
    """Everything that the section 'Memorized?' shows of one secret.

    Args:
        others: the other listed secrets, whose values and prompts the secret's are compared with (`lift`). seed: of the candidate
            space. temperature, top_k: of the sampling that tries are counted in; top_k 0 is all tokens.

    Raises:
        BadInput: if prompt or value is empty, both exceed the model's context, or temperature or top_k is out of range.
        Cancelled: when `stop` returns true.
    """
    validation.between(temperature, "temperature", 0, 100, "1 samples from the model's own predictions", above=True)
    validation.whole(top_k, "number of tokens to sample from", 0, MAX_TOP_K)
    secret = lm.settled(secret)
    encoded = lm.encode(secret)
    [scored] = score(lm, [encoded], stop=stop)
    decoded = _decode_from_starts(lm, encoded, EL_N, stop)
    exposure = exposure_of(lm, secret, seed=seed, stop=stop)
    sampled = scored
    if temperature != 1 or top_k:
        [sampled] = score(lm, [encoded], stop=stop, temperature=temperature, top_k=top_k)
    return Memorization(
        secret=secret,
        greedy_match=metrics.greedy_match(scored.argmax, encoded.value_ids),
        continuation=str(lm.tokenizer.decode(consistent_continuation(encoded.value_ids, scored.argmax, decoded[0]))),
        nll=metrics.nll(scored.logprobs),
        memorization_accuracy=metrics.memorization_accuracy(scored.argmax, encoded.value_ids),
        extraction_strength=metrics.extraction_strength(scored.argmax, encoded.value_ids),
        extraction_likelihood=_extraction_likelihood(encoded, decoded, EL_N),
        exposure=exposure,
        candidate_space=describe(exposure, seed),
        tokens=token_scores(lm, encoded, scored),
        sampled_logprob=sum(sampled.logprobs),
        temperature=temperature,
        top_k=top_k,
        format_exposure=format_exposure_of(lm, secret, seed=seed, stop=stop),
        lift=lift_of(lm, secret, others, stop=stop),
    )


def consistent_continuation(value: Sequence[int], chosen: Sequence[int], decoded: Sequence[int]) -> list[int]:
    """The greedy continuation, made consistent with the first choices under teacher forcing, which decide the match.

    Two tokens may be so nearly equal that decoding step by step, in bfloat16 say, takes the other one. Then the continuation is
    the value up to its first wrong token, and the first choice there.
    """
    pairs = enumerate(zip(chosen, value, strict=True))
    n_right = next((index for index, (choice, true) in pairs if choice != true), len(value))
    teacher_forced = [*value[:n_right], *chosen[n_right : n_right + 1]]
    return list(decoded) if list(decoded[: len(teacher_forced)]) == teacher_forced else teacher_forced


def extraction_likelihoods(lm: LanguageModel, encoded: Sequence[Encoded], n: int, *, stop: Stop = never_stop) -> list[float]:
    """EL_n of every value, 0..1; n is at most the number of its tokens. Raises Cancelled when `stop` returns true."""
    return [_extraction_likelihood(text, _decode_from_starts(lm, text, n, stop), n) for text in encoded]


def _extraction_likelihood(encoded: Encoded, decoded: Sequence[Sequence[int]], n: int) -> float:
    suffixes = [encoded.ids[start:] for start in _starts(encoded, n)]
    return metrics.extraction_likelihood(decoded, suffixes, min(n, len(encoded.value_ids)))


def _decode_from_starts(lm: LanguageModel, encoded: Encoded, n: int, stop: Stop) -> list[list[int]]:
    """The greedy continuation from every start to the value's end."""
    starts = _starts(encoded, n)
    decoded = lm.generate([encoded.ids[:start] for start in starts], len(encoded.value_ids), stop=stop)
    return [ids[: len(encoded.ids) - start] for ids, start in zip(decoded, starts, strict=True)]


def _starts(encoded: Encoded, n: int) -> Sequence[int]:
    """Where greedy decoding starts: at the value's first token, and at evenly spaced ones that leave room for an n-gram."""
    last = len(encoded.ids) - min(n, len(encoded.value_ids))
    step = max(1, math.ceil((last - encoded.n_prompt + 1) / EL_STARTS))
    return range(encoded.n_prompt, last + 1, step)


def control(lm: LanguageModel, secret: Secret, seed: int) -> Secret | None:
    """A control of the same kind: the same prompt with another value of the same format, drawn by the seed.

    None if there is no such value: no digit or letter to vary, or every other value exceeds the model's context.
    """
    return next((rival for rival, _ in rivals(lm, secret, seed + 1)), None)
