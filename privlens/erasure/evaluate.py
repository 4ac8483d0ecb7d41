"""What an erasure measures of a model while it goes on, and the level of unseen text at which it ends."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from privlens.erasure.config import Request
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score
from privlens.memorization import metrics, states
from privlens.memorization.check import extraction_likelihoods, rivals
from privlens.retained.others import other_secrets
from privlens.types import Secret

CONTROLS = 8
"""Values of the same format, never trained on, that each target is compared with."""
EL_N = 10
ONE_SIDED = 1.645
"""Standard errors above the mean that 95 % of unseen texts stay below."""


@dataclass(frozen=True)
class Level:
    """How well unseen text of the same format is known: MA and EL_10 that the targets' means shall not exceed, 0..1."""

    memorization_accuracy: float
    extraction_likelihood: float


def unseen_level(lm: LanguageModel, targets: Sequence[Secret], seed: int, stop: Stop = never_stop) -> Level:
    """Of other values of each target's format behind its prompt: their mean, plus what the mean of so many texts varies by.

    A value with no other of its format (no digit or letter) counts as not known at all. One token of all the values may be right
    by chance in any case.
    """
    accuracies, likelihoods = [], []
    for target in targets:
        controls = [encoded for _, encoded in rivals(lm, target, seed + 1, CONTROLS + 1)]
        scored = score(lm, controls, stop=stop) if controls else []
        own = [metrics.memorization_accuracy(one.argmax, text.value_ids) for one, text in zip(scored, controls, strict=True)]
        accuracies.append(own or [0.0])
        likelihoods.append(extraction_likelihoods(lm, controls[:1], EL_N, stop=stop) or [0.0])
    one_token = 1 / sum(len(lm.encode(target).value_ids) for target in targets)
    return Level(max(_upper(accuracies), one_token), _upper(likelihoods))


def _upper(by_target: Sequence[Sequence[float]]) -> float:
    """Mean over the targets' means, plus 1.645 standard errors of a mean of one unseen text for each target."""
    variance = float(np.mean([np.var(own) for own in by_target])) / len(by_target)
    return float(np.mean([np.mean(own) for own in by_target])) + ONE_SIDED * math.sqrt(variance)


@dataclass(frozen=True)
class Measured:
    """One state of the model: means over the targets (nats, nats/token, 0..1), and what is left of everything else.

    `text` is what it writes by itself after the first target's prompt.
    """

    entropy: float
    nll: float
    memorization_accuracy: float
    n_matches: int
    perplexity: float | None
    kept: float | None
    text: str


class Measure:
    """Measures a request's targets, others and reference text in whatever state the model is in; knows it before the erasure."""

    def __init__(self, request: Request) -> None:
        lm = request.lm
        self.request, self.targets = request, [lm.encode(secret) for secret in request.forget]
        self.others = states.known(lm, other_secrets(request.others, request.forget), stop=request.stop)
        self.before = self()
        self.level = unseen_level(lm, request.forget, request.seed, request.stop)

    def __call__(self) -> Measured:
        """The state as it is now."""
        lm, stop = self.request.lm, self.request.stop
        scored = score(lm, self.targets, stop=stop)
        pairs = list(zip(scored, self.targets, strict=True))
        accuracies = [metrics.memorization_accuracy(one.argmax, text.value_ids) for one, text in pairs]
        return Measured(
            entropy=float(np.mean([np.mean(one.entropies) for one in scored])),
            nll=float(np.mean([metrics.nll(one.logprobs) for one in scored])),
            memorization_accuracy=float(np.mean(accuracies)),
            n_matches=sum(metrics.greedy_match(one.argmax, text.value_ids) for one, text in pairs),
            perplexity=states.perplexity(lm, self.request.reference, stop=stop),
            kept=states.kept(lm, self.others, stop=stop),
            text=states.continuations(lm, self.request.forget[:1], stop=stop)[0],
        )

    def ratio(self, now: Measured) -> float | None:
        """Perplexity as a ratio to the one before; None without a reference text."""
        return states.ratio(now.perplexity, self.before.perplexity)

    def reached(self, now: Measured) -> bool:
        """Whether no target is written any more and their MA and EL_10 are at the level of unseen text."""
        if now.n_matches or now.memorization_accuracy > self.level.memorization_accuracy:
            return False
        found = extraction_likelihoods(self.request.lm, self.targets, EL_N, stop=self.request.stop)
        return float(np.mean(found)) <= self.level.extraction_likelihood
