"""The records that modules exchange: frozen, free of torch, and convertible to JSON and back.

Each docstring says what its record means, with shapes and units. Layers and neurons are counted from 0. A neuron is one
coordinate of the input of an MLP's output projection. NLL is in nats per token, exposure in bits. The results of switching
neurons off and of erasing are in outcomes.py.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import BeforeValidator, PlainSerializer, TypeAdapter

Site = Literal["mlp", "attention", "both"]
"""Where gates act: on the inputs of the MLP's output projection, of the attention's, or of both.

With `both`, the numbering of a layer's attention coordinates continues after its last MLP neuron.
"""

Array = Annotated[
    Any,
    BeforeValidator(lambda values: np.asarray(values, dtype=np.float32)),
    PlainSerializer(lambda array: array.tolist(), return_type=list),
]
"""A float32 numpy array; lists in JSON. Records that hold one compare by identity."""

Indices = Annotated[
    Any,
    BeforeValidator(lambda values: np.asarray(values, dtype=np.int64)),
    PlainSerializer(lambda array: array.tolist(), return_type=list),
]
"""An int64 numpy array; lists in JSON."""


class Neuron(NamedTuple):
    """One neuron; both numbers count from 0."""

    layer: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


@dataclass(frozen=True)
class Secret:
    """The model is given the prompt; the value is the private continuation.

    Space typed between them, at the end of the prompt or the start of the value, is kept as typed. If there is none, `attached`
    says whether the value follows directly or after a space; None lets the model decide (`LanguageModel.settled`). It only
    affects how
    the secret is asked for: two secrets that differ in nothing else are equal.
    """

    prompt: str
    value: str
    category: str = ""
    attached: bool | None = field(default=None, compare=False)

    def with_value(self, value: str) -> "Secret":
        """The same prompt with another value, after the same space."""
        space = self.value[: len(self.value) - len(self.value.lstrip())]
        return replace(self, value=space + value)


@dataclass(frozen=True)
class TokenScore:
    """One token of the value under teacher forcing: its natural log-probability and its rank (1 = the model's first choice)."""

    token: str
    logprob: float
    rank: int


TOP_SHARE = 1 / 8
"""A value stands out if it is among this share of the most likely values of its space; at 1/8 that is at least 3 bits."""


@dataclass(frozen=True)
class Exposure:
    """How high a value ranks among the `n` values of its space, itself included (Carlini et al. 2019); computed by `metrics`.

    `rank` counts from 1, the most likely; equally likely values share the mean of their ranks. `bits` is log2 n - log2 rank: at
    most `max_bits`, and `chance_bits` on average if all ranks are equally likely. All three are None where n is 1, because a
    value with no other of its format to compare with has no meaningful rank.
    """

    bits: float | None
    max_bits: float | None
    chance_bits: float | None
    rank: float
    n: int

    @property
    def stands_out(self) -> bool | None:
        """Whether it is in the first TOP_SHARE of its space (at least 3 bits); None if that share is less than one value."""
        return None if self.n * TOP_SHARE < 1 else self.rank <= self.n * TOP_SHARE


def forgotten(greedy_match: bool, exposure: Exposure | None) -> bool | None:
    """Whether a value counts as forgotten: it is no longer generated, and no longer stands out among values of its format.

    None if that cannot be decided: the exposure was not measured, or too few values have the format.
    """
    if greedy_match:
        return False
    stands_out = exposure.stands_out if exposure else None
    return None if stands_out is None else not stands_out


@dataclass(frozen=True)
class Memorization:
    """How well a model knows one secret. `nll` is in nats/token, `exposure` is within the named candidate space."""

    secret: Secret
    greedy_match: bool
    continuation: str
    nll: float
    memorization_accuracy: float
    extraction_strength: float
    extraction_likelihood: float
    exposure: Exposure
    candidate_space: str
    tokens: tuple[TokenScore, ...]


@dataclass(frozen=True)
class Provenance:
    """What a result depends on: the model and its fingerprint, seed, settings and library versions; and the seconds it took."""

    model: str
    fingerprint: str
    seed: int
    settings: dict[str, Any]
    versions: dict[str, str]
    seconds: float


@dataclass(frozen=True, eq=False)
class Change:
    """New values for some entries of one parameter: flat `indices` (row-major, ascending), `old` and `new` values, each [n]."""

    indices: Indices
    old: Array
    new: Array


@dataclass(frozen=True, eq=False)
class Edit:
    """A sparse weight edit: a change for each parameter, by its name in the model. Applied by `LanguageModel.edited`.

    `provenance` names the method, its settings, and the fingerprint of the model that the edit was made on.
    """

    changes: dict[str, Change]
    provenance: Provenance

    @property
    def n_weights(self) -> int:
        """The number of weights it changes."""
        return sum(len(change.indices) for change in self.changes.values())


@dataclass(frozen=True, eq=False)
class NeuronScores:
    """A score for every neuron; higher scores carry more of the secret.

    `scores` is [n_layers, width], with NaN where a layer has no such neuron. `suggested_k` is how many neurons the method itself
    would switch off; None if it suggests none.
    """

    method: str
    site: Site
    scores: Array
    suggested_k: int | None
    provenance: Provenance

    @property
    def n_neurons(self) -> int:
        """The number of neurons of the model at this site."""
        return int(np.count_nonzero(~np.isnan(self.scores)))

    def top(self, k: int) -> list[Neuron]:
        """The k neurons with the highest scores, best first; ties are broken by layer, then index."""
        width = self.scores.shape[1]
        order = np.argsort(-self.scores, axis=None, kind="stable")[: min(max(0, k), self.n_neurons)]  # NaN sorts last
        return [Neuron(int(flat) // width, int(flat) % width) for flat in order]


@dataclass(frozen=True, eq=False)
class LocalizationStep:
    """One step of a localization. `gates` [n_layers, width] are the current ones in 0..1; `terms` has every loss term (nats).

    `target_nll` is in nats/token under the sampled gates; `result` is set on the last step only.
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
class FetchStep:
    """Progress of fetching a model: `done` of `n_bytes`, and the current stage. `folder` is set on the last step only."""

    done: int
    n_bytes: int
    stage: str
    folder: str | None = None


Record = TypeVar("Record")


def to_json(record: Any) -> str:
    """The record as one JSON object; arrays become lists."""
    return TypeAdapter(type(record)).dump_json(record).decode()


def from_json(kind: type[Record], text: str) -> Record:
    """The record that `to_json` wrote. Raises pydantic.ValidationError if the text is not a record of this kind."""
    return TypeAdapter(kind).validate_json(text)
