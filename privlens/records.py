"""The values that travel between the rooms: frozen, free of torch, writable as JSON and readable back.

What a record means is said in its docstring, with shapes and units. Layers and neurons count from 0. "Neuron" is one
coordinate of the input of an MLP's output projection. NLL is in nats per token, exposure in bits.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import BeforeValidator, PlainSerializer, TypeAdapter

Site = Literal["mlp", "attention", "both"]
"""Where gates stand: on the inputs of the MLP's output projection, or of the attention's, or on both.

With `both` a layer's attention coordinates are numbered on from its last MLP neuron.
"""

Array = Annotated[
    Any,
    BeforeValidator(lambda given: np.asarray(given, dtype=np.float32)),
    PlainSerializer(lambda array: array.tolist(), return_type=list),
]
"""A float32 numpy array; lists in JSON. Records that hold one compare by identity."""

Indices = Annotated[
    Any,
    BeforeValidator(lambda given: np.asarray(given, dtype=np.int64)),
    PlainSerializer(lambda array: array.tolist(), return_type=list),
]
"""An int64 numpy array; lists in JSON."""


class Neuron(NamedTuple):
    """One neuron; both numbers count from 0."""

    layer: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


@dataclass(frozen=True)
class Secret:
    """The model is given the prompt; the value is the private continuation."""

    prompt: str
    value: str
    category: str = ""


@dataclass(frozen=True)
class TokenScore:
    """One token of the value under teacher forcing: natural log-probability, and rank (1 = the model's first choice)."""

    token: str
    logprob: float
    rank: int


@dataclass(frozen=True)
class Memorization:
    """How well a model knows one secret. `nll` in nats/token, `exposure_bits` within the named candidate space."""

    secret: Secret
    greedy_match: bool
    continuation: str
    nll: float
    memorization_accuracy: float
    extraction_strength: float
    extraction_likelihood: float
    exposure_bits: float
    max_exposure_bits: float
    candidate_space: str
    tokens: tuple[TokenScore, ...]


@dataclass(frozen=True)
class Provenance:
    """What a result depends on: model and its fingerprint, seed, settings, versions of the libraries, seconds it took."""

    model: str
    fingerprint: str
    seed: int
    settings: dict[str, Any]
    versions: dict[str, str]
    seconds: float


@dataclass(frozen=True, eq=False)
class Change:
    """New values for some entries of one parameter: flat `indices` (row-major, ascending), `old` and `new` values, all [n]."""

    indices: Indices
    old: Array
    new: Array


@dataclass(frozen=True, eq=False)
class Edit:
    """A sparse weight edit: a change for each parameter, by its name in the model. Used through `LanguageModel.edited`.

    `provenance` names the method, its settings, and the fingerprint of the model that the edit was made on.
    """

    changes: dict[str, Change]
    provenance: Provenance

    @property
    def n_weights(self) -> int:
        """How many weights it touches."""
        return sum(len(change.indices) for change in self.changes.values())


@dataclass(frozen=True, eq=False)
class NeuronScores:
    """A score for every neuron, large = carries the secret. `scores` [n_layers, width], NaN where a layer has no such neuron.

    `natural_k` is how many neurons the method itself would switch off; None where it has no opinion.
    """

    method: str
    site: Site
    scores: Array
    natural_k: int | None
    provenance: Provenance

    @property
    def n_neurons(self) -> int:
        """All neurons of the model at this site."""
        return int(np.count_nonzero(~np.isnan(self.scores)))

    def top(self, k: int) -> list[Neuron]:
        """The k neurons of highest score, best first; equal scores in order of layer, then index."""
        width = self.scores.shape[1]
        order = np.argsort(-self.scores, axis=None, kind="stable")[: min(max(0, k), self.n_neurons)]  # NaN comes last
        return [Neuron(int(flat) // width, int(flat) % width) for flat in order]


@dataclass(frozen=True, eq=False)
class LocalizationStep:
    """One step of a localization. `gates` [n_layers, width] in 0..1 as they stand; `terms` names every loss term (nats).

    `target_nll` in nats/token under the sampled gates; `result` is None but on the last step.
    """

    step: int
    n_steps: int
    stage: str
    gates: Array
    n_closed: int
    target_nll: float
    terms: dict[str, float] = field(default_factory=dict)
    result: NeuronScores | None = None


@dataclass(frozen=True)
class Recall:
    """What remains of one secret in one state of the model; `text` is the greedy continuation."""

    greedy_match: bool
    nll: float
    memorization_accuracy: float
    text: str = ""
    exposure_bits: float | None = None
    tokens: tuple[TokenScore, ...] = ()


@dataclass(frozen=True)
class Effect:
    """One secret with all neurons on, and with some off."""

    secret: Secret
    before: Recall
    after: Recall


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
    def memorised(self) -> int:
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
    """What one set of k neurons does when it is off. NLL in nats/token, exposure in bits, `others_kept` a share in 0..1."""

    k: int
    target_match: bool
    target_nll: float
    target_exposure_bits: float
    others_kept: float | None
    perplexity_ratio: float | None


@dataclass(frozen=True)
class SweepRow:
    """One point of the curve over k: the best k neurons off. Rates are shares in 0..1."""

    k: int
    share: float
    target_match: bool
    target_nll: float
    target_exposure_bits: float
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


@dataclass(frozen=True)
class FetchStep:
    """Progress of fetching a model: bytes done of n_bytes, and what is being done. `folder` is there in the last step only."""

    done: int
    n_bytes: int
    stage: str
    folder: str | None = None


@dataclass(frozen=True, eq=False)
class ErasureStep:
    """One step of an erasure, measured before the step's own change of weights; over the forget texts' value tokens.

    `entropy` of the next-token distribution (nats), `nll` (nats/token) and `memorization_accuracy` are means over the targets of
    this step's batch, or over all targets where `measured`; `n_matches` counts the targets still written word for word.
    `perplexity_ratio` of the reference text (None without one) and `kept`, the share of the memorised others that still match
    (None without others), are those of the last measurement. `n_weights` is how many weights train. `unseen_accuracy` is the
    memorization accuracy of text that was never trained on, at which the run may end. `terms` names the parts of the loss. The
    last step says in `ended` why it is the last, and carries the edit.
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
    ended: str = ""
    result: Edit | None = None


@dataclass(frozen=True)
class Attack:
    """One way of getting erased values back, tried on the model before and after the erasure; rates are shares in 0..1.

    `before` and `after` are success rates over the targets, `detail` says in words what was counted; `by_layer` where there is
    a number for each layer, from the embeddings (0) on.
    """

    name: str
    before: float
    after: float
    chance: float | None
    detail: str
    before_by_layer: tuple[float, ...] = ()
    after_by_layer: tuple[float, ...] = ()


Record = TypeVar("Record")


def to_json(record: Any) -> str:
    """The record as one JSON object; arrays become lists."""
    return TypeAdapter(type(record)).dump_json(record).decode()


def from_json(kind: type[Record], text: str) -> Record:
    """The record that `to_json` wrote. Raises pydantic.ValidationError where the text does not fit the kind."""
    return TypeAdapter(kind).validate_json(text)
