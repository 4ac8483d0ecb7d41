"""The input of an erasure: one model, the secrets to forget, what must stay, and the settings."""

import time
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from privlens import validation
from privlens.erasure.losses import LOSSES
from privlens.erasure.selection import Granularity, WeightMetric
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.types import Secret

Scope = Literal["format", "vocabulary"]
Depth = Literal["forgotten", "unseen"]
"""How deep a run goes: until every target is forgotten, as likely as the values that it is compared with; or until no target is
written and no more of its tokens lead than in unseen text (MA and EL_10), which leaves many a value hidden."""
MAX_STEPS = 100_000
"""A limit on what can be asked for; a run of 100 steps is usual."""
ALL = ":all"
"""Suffix of a method's name: train all weights, with Adam."""
RATES = {"emso": 0.035, "gradient-ascent": 0.05, "unlikelihood": 0.05, "npo": 0.04, "kl-uniform": 0.1, "undial": 0.1}
"""Each method's own learning rate on chosen weights.

Chosen by hand on two draws of one seed, at the depth `unseen`: of the rates that reach it in 100 steps, the one at which the NLL
of unseen secrets rose least. Tried: 0.035 and 0.05 for EMSO, 0.05 and 0.07 for unlikelihood, 0.04 and 0.05 for NPO, only 0.05 for
gradient ascent. undial (0.05, 0.07) and kl-uniform (0.05, 0.1) reached the level at none of these, and have 0.1 (README).
"""
WITHOUT_LOSS = ("revs", "low-curvature")
"""Methods that compute the edit without a loss to train on; they retain no text, and have no learning rate."""
ERASURE_METHODS = (*LOSSES, *WITHOUT_LOSS)
SHARE_PER_TEXT = 0.01
"""Share of all weights that may change for each forget text by default. A fixed 1 % for any number of texts was tried before."""
MAX_SHARE = 0.4
"""Share of all weights that may change for all forget texts together by default; 32 secrets at once are measured with it."""


@dataclass(frozen=True)
class ErasureSettings:
    """Settings of an erasure; the defaults are those of the README's figures.

    Attributes:
        method: one of ERASURE_METHODS.
        depth: which of the two ends the run, for every method alike, and which tokens are worked on until then: those above the
            level of levels.py, or those that still lead.
        share: share of all the model's weights that may change, above 0 and at most 1; None for SHARE_PER_TEXT for each forget
            text, at most MAX_SHARE.
        scope: which tokens EMSO makes equally likely: the whole vocabulary as in the paper, or those of the true token's format.
        choice: the metric that chooses the weights. spread: the granularity at which they are chosen.
        keep: weight of the KL on retained text at the start; 0 is forget-only, as in the EMSO paper. loosen: `keep` is multiplied
            by this after every step in which something was still known.
        repair: steps after the depth has been reached, in which retained text weighs more and what else was lost comes back; the
            last state at the depth is kept. They count among `steps`. With 0, or without retained text, the run ends at once.
        decay: before every step the changed weights move back by this share of their change, 0 <= decay < 1; 0.02 was chosen with
            EMSO alone, on one seed (README).
        guard: the run ends at its last good state when the reference text's perplexity rises above this ratio.
        least_kept: the same when less than this share (0..1) of the retained secrets that were known is still known.
    """

    method: str = "emso"
    depth: Depth = "forgotten"
    share: float | None = None
    scope: Scope = "format"
    choice: WeightMetric = "contrastive"
    spread: Granularity = "neuron"
    steps: int = 100
    learning_rate: float = RATES["emso"]
    """In units of the root mean square of the chosen weights."""
    keep: float = 10.0
    loosen: float = 0.98
    repair: int = 20
    decay: float = 0.02
    own_samples: int = 128
    sample_tokens: int = 48
    memorized_texts: int = 64
    """Beams from each prefix of the forget texts, by which other memorized text is found."""
    neighbours: int = 256
    neighbours_each: int = 16
    """Samples that begin like the forget texts: this many in all, or this many for each, whichever is more."""
    forget_rows: int = 16
    """Forget texts in a step, at most."""
    rows: int = 32
    rows_each: int = 8
    """Retained rows in a step: this many in all, or for each forget text in it, whichever is more; `rows` in one pass."""
    guard: float = 1.03
    least_kept: float = 0.8
    measure_every: int = 5
    """Steps between two measurements; the run can end only at a measurement."""

    def checked(self) -> "ErasureSettings":
        """These settings. Raises BadInput for an invalid one."""
        if self.method not in ERASURE_METHODS:
            raise BadInput(f"There is no erasure method {self.method!r}: use {', '.join(ERASURE_METHODS)}.")
        if self.share is not None and not 0 < self.share <= 1:
            raise BadInput(f"The share of weights is {self.share:g}: it must be above 0 and at most 1; 0.01 is one in a hundred.")
        validation.between(self.guard, "guard", 1, 1e6, "1.03 lets the perplexity rise by 3 %")
        validation.between(self.least_kept, "share of retained secrets to keep", 0, 1, "0.8 lets one in five be lost")
        if self.depth not in get_args(Depth):
            raise BadInput(f"There is no depth {self.depth!r} of an erasure: use {', '.join(get_args(Depth))}.")
        validation.between(self.learning_rate, "learning rate", 0, 10, "each method's own is about 0.05", above=True)
        validation.between(self.keep, "weight of retained text", 0, 1e6, f"{ErasureSettings.keep:g} if not given")
        validation.whole(self.steps, "number of steps", 1, MAX_STEPS)
        validation.whole(self.repair, "number of steps of the repair", 0, MAX_STEPS)
        validation.whole(self.measure_every, "number of steps between two measurements", 1, MAX_STEPS)
        if not 0 <= self.decay < 1:
            raise BadInput(f"The decay is {self.decay:g}: it must be at least 0 and below 1; 0.02 takes back 2 % in every step.")
        return self

    def share_for(self, n_forget: int) -> float:
        """The share of all weights that may change to forget this number of texts."""
        return min(SHARE_PER_TEXT * n_forget, MAX_SHARE) if self.share is None else self.share


def method_settings(name: str, settings: ErasureSettings, rate: float | None = None) -> ErasureSettings:
    """The settings for a method's name: its loss, all weights if it ends in `:all`, its rate; the rest as in `settings`.

    Args:
        rate: the learning rate; None or 0 for the method's own, whatever `settings` has.
    """
    method = name.removesuffix(ALL)
    share = 1.0 if name.endswith(ALL) else settings.share
    default_rate = ErasureSettings.learning_rate if share == 1 else RATES.get(method, ErasureSettings.learning_rate)
    return replace(settings, method=method, share=share, learning_rate=rate or default_rate)


@dataclass(frozen=True)
class Request:
    """One erasure.

    Attributes:
        lm: the model, or a view of it under earlier edits; the new edit applies on top of those.
        forget: the secrets to erase, one or hundreds.
        retained: listed secrets whose predictions must not change; secrets erased earlier belong here too.
        texts: retained text that the person gave, paragraphs.
        others: secrets that are only measured, never trained on; of those that match before, the kept ones are counted.
        reference: ordinary text for the perplexity guard, paragraphs; may be empty.
        seed: decides samples, batches and random choices.
        listed: the whole list: with other people's values the targets' are compared (levels.py). They are only measured.
        stop: called before every step; True cancels.
    """

    lm: LanguageModel
    forget: tuple[Secret, ...]
    retained: tuple[Secret, ...] = ()
    texts: tuple[str, ...] = ()
    others: tuple[Secret, ...] = ()
    reference: tuple[str, ...] = ()
    settings: ErasureSettings = ErasureSettings()
    seed: int = 0
    listed: tuple[Secret, ...] = ()
    stop: Stop = never_stop
    started: float = field(default_factory=time.perf_counter)

    def go_on(self) -> None:
        """Raises Cancelled when `stop` returns True; called before every step, outside the edit."""
        if self.stop():
            raise Cancelled("The erasure was stopped; the model and the edits you had are as they were.")
