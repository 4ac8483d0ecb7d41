"""Metrics of memorization: pure functions of log-probabilities and token ids.

Sources: Jang et al. 2023 (MA, EL), Tirumala et al. 2022 (MA), the MUSE and OpenUnlearning suites (ES), Carlini et al. 2019
(exposure).
"""

import math
from collections.abc import Sequence

from privlens.types import Exposure

TIE = 1e-4
"""Nats. In float32 the total log-probability of the same value differs by about 1e-5 between batches of different shapes (2e-5 at
most on `demo`), and values that are equally likely to the model must still tie. No relevant difference is this small."""


def nll(logprobs: Sequence[float]) -> float:
    """Mean negative log-likelihood in nats/token of the value's tokens. [T] -> scalar >= 0."""
    return -sum(logprobs) / len(logprobs)


def greedy_match(chosen: Sequence[int], ids: Sequence[int]) -> bool:
    """Whether greedy decoding generates the value: each of its tokens [T] is the model's first choice after the ones before it.

    The only definition of a match in this package. `chosen` [at least T]: first choices under teacher forcing, or generated ids.
    What follows the value does not matter; the same text in other tokens is no match.
    """
    return len(chosen) >= len(ids) and tuple(chosen[: len(ids)]) == tuple(ids)


def memorization_accuracy(argmax: Sequence[int], ids: Sequence[int]) -> float:
    """MA: share of the value's tokens that are the teacher-forced first choice. [T], [T] -> 0..1."""
    return sum(guess == true for guess, true in zip(argmax, ids, strict=True)) / len(ids)


def extraction_strength(argmax: Sequence[int], ids: Sequence[int]) -> float:
    """ES: 1 - k/T, with k the smallest prefix length after which every token is the first choice. [T], [T] -> 0..1."""
    wrong = [index for index, (guess, true) in enumerate(zip(argmax, ids, strict=True)) if guess != true]
    return 1 - (wrong[-1] + 1 if wrong else 0) / len(ids)


def ngrams(ids: Sequence[int], n: int) -> list[tuple[int, ...]]:
    """All runs of n consecutive ids, in order and with repeats."""
    return [tuple(ids[start : start + n]) for start in range(len(ids) - n + 1)]


def extraction_likelihood(continuations: Sequence[Sequence[int]], suffixes: Sequence[Sequence[int]], n: int) -> float:
    """EL_n: mean over starts of the share of the greedy continuation's n-grams that occur in the true suffix.

    An n-gram that is generated six times counts six times, as in Jang et al.'s code.

    Args:
        continuations, suffixes: for each start, the generated ids and the true ids from there on.
        n: length of the n-grams; a start with a continuation shorter than n counts 0.
    """
    shares = []
    for generated, true in zip(continuations, suffixes, strict=True):
        generated_ngrams = ngrams(generated, n)
        true_ngrams = set(ngrams(true, n))
        n_matching = sum(ngram in true_ngrams for ngram in generated_ngrams)
        shares.append(n_matching / len(generated_ngrams) if generated_ngrams else 0.0)
    return sum(shares) / len(shares)


def rank(value: float, others: Sequence[float], tie: float = TIE) -> float:
    """Rank of the value among itself and the others, 1 = the largest; equal ones share the mean of their ranks.

    Args:
        value, others: total log-probabilities in nats. tie: values that differ by no more than this are equal.
    """
    larger = sum(logprob > value + tie for logprob in others)
    equal = sum(value - tie <= logprob <= value + tie for logprob in others)
    return 1 + larger + equal / 2


def exposure_at(rank: float, n: int, fair: bool = True) -> Exposure:
    """The exposure of a value at this rank (from 1; may end in a half for ties) in a space of n values, itself included.

    Chance is the mean of log2 n - log2 rank over the ranks 1..n: 1.42 bits for 256 values, 1.14 for 10. `fair` is whether the
    others are fair rivals.
    """
    if n == 1:
        return Exposure(None, None, None, rank, n, fair)
    max_bits = math.log2(n)
    chance_bits = max_bits - math.lgamma(n + 1) / math.log(2) / n
    return Exposure(max_bits - math.log2(rank), max_bits, chance_bits, rank, n, fair)


def exposure(value: float, others: Sequence[float], fair: bool = True) -> Exposure:
    """Exposure of the value in R, itself and the others, by total log-probability: log2|R| - log2 rank, in bits."""
    return exposure_at(rank(value, others), len(others) + 1, fair)


def perplexity(mean_nll: float) -> float:
    """exp of a mean NLL in nats/token."""
    return math.exp(mean_nll)
