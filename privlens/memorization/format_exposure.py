"""Exposure of a value among ALL values of its format, by importance sampling.

Among 256 values a rank cannot fall below the first however deep a value was pushed: a value that became 10^9 times less likely
may still lead 255 random ones. The whole format has, say, 10^8 values, and the rank among them is

    rank(v) = 1 + E_{z ~ q} [ 1{p(z) > p(v)} / q(z) ],

with z drawn from the model itself, constrained to the format, and q(z) the probability of that draw. A quarter of the draws are
at temperature 1, so every z above v has q(z) >= p(z)/4, and no weight exceeds 4/p(v); the estimate is unbiased. The others are
at higher temperatures (`constrained_sampling`), because a model that is sure of one value hardly writes another. A z whose
tokens are not the tokenizer's own for its text does not count. Exposure log2|R| - log2 rank is that of Carlini et al. (2019),
the scale of DEPN (Wu et al. 2023).

Formats with letters or digits beyond ASCII are not measured: their values may have tokens that are no text on their own.
"""

import math
import weakref
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import Tensor

from privlens import intervals
from privlens.lm.constrained_sampling import TEMPERATURES, ConstrainedSample, Pattern, Wanted, sample_patterns
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score
from privlens.lm.tokens import token_texts
from privlens.memorization.candidates import format_of, format_size
from privlens.memorization.metrics import TIE
from privlens.types import FormatExposure, Secret, Site

DRAWS = 256
"""Samples per value. More of them narrow the interval with their square root: at 256 it is about a bit wide on `demo`."""

SURE = math.log(0.5)
"""Above this log-probability no other value can be likelier, so nothing has to be drawn."""

_tokens_by_format: "weakref.WeakKeyDictionary[Any, dict[str, list[int]]]" = weakref.WeakKeyDictionary()
"""For each tokenizer, the ids of all tokens of a format: it takes a second for a large vocabulary, and every k asks for it."""


def format_exposure_of(
    lm: LanguageModel,
    secret: Secret,
    *,
    gates: Tensor | None = None,
    site: Site = "mlp",
    seed: int = 0,
    stop: Stop = never_stop,
    n_draws: int = DRAWS,
) -> FormatExposure | None:
    """Exposure of the value in its whole format, with its 95 % interval; None where the format cannot be sampled.

    Args:
        gates: [1, n_layers, width] or None. seed: of the samples.

    Raises:
        Cancelled: when `stop` returns true.
    """
    return format_exposures_of(lm, [secret], gates=gates, site=site, seed=seed, stop=stop, n_draws=n_draws)[0]


def format_exposures_of(
    lm: LanguageModel,
    secrets: Sequence[Secret],
    *,
    gates: Tensor | None = None,
    site: Site = "mlp",
    seed: int = 0,
    stop: Stop = never_stop,
    n_draws: int = DRAWS,
) -> list[FormatExposure | None]:
    """The same for many secrets, whose samples run together."""
    sampled = {row: secret for row, secret in enumerate(map(lm.settled, secrets)) if _value_text(lm, secret)}
    encoded = [lm.encode(secret) for secret in sampled.values()]
    scores = score(lm, encoded, gates, site=site, stop=stop) if encoded else []
    logprobs = {row: sum(scored.logprobs) for row, scored in zip(sampled, scores, strict=True)}
    unsure = [row for row, logprob in logprobs.items() if logprob < SURE]
    wanted = [
        Wanted(lm.encode(sampled[row]).prompt_ids, pattern_of(lm, _value_text(lm, sampled[row])), logprobs[row] - TIE)
        for row in unsure
    ]
    drawn = sample_patterns(lm, wanted, n_draws, gates=gates, site=site, seed=seed, stop=stop)
    weights = {row: [0.0] * n_draws for row in sampled}
    weights |= {row: _weights(lm, sampled[row], samples, logprobs[row]) for row, samples in zip(unsure, drawn, strict=True)}
    return [
        estimate(weights[row], logprobs[row], format_size(secret.value)) if row in sampled else None
        for row, secret in enumerate(secrets)
    ]


def _value_text(lm: LanguageModel, secret: Secret) -> str:
    """The text of the value's tokens, with the space before it; empty where the format cannot be sampled."""
    text = "".join(token_texts(lm.tokenizer, lm.encode(secret).value_ids))
    can_be_sampled = format_size(secret.value) > 1 and text.isascii() and text.strip() == secret.value.strip()
    return text if can_be_sampled else ""


def _weights(lm: LanguageModel, secret: Secret, samples: Sequence[ConstrainedSample], logprob: float) -> list[float]:
    """What each sample adds to the rank of the value, of which this is the log-probability."""
    own = lm.encode(secret).value_ids
    return [
        _weight(sample, logprob) if canonical and sample.ids != own else 0.0
        for sample, canonical in zip(samples, _canonical(lm, secret, samples), strict=True)
    ]


def _weight(sample: ConstrainedSample, logprob: float) -> float:
    """What a sample adds to the rank: 1/q if it is likelier than the value, half of that if equally likely, else 0."""
    lead = sample.logprob - logprob
    share = 1.0 if lead > TIE else 0.5 if lead >= -TIE else 0.0
    return share * math.exp(min(-sample.drawn, 700.0))


def estimate(weights: Sequence[float], logprob: float, n_values: int) -> FormatExposure:
    """The exposure from the samples' weights.

    The interval is that of a bootstrap (bias-corrected and accelerated) of the mean weight. Where no sample is likelier than the
    value, the rank may still be above 1: by the rule of three for the N draws at temperature 1 it is at most 1 + 3 / (N p(v))
    with 95 % confidence. In any case it is at most 1/p(v), since probabilities sum to 1.

    Args:
        weights: of every sample. logprob: of the value, nats. n_values: of the format.
    """
    most = math.log2(n_values)
    n_above = sum(weight > 0 for weight in weights)
    p = math.exp(logprob)
    if n_above == 0:
        low, high = 1.0, 1 + (3 * len(TEMPERATURES) / (len(weights) * p) if p > 0 else math.inf)
    elif len(set(weights)) == 1:
        low = high = 1 + weights[0]
    else:
        array = np.asarray(weights)
        interval = bootstrap((array / array.max(),), np.mean, rng=np.random.default_rng(0), confidence_level=intervals.CONFIDENCE)
        low, high = (1 + float(end) * float(array.max()) for end in interval.confidence_interval)
    rank = 1 + math.fsum(weights) / len(weights)
    most_rank = min(float(n_values), max(1, math.floor(1 / p)) if p > 1 / n_values else math.inf)

    def bits(at_rank: float) -> float:
        return max(0.0, most - math.log2(min(max(at_rank, 1.0), most_rank)))

    return FormatExposure(
        bits=bits(rank), low_bits=bits(high), high_bits=bits(low), max_bits=most, n_draws=len(weights), n_above=n_above
    )


def pattern_of(lm: LanguageModel, text: str) -> Pattern:
    """The tokens that fit a text's format in each of its characters; the text includes the space before the value."""
    by_format = _by_format(lm)
    whole_format = format_of(text)
    allowed = torch.zeros(len(text), lm.n_vocabulary, dtype=torch.bool)
    lengths = torch.zeros(lm.n_vocabulary, dtype=torch.long)
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            ids = by_format.get(whole_format[start:end], [])
            allowed[start, ids] = True
            lengths[ids] = end - start
    return Pattern(allowed, lengths)


def _by_format(lm: LanguageModel) -> dict[str, list[int]]:
    """The ids of all ASCII tokens of each format."""
    tokenizer = lm.tokenizer
    if tokenizer not in _tokens_by_format:
        ids_by_format: dict[str, list[int]] = defaultdict(list)
        special = set(tokenizer.all_special_ids)
        for token, text in enumerate(token_texts(tokenizer, range(lm.n_vocabulary))):
            if text.isascii() and token not in special:
                ids_by_format[format_of(text)].append(token)
        _tokens_by_format[tokenizer] = dict(ids_by_format)
    return _tokens_by_format[tokenizer]


def _canonical(lm: LanguageModel, secret: Secret, samples: Sequence[ConstrainedSample]) -> list[bool]:
    """Whether each sample has the tokens that the tokenizer gives its text behind this prompt."""
    different = list(dict.fromkeys(sample.ids for sample in samples if sample.ids is not None))
    texts = ["".join(token_texts(lm.tokenizer, ids)).strip() for ids in different]
    encoded = lm.encode_all([secret.with_value(text) for text in texts])
    # None where it merged into the prompt, or is too long: no value behind this prompt
    known = {ids: text is not None and text.value_ids == ids for ids, text in zip(different, encoded, strict=True)}
    return [sample.ids is not None and known[sample.ids] for sample in samples]
