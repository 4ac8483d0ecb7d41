"""What came of switching neurons off, of erasing, and of attacks: values as in `records`, frozen and free of torch.

"Before" is with all neurons on, or before an erasure. NLL is in nats per token, exposure in bits.
"""

import math
from dataclasses import dataclass, field

from privlens.types import Edit, Exposure, Neuron, Provenance, Secret, TokenScore, forgotten


@dataclass(frozen=True)
class MemorizationState:
    """What remains of one secret in one state of the model; `text` is the greedy continuation, `exposure` None until measured."""

    greedy_match: bool
    nll: float
    memorization_accuracy: float
    text: str = ""
    exposure: Exposure | None = None
    tokens: tuple[TokenScore, ...] = ()

    @property
    def forgotten(self) -> bool | None:
        """Whether it counts as forgotten in this state; None where that cannot be judged, or is not measured yet."""
        return forgotten(self.greedy_match, self.exposure)


@dataclass(frozen=True)
class Effect:
    """One secret with all neurons on, and with some off."""

    secret: Secret
    before: MemorizationState
    after: MemorizationState


@dataclass(frozen=True)
class Outcome:
    """What one set of neurons does when it is off: to the target, the other secrets and the reference text.

    `perplexity` is exp(mean nats/token); `kept` counts the others that matched before and still do.
    """

    neurons: tuple[Neuron, ...]
    target: Effect
    others: tuple[Effect, ...]
    perplexity_before: float | None
    perplexity_after: float | None

    @property
    def memorized(self) -> int:
        """How many of the others matched with all neurons on."""
        return sum(effect.before.greedy_match for effect in self.others)

    @property
    def kept(self) -> int:
        """How many of those still match."""
        return sum(effect.before.greedy_match and effect.after.greedy_match for effect in self.others)

    @property
    def perplexity_ratio(self) -> float | None:
        """After / before; None without a reference text."""
        if self.perplexity_before is None or self.perplexity_after is None:
            return None
        return self.perplexity_after / self.perplexity_before


@dataclass(frozen=True)
class KeptCount:
    """Of `known` other secrets, which matched before, `kept` still do."""

    kept: int
    known: int


@dataclass(frozen=True)
class Comparison:
    """The chosen neurons off, beside as many random ones off, which is the control."""

    chosen: Outcome
    random: Outcome
    provenance: Provenance


@dataclass(frozen=True)
class ComparisonStep:
    """Progress of a comparison. `target` is there from the first step on, `result` only in the last."""

    step: int
    n_steps: int
    stage: str
    target: Effect
    result: Comparison | None = None


@dataclass(frozen=True)
class CurvePoint:
    """What one set of k neurons does when it is off. NLL in nats/token, exposure in bits, `others_kept` a share in 0..1.

    None is what was not measured, or not yet.
    """

    k: int
    target_match: bool
    target_nll: float
    target_exposure: Exposure | None
    others_kept: float | None
    perplexity_ratio: float | None


@dataclass(frozen=True)
class MeasuredOn:
    """How many texts effects were measured on, to stand beside them.

    Attributes:
        others: secrets that judge, of so many `known` by heart that no method was given. paragraphs: of ordinary text.
        candidates: values that the exposure ranks the secret's own among, itself included.
    """

    others: int
    known: int
    paragraphs: int
    candidates: int

    @property
    def most_bits(self) -> float:
        """The highest exposure there can be."""
        return math.log2(self.candidates)


@dataclass(frozen=True)
class SweepRow:
    """One point of the curve over k: the best k neurons off. Rates are shares in 0..1."""

    k: int
    share: float
    target_match: bool
    target_nll: float
    target_exposure: Exposure | None
    others_kept: float | None
    perplexity_ratio: float | None
    random_nll: float
    random_kept: float | None
    random_perplexity_ratio: float | None


@dataclass(frozen=True)
class SweepStep:
    """Progress of a sweep over k: the rows measured so far; all of them when step == n_steps."""

    step: int
    n_steps: int
    rows: tuple[SweepRow, ...]


@dataclass(frozen=True, eq=False)
class ErasureStep:
    """One step of an erasure, measured before the step's own change of weights; over the forget texts' value tokens.

    `entropy` of the next-token distribution (nats), `nll` (nats/token) and `memorization_accuracy` are means over the targets of
    this step's batch, or over all targets where `measured`; `n_matches` counts the targets still written word for word.
    `perplexity_ratio` of the reference text (None without one) and `kept`, the share of the memorized others that still match
    (None without others), are those of the last measurement. `n_weights` is how many weights train. `unseen_accuracy` is the
    memorization accuracy of text that was never trained on, at which the run may end. `terms` names the parts of the loss.
    `text` is the greedy continuation of the first target's prompt, as last measured. The last step says in `ended` why it is the
    last, and carries the edit.
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
    terms: dict[str, float] = field(default_factory=dict)
    text: str = ""
    ended: str = ""
    result: Edit | None = None


@dataclass(frozen=True)
class Attack:
    """One way of getting erased values back, tried on the model before and after the erasure; rates are shares in 0..1.

    Attributes:
        before, after: success over the targets; None where the attack did not run, and `note` says why.
        chance: the mean success after the erasure on other values of the format, which nobody trained on; None without any.
        limit: what such values exceed, all attacks of a run together, in at most 5 % of cases; None where that cannot be said.
        n_values: how many such values there were for each target.
        detail: what was counted. note: what else is to be known.
    """

    name: str
    before: float | None
    after: float | None
    chance: float | None = None
    limit: float | None = None
    n_values: int = 0
    detail: str = ""
    note: str = ""

    @property
    def ran(self) -> bool:
        """Whether it could be tried."""
        return self.after is not None

    @property
    def found_something(self) -> bool:
        """Whether it succeeded more often than values can that nobody trained on."""
        return self.after is not None and self.limit is not None and self.after > self.limit
