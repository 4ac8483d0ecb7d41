"""What an erasure is asked: one model, the secrets to forget, what must stay, and the settings. No method is known here."""

import time
from dataclasses import dataclass, field, replace
from typing import Literal

from privlens import validation
from privlens.erasure.losses import LOSSES
from privlens.erasure.selection import Granularity, WeightMetric
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.types import Secret

Scope = Literal["format", "vocabulary"]
STEPS_MOST = 100_000
ALL = ":all"
"""Behind a method's name: on all weights, by Adam."""
RATES = {"emso": 0.035, "gradient-ascent": 0.05, "unlikelihood": 0.05, "npo": 0.04, "kl-uniform": 0.1, "undial": 0.1}
"""Each method's own learning rate on chosen weights."""
SHARE_EACH, SHARE_MOST = 0.01, 0.4
"""Of all weights, how many may change for each forget text, and for all together, where nobody says."""


@dataclass(frozen=True)
class ErasureSettings:
    """Settings of an erasure; defaults are what the README's figures were made with.

    Attributes:
        method: one of LOSSES. share: of all weights of the model, how many may change, above 0 and at most 1; None for SHARE_EACH
            for each forget text, at most SHARE_MOST.
        scope: which tokens EMSO makes equally likely: all of the vocabulary as in the paper, or those of the true token's format.
        choice: the metric that chooses them. spread: over the whole model, or in every matrix alike.
        keep: weight of the KL on retained text at the start; 0 is forget-only, as in the EMSO paper. loosen: it is multiplied by
            this after every step in which something was still known.
        decay: before every step the changed weights go this share of the way back to the model's own, 0 <= decay < 1.
        guard: the run ends at its last good state when the reference text's perplexity rises above this ratio.
    """

    method: str = "emso"
    share: float | None = None
    scope: Scope = "format"
    choice: WeightMetric = "contrastive"
    spread: Granularity = "neuron"
    steps: int = 100
    learning_rate: float = RATES["emso"]
    """In units of the root mean square of the chosen weights."""
    keep: float = 10.0
    loosen: float = 0.98
    decay: float = 0.02
    own_samples: int = 128
    sample_tokens: int = 48
    memorized_texts: int = 64
    """Ways on from each beginning of the forget texts, the likeliest first, in which the model finds what else it knows."""
    neighbours: int = 256
    neighbours_each: int = 16
    """Samples that begin as the forget texts do: so many in all, or so many for each, whichever is more."""
    forget_rows: int = 16
    """Forget texts in a step, at most."""
    rows: int = 32
    rows_each: int = 8
    """Retained rows in a step: so many in all, or so many for each forget text in it, whichever is more; `rows` in one pass."""
    guard: float = 1.03
    measure_every: int = 5
    """Steps between two measurements, at which the run may end."""

    def checked(self) -> "ErasureSettings":
        """These settings. Raises BadInput for one that cannot be."""
        if self.method not in LOSSES:
            raise BadInput(f"There is no erasure method {self.method!r}: use {', '.join(LOSSES)}.")
        if self.share is not None and not 0 < self.share <= 1:
            raise BadInput(f"The share of weights is {self.share:g}: it must be above 0 and at most 1; 0.01 is one in a hundred.")
        validation.between(self.guard, "guard", 1, 1e6, "1.03 lets the perplexity rise by 3 %")
        validation.between(self.learning_rate, "learning rate", 0, 10, "each method's own is about 0.05", above=True)
        validation.between(self.keep, "weight of retained text", 0, 1e6, f"{ErasureSettings.keep:g} if not given")
        validation.whole(self.steps, "number of steps", 1, STEPS_MOST)
        validation.whole(self.measure_every, "number of steps between two measurements", 1, STEPS_MOST)
        if not 0 <= self.decay < 1:
            raise BadInput(f"The decay is {self.decay:g}: it must be at least 0 and below 1; 0.02 takes back 2 % in every step.")
        return self

    def of_all(self, n_forget: int) -> float:
        """The share of all weights that may change to forget so many texts."""
        return min(SHARE_EACH * n_forget, SHARE_MOST) if self.share is None else self.share


def settings_of(name: str, settings: ErasureSettings, rate: float | None = None) -> ErasureSettings:
    """What a method's name stands for, the rest as in `settings`: its loss, all weights where `:all` is behind it, its rate.

    Args:
        rate: the learning rate; without one, or with 0, the method's own, whatever stands in `settings`.
    """
    method, share = name.removesuffix(ALL), 1.0 if name.endswith(ALL) else settings.share
    own = ErasureSettings.learning_rate if share == 1 else RATES.get(method, ErasureSettings.learning_rate)
    return replace(settings, method=method, share=share, learning_rate=rate or own)


@dataclass(frozen=True)
class Request:
    """One erasure.

    Attributes:
        lm: the model, or a view of it under earlier edits; the edit is made on what it is.
        forget: what is to be erased, one secret or hundreds.
        retained: listed secrets that must stay as they are on this model; secrets erased earlier belong here too.
        texts: the person's own retained text, paragraphs.
        others: secrets that are only watched, never trained on; those that match before are counted as kept or not.
        reference: ordinary text for the perplexity guard, paragraphs; may be empty.
        seed: decides samples, batches and random choices. stop: asked at every step.
    """

    lm: LanguageModel
    forget: tuple[Secret, ...]
    retained: tuple[Secret, ...] = ()
    texts: tuple[str, ...] = ()
    others: tuple[Secret, ...] = ()
    reference: tuple[str, ...] = ()
    settings: ErasureSettings = ErasureSettings()
    seed: int = 0
    stop: Stop = never_stop
    started: float = field(default_factory=time.perf_counter)

    def go_on(self) -> None:
        """Raises Cancelled when `stop` says so; asked before every step, outside the edit."""
        if self.stop():
            raise Cancelled("The erasure was stopped; the model and the edits you had are as they were.")
