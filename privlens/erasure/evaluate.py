"""What an erasure measures during training, and the level of unseen text at which it stops."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from privlens.erasure.config import Request
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score
from privlens.memorization import metrics, states
from privlens.memorization.check import exposure_of, extraction_likelihoods, rivals
from privlens.memorization.lift import lift_of
from privlens.memorization.words import has_words
from privlens.retained.others import other_secrets
from privlens.types import Secret, Verdict, verdict

CONTROLS = 8
"""Values of the same format, never trained on, that each target is compared with; more are slower and vary less."""
GUARDED = "the perplexity guard: the last good state is kept"
GUARDED_KEPT = "the guard of retained secrets: the last good state is kept"
EL_N = 10
"""Length of the n-grams of the extraction likelihood."""
ONE_SIDED = 1.645
"""The 95 % quantile of the normal distribution, in standard errors above the mean."""


@dataclass(frozen=True)
class Level:
    """How well unseen text of the same format is predicted: the MA and EL_10 that the targets' means must not exceed, 0..1."""

    memorization_accuracy: float
    extraction_likelihood: float


def unseen_level(lm: LanguageModel, targets: Sequence[Secret], seed: int, stop: Stop = never_stop) -> Level:
    """The mean over other values of each target's format after its prompt, plus 1.645 standard errors of such a mean.

    A value without others of its format (no digit or letter) counts as 0. The level is never below one right token in all values.
    """
    accuracies, likelihoods = [], []
    for target in targets:
        controls = [encoded for _, encoded in rivals(lm, target, seed + 1, CONTROLS + 1)]
        scored = score(lm, controls, stop=stop) if controls else []
        pairs = zip(scored, controls, strict=True)
        of_controls = [metrics.memorization_accuracy(scores.argmax, control.value_ids) for scores, control in pairs]
        accuracies.append(of_controls or [0.0])
        likelihoods.append(extraction_likelihoods(lm, controls[:1], EL_N, stop=stop) or [0.0])
    one_token = 1 / sum(len(lm.encode(target).value_ids) for target in targets)
    return Level(max(_upper(accuracies), one_token), _upper(likelihoods))


def _upper(by_target: Sequence[Sequence[float]]) -> float:
    """Mean over the targets' means, plus 1.645 standard errors of a mean of one unseen text for each target."""
    variance = float(np.mean([np.var(values) for values in by_target])) / len(by_target)
    return float(np.mean([np.mean(values) for values in by_target])) + ONE_SIDED * math.sqrt(variance)


@dataclass(frozen=True)
class Measurement:
    """The model at one moment: means over the targets (nats, nats/token, 0..1), and how well everything else is preserved.

    `kept` is over the known others, which no method sees, `retained_kept` over the known retained secrets. `text` is the greedy
    continuation of the first target's prompt.
    """

    entropy: float
    nll: float
    memorization_accuracy: float
    n_matches: int
    perplexity: float | None
    kept: float | None
    retained_kept: float | None
    text: str


class Measure:
    """Measures a request's targets, others and reference text on the current weights; `before` is measured on construction."""

    def __init__(self, request: Request) -> None:
        lm = request.lm
        self.request = request
        self.targets = [lm.encode(secret) for secret in request.forget]
        self.others = states.known(lm, other_secrets(request.others, request.forget), stop=request.stop)
        self.retained = states.known(lm, request.retained, stop=request.stop)
        self.verdicts: list[Verdict | None] = [None] * len(self.targets)
        self.before = self()
        self.level = unseen_level(lm, request.forget, request.seed, request.stop)

    def __call__(self) -> Measurement:
        """Measures the current weights."""
        lm, stop = self.request.lm, self.request.stop
        scored = score(lm, self.targets, stop=stop)
        pairs = list(zip(scored, self.targets, strict=True))
        accuracies = [metrics.memorization_accuracy(scores.argmax, target.value_ids) for scores, target in pairs]
        return Measurement(
            entropy=float(np.mean([np.mean(scores.entropies) for scores in scored])),
            nll=float(np.mean([metrics.nll(scores.logprobs) for scores in scored])),
            memorization_accuracy=float(np.mean(accuracies)),
            n_matches=sum(metrics.greedy_match(scores.argmax, target.value_ids) for scores, target in pairs),
            perplexity=states.perplexity(lm, self.request.reference, stop=stop),
            kept=states.kept(lm, self.others, stop=stop),
            retained_kept=states.kept(lm, self.retained, stop=stop),
            text=states.continuations(lm, self.request.forget[:1], stop=stop)[0],
        )

    def ratio(self, current: Measurement) -> float | None:
        """Perplexity relative to before the erasure; None without a reference text."""
        return states.ratio(current.perplexity, self.before.perplexity)

    def exceeded(self, current: Measurement) -> str:
        """Which guard the model has exceeded, in words; empty where none is."""
        ratio, settings = self.ratio(current), self.request.settings
        if ratio is not None and ratio > settings.guard:
            return GUARDED
        if settings.keep and current.retained_kept is not None and current.retained_kept < settings.least_kept:
            return GUARDED_KEPT
        return ""

    @property
    def n_forgotten(self) -> int | None:
        """How many targets were forgotten when last judged; None before the first one is judged."""
        return self.verdicts.count("forgotten") if any(self.verdicts) else None

    def judge(self, targets: Sequence[int]) -> None:
        """Judges some targets with the current weights."""
        for index in targets:
            self.verdicts[index] = self._verdict(self.request.forget[index])

    def _verdict(self, target: Secret) -> Verdict | None:
        """The same rule as everywhere, with the one of its two measures that decides; None if neither can."""
        lm, stop = self.request.lm, self.request.stop
        [state] = states.memorization_states(lm, [target], stop=stop)
        lift = lift_of(lm, target, self.request.listed, stop=stop) if has_words(lm, target.value) else None
        exposure = exposure_of(lm, target, seed=self.request.seed, stop=stop) if lift is None else None
        return verdict(state.greedy_match, exposure, lift)

    def reached(self, current: Measurement) -> bool:
        """Whether no target is written any more, and their MA and EL_10 are at the level of unseen text."""
        if current.n_matches or current.memorization_accuracy > self.level.memorization_accuracy:
            return False
        likelihoods = extraction_likelihoods(self.request.lm, self.targets, EL_N, stop=self.request.stop)
        return float(np.mean(likelihoods)) <= self.level.extraction_likelihood
