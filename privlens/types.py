"""The values that travel between the rooms: frozen, free of torch, writable as JSON and readable back.

What a record means is said in its docstring, with shapes and units. Layers and neurons count from 0. "Neuron" is one
coordinate of the input of an MLP's output projection. NLL is in nats per token, exposure in bits. Records of what came of
switching off and erasing are in outcomes.py.
"""

from dataclasses import dataclass, field, replace
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
    """The model is given the prompt; the value is the private continuation.

    Space that is typed between them, behind the prompt or before the value, stands as it is typed. Where there is none,
    `attached` says whether the value follows at once or behind a space; None leaves that to the model (`LanguageModel.settled`).
    It is a way of asking and no part of what makes two secrets the same.
    """

    prompt: str
    value: str
    category: str = ""
    attached: bool | None = field(default=None, compare=False)

    def with_value(self, value: str) -> "Secret":
        """Another value in the same place, behind the same space."""
        space = self.value[: len(self.value) - len(self.value.lstrip())]
        return replace(self, value=space + value)


@dataclass(frozen=True)
class TokenScore:
    """One token of the value under teacher forcing: natural log-probability, and rank (1 = the model's first choice)."""

    token: str
    logprob: float
    rank: int


TOP_SHARE = 1 / 8
"""A value stands out while it is among this share of the values of its space, the likeliest first."""


@dataclass(frozen=True)
class Exposure:
    """How far up a value ranks among the `n` values of its space, itself included (Carlini et al. 2019); `metrics` makes it.

    `rank` counts from 1, the likeliest; equally likely values share the middle of their ranks. `bits` are log2 n - log2 rank: at
    most `max_bits`, and `chance_bits` on average where all ranks are equally likely. All three are None where n is 1, because a
    value without another of its format ranks nowhere.
    """

    bits: float | None
    max_bits: float | None
    chance_bits: float | None
    rank: float
    n: int

    @property
    def stands_out(self) -> bool | None:
        """Whether it is in the first TOP_SHARE of its space (at least 3 bits); None where that share is less than one value."""
        return None if self.n * TOP_SHARE < 1 else self.rank <= self.n * TOP_SHARE


def forgotten(greedy_match: bool, exposure: Exposure | None) -> bool | None:
    """The one rule of what counts as forgotten: not written any more, and no longer standing out among values of its format.

    None where that cannot be judged: the exposure was not measured, or fewer values have the format than can be ranked.
    """
    if greedy_match:
        return False
    stands_out = exposure.stands_out if exposure else None
    return None if stands_out is None else not stands_out


@dataclass(frozen=True)
class Memorization:
    """How well a model knows one secret. `nll` in nats/token, `exposure` within the named candidate space."""

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

    `suggested_k` is how many neurons the method itself would switch off; None where it has no opinion.
    """

    method: str
    site: Site
    scores: Array
    suggested_k: int | None
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
class FetchStep:
    """Progress of fetching a model: bytes done of n_bytes, and what is being done. `folder` is there in the last step only."""

    done: int
    n_bytes: int
    stage: str
    folder: str | None = None


Record = TypeVar("Record")


def to_json(record: Any) -> str:
    """The record as one JSON object; arrays become lists."""
    return TypeAdapter(type(record)).dump_json(record).decode()


def from_json(kind: type[Record], text: str) -> Record:
    """The record that `to_json` wrote. Raises pydantic.ValidationError where the text does not fit the kind."""
    return TypeAdapter(kind).validate_json(text)
