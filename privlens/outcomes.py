"""The results of switching neurons off, of erasing, of attacks and of prompts: records as in types.py, frozen and free of torch.

"Before" means with all neurons on, or before an erasure. NLL is in nats per token, exposure in bits.
"""

import math
from dataclasses import dataclass, field

from privlens.types import Edit, Exposure, FormatExposure, Lift, Neuron, Provenance, Secret, TokenScore, Verdict, verdict


@dataclass(frozen=True)
class MemorizationState:
    """How well one state of the model knows a secret; `text` is the greedy continuation, `exposure` is None until measured."""

    greedy_match: bool
    nll: float
    memorization_accuracy: float
    text: str = ""
    exposure: Exposure | None = None
    tokens: tuple[TokenScore, ...] = ()
    format_exposure: FormatExposure | None = None
    lift: Lift | None = None

    @property
    def logprob(self) -> float:
        """Total log-probability of the value in nats."""
        return sum(token.logprob for token in self.tokens)

    @property
    def verdict(self) -> Verdict | None:
        """What became of the secret in this state; None if that cannot be decided or is not measured yet."""
        return verdict(self.greedy_match, self.exposure, self.lift)

    @property
    def forgotten(self) -> bool | None:
        """Whether the secret counts as forgotten in this state; None if that cannot be decided or is not measured yet."""
        found = self.verdict
        return None if found is None else found == "forgotten"


@dataclass(frozen=True)
class Effect:
    """One secret with all neurons on, and with some of them off."""

    secret: Secret
    before: MemorizationState
    after: MemorizationState


@dataclass(frozen=True)
class Outcome:
    """The effect of switching one set of neurons off on the target, the other secrets and the reference text.

    The perplexities are exp(mean nats/token), None without a reference text.
    """

    neurons: tuple[Neuron, ...]
    target: Effect
    others: tuple[Effect, ...]
    perplexity_before: float | None
    perplexity_after: float | None

    @property
    def memorized(self) -> int:
        """The number of other secrets that match with all neurons on."""
        return sum(effect.before.greedy_match for effect in self.others)

    @property
    def kept(self) -> int:
        """The number of those that still match."""
        return sum(effect.before.greedy_match and effect.after.greedy_match for effect in self.others)

    @property
    def perplexity_ratio(self) -> float | None:
        """After / before; None without a reference text."""
        if self.perplexity_before is None or self.perplexity_after is None:
            return None
        return self.perplexity_after / self.perplexity_before


@dataclass(frozen=True)
class KeptCount:
    """Of `known` other secrets that matched before, `kept` still match."""

    kept: int
    known: int


@dataclass(frozen=True)
class Comparison:
    """The effect of switching the chosen neurons off, and of as many random ones as a control."""

    chosen: Outcome
    random: Outcome
    provenance: Provenance


@dataclass(frozen=True)
class ComparisonStep:
    """Progress of a comparison. `target` is set from the first step on, `result` on the last step only."""

    step: int
    n_steps: int
    stage: str
    target: Effect
    result: Comparison | None = None


@dataclass(frozen=True)
class CurvePoint:
    """The effect of switching one set of k neurons off. `others_kept` is a share in 0..1.

    NLL is in nats/token, `target_logprob` the value's total log-probability in nats; exposures are in bits. None means not
    measured, or not yet.
    """

    k: int
    target_match: bool
    target_nll: float
    target_logprob: float
    target_exposure: Exposure | None
    others_kept: float | None
    perplexity_ratio: float | None
    target_format_exposure: FormatExposure | None = None


@dataclass(frozen=True)
class MeasuredOn:
    """How many texts effects were measured on, to be shown beside them.

    Attributes:
        others: the number of other secrets measured. known: the number of memorized ones that no method was given.
        paragraphs: the number of paragraphs of ordinary text.
        candidates: the number of values among which the exposure ranks the secret's own, itself included.
    """

    others: int
    known: int
    paragraphs: int
    candidates: int

    @property
    def most_bits(self) -> float:
        """The highest possible exposure."""
        return math.log2(self.candidates)


@dataclass(frozen=True)
class SweepRow:
    """One point of the curve over k, with the best k neurons off. Rates are shares in 0..1."""

    k: int
    share: float
    target_match: bool
    target_nll: float
    target_logprob: float
    target_exposure: Exposure | None
    target_format_exposure: FormatExposure | None
    others_kept: float | None
    perplexity_ratio: float | None
    random_nll: float
    random_logprob: float
    random_kept: float | None
    random_perplexity_ratio: float | None


@dataclass(frozen=True)
class SweepStep:
    """Progress of a sweep over k: the rows measured so far, all of them once step == n_steps."""

    step: int
    n_steps: int
    rows: tuple[SweepRow, ...]


@dataclass(frozen=True, eq=False)
class ErasureStep:
    """One step of an erasure, measured over the value tokens of the forget texts before the step changes the weights.

    `entropy` of the next-token distribution (nats), `nll` (nats/token) and `memorization_accuracy` are means over the targets of
    this step's batch, or over all targets if `measured`; `n_matches` counts the targets that are still generated word for word,
    `n_forgotten` those that were forgotten when last judged (None before the first one is).
    `perplexity_ratio` of the reference text (None without one) and `kept`, the share of the memorized others that still match
    (None without others), are those of the last measurement. `n_weights` is how many weights are trained. `unseen_accuracy` is
    the memorization accuracy of text that was never trained on, at which the run may end. `terms` has the terms of the loss.
    `text` is the greedy continuation of the first target's prompt, as last measured. On the last step `ended` says why the run
    ended, and `result` is the edit.
    """

    step: int
    n_steps: int
    stage: str
    entropy: float
    nll: float
    memorization_accuracy: float
    n_matches: int | None
    n_targets: int
    perplexity_ratio: float | None
    kept: float | None
    n_weights: int
    unseen_accuracy: float
    measured: bool = False
    n_forgotten: int | None = None
    terms: dict[str, float] = field(default_factory=dict)
    text: str = ""
    ended: str = ""
    result: Edit | None = None


@dataclass(frozen=True)
class AttributionShift:
    """How the neurons' attributions of a value changed, summed over neurons, in nats of the value's log-odds.

    `support` and `suppression` are the sums of positive and (without their sign) of negative attributions before. `weakened` is
    what supporters lost (D+), `grown` is what suppressors gained (D-); both are at least 0.
    """

    support: float
    suppression: float
    weakened: float
    grown: float

    @property
    def hidden_share(self) -> float | None:
        """Of what changed to the value's disadvantage, the share that is suppression; None if nothing did."""
        total = self.weakened + self.grown
        return self.grown / total if total else None


@dataclass(frozen=True)
class EraseOrHide:
    """Whether an erasure weakened the neurons that support a value, or made others suppress it.

    Attributes:
        random: the same for an edit of as many random weights by as much; None where there is no single edit to imitate.
        others: the same for other memorized secrets, which were not erased.
        log_odds_before, log_odds_after: of the value, summed over its private tokens, nats.
        neurons: the neurons with the largest attributions before or after, the largest first; `before` and `after` are theirs.
    """

    secret: Secret
    shift: AttributionShift
    random: AttributionShift | None
    others: tuple[AttributionShift, ...]
    log_odds_before: float
    log_odds_after: float
    neurons: tuple[Neuron, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True)
class Count:
    """`k` of `n` values, with the 95 % Clopper-Pearson interval of the rate (`intervals.rate`); `what` says which and of what."""

    what: str
    k: int
    n: int
    interval: tuple[float, float]


@dataclass(frozen=True)
class Attack:
    """One way of recovering erased values, tried on the model before and after the erasure; rates are shares in 0..1.

    Attributes:
        before, after: the success rate over the targets; None if the attack did not run, in which case `note` says why.
        chance: the mean success after the erasure on values of the same format that were never trained on; None without any.
        limit: what such values exceed in at most 5 % of cases, over all attacks of a run together; None if it is not known.
        n_values: how many such values there were for each target.
        detail: what was counted. note: anything else the reader should know.
        counts: whole values that came back, of the targets before and after and of the other values.
    """

    name: str
    before: float | None
    after: float | None
    chance: float | None = None
    limit: float | None = None
    n_values: int = 0
    detail: str = ""
    note: str = ""
    counts: tuple[Count, ...] = ()

    @property
    def ran(self) -> bool:
        """Whether the attack could be run."""
        return self.after is not None

    @property
    def found_something(self) -> bool:
        """Whether it succeeded more often than it does on values that were never trained on."""
        return self.after is not None and self.limit is not None and self.after > self.limit


@dataclass(frozen=True)
class PromptSalience:
    """What each token of a prompt does for the log-probability of its value, signed, in nats.

    Attributes:
        tokens: of the prompt. nats: of each token; their sum is logprob - baseline_logprob + delta.
        logprob, baseline_logprob: of the value behind the prompt, and behind the baseline in its place.
        delta: what is missing from completeness: far from 0 the parts are not to be trusted.
        control_nats, control_delta: of a value of the same format that nobody trained on; None where there is none.
    """

    secret: Secret
    tokens: tuple[str, ...]
    nats: tuple[float, ...]
    logprob: float
    baseline_logprob: float
    delta: float
    control_nats: tuple[float, ...] | None
    control_delta: float | None
    provenance: Provenance
