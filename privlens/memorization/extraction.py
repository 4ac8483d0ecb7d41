"""How often a value is generated when a model is sampled: pure functions of the value's total log-probability.

(n, p)-discoverable extraction (Hayes et al. 2024, arXiv 2410.19482): of n independent samples at least one is the value with a
chance of 1 - (1 - p)^n, where p is the value's probability under the sampling rule. Unlike an exposure among a few hundred
values, the number of samples has no ceiling. A log-probability is in nats, -inf where the rule excludes the value.
"""

import math
from collections.abc import Sequence

EVEN = 0.5
"""The chance of success that is meant by "tries" where no other is named: as many samples as make it even."""


def log10_tries(logprob: float, chance: float = EVEN) -> float:
    """log10 of the number of samples of which one is the value with this chance (0..1, exclusive); at least 0, which is 1 sample.

    ln(1 - chance) / ln(1 - p), whose logarithm stays finite where p itself is 0 in floating point.
    """
    if logprob == -math.inf:
        return math.inf
    p = math.exp(logprob)
    if p >= chance:
        return 0.0
    nats = -math.log1p(-p) if p > 1e-12 else p  # p itself to 12 digits below that
    log_nats = math.log(nats) if nats > 0 else logprob
    return max(0.0, (math.log(-math.log1p(-chance)) - log_nats) / math.log(10))


def tries(logprob: float, chance: float = EVEN) -> float:
    """The number of samples of which one is the value with this chance; at least 1, inf beyond the range of a float."""
    exponent = log10_tries(logprob, chance)
    return 10**exponent if exponent < 308 else math.inf


def logprob_for_tries(n: float, chance: float = EVEN) -> float:
    """The total log-probability at which n samples contain the value with this chance: the inverse of `tries`.

    Raises:
        ValueError: for fewer than one sample.
    """
    if n < 1:
        raise ValueError(f"{n} samples are fewer than one.")
    return math.log(-math.expm1(math.log1p(-chance) / n))


def chance_within(logprob: float, n: float) -> float:
    """The chance, 0..1, that the value is among n samples: 1 - (1 - p)^n."""
    p = math.exp(logprob)
    return 1.0 if p >= 1 else -math.expm1(n * math.log1p(-p))


def extraction_rate(logprobs: Sequence[float], n: float, chance: float = EVEN) -> float:
    """Share of the values, 0..1, of which n samples contain each with at least this chance."""
    return sum(chance_within(logprob, n) >= chance for logprob in logprobs) / len(logprobs)
