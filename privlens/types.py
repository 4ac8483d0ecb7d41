"""The records that modules exchange: frozen, free of torch, and convertible to JSON and back.

Each docstring says what its record means, with shapes and units. Layers and neurons are counted from 0. A neuron is one
coordinate of the input of an MLP's output projection. NLL is in nats per token, exposure in bits. The results of switching
neurons off and of erasing are in outcomes.py.
"""

import json
import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, WithJsonSchema

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

Logprob = Annotated[
    float,
    BeforeValidator(lambda value: -math.inf if value is None else value),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]}),
]
"""A natural logarithm of a probability, in nats; -inf is null in JSON, which has no infinity."""

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


TAIL = 0.05
"""A value stands out among others of its kind if it is in the first 5 % of them, and falls behind if it is in the last 5 %: the
middle 90 % is where values that were never trained on are."""

Verdict = Literal["known", "hidden", "forgotten", "avoided"]
"""What became of a secret, judged beside values that nobody trained on.

`known`: generated word for word. `hidden`: no longer generated, but still likelier than such values are. `forgotten`: as likely
as they are. `avoided`: conspicuously less likely than they are, which gives the value away too.
"""


Standing = Literal["first", "middle", "last"]


def standing(rank: float, n: int) -> Standing:
    """Whether a rank (1 = the likeliest) among n is in the first 5 %, the last 5 %, or between them.

    Among fewer than 20 only rank 1 is first, and no rank is last: the claim that nothing stands out is made with caution.
    """
    if rank <= max(1.0, n * TAIL):
        return "first"
    return "last" if rank > n - int(n * TAIL) else "middle"


@dataclass(frozen=True)
class Exposure:
    """How high a value ranks among the `n` values of its space, itself included (Carlini et al. 2019); computed by `metrics`.

    `rank` counts from 1, the most likely; equally likely values share the mean of their ranks. `bits` is log2 n - log2 rank: at
    most `max_bits`, and `chance_bits` on average if all ranks are equally likely. All three are None where n is 1, because a
    value with no other of its format to compare with has no meaningful rank. `fair` is whether they are fair rivals: random
    strings are none of a value that is made of words, which outranks them without being memorized.
    """

    bits: float | None
    max_bits: float | None
    chance_bits: float | None
    rank: float
    n: int
    fair: bool = True

    @property
    def standing(self) -> Standing | None:
        """Where it is in its space; None if 5 % of it are less than one value."""
        return None if self.n * TAIL < 1 else standing(self.rank, self.n)


@dataclass(frozen=True)
class FormatExposure:
    """Exposure in bits among all values of the format, estimated from `n_draws` samples of which `n_above` were likelier.

    `low_bits` and `high_bits` are its 95 % interval, `max_bits` is log2 of the number of values of the format.
    """

    bits: float
    low_bits: float
    high_bits: float
    max_bits: float
    n_draws: int
    n_above: int


@dataclass(frozen=True)
class Lift:
    """How much likelier a value is behind its own prompt than behind other people's, beside other people's values.

    The lift of a value is its log-probability behind this prompt minus its mean log-probability behind other people's, so it does
    not matter how usual the value is as such. `nats` is that of the secret, `margin` its lead over the best of the other prompts;
    `rank` is the rank of its lift among those of the `n` values, itself included: other people's values, behind this prompt.
    """

    nats: float
    margin: float
    rank: float
    n: int

    @property
    def standing(self) -> Standing:
        """Where it is among the lifts."""
        return standing(self.rank, self.n)


def verdict(greedy_match: bool, exposure: Exposure | None, lift: Lift | None) -> Verdict | None:
    """What became of a secret; None if that cannot be decided or was not measured.

    It is judged by its exposure, but a value made of words by its lift, if there is one. Without a lift such a value counts as
    forgotten if even among random strings it does not stand out, and nothing can be said if it does.
    """
    if greedy_match:
        return "known"
    if lift and not (exposure and exposure.fair):
        place: Standing | None = lift.standing
    else:
        place = exposure.standing if exposure else None
        if exposure and not exposure.fair and place == "first":
            return None
    if place is None:
        return None
    verdicts: dict[Standing, Verdict] = {"first": "hidden", "middle": "forgotten", "last": "avoided"}
    return verdicts[place]


@dataclass(frozen=True)
class Memorization:
    """How well a model knows one secret. `nll` is in nats/token, `exposure` is within the named candidate space.

    `sampled_logprob` is the value's total log-probability (nats) when sampled at `temperature` from the `top_k` likeliest tokens
    (0 for all), -inf if it is never sampled; `format_exposure` and `lift` are None where they cannot be measured.
    """

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
    sampled_logprob: Logprob
    temperature: float = 1.0
    top_k: int = 0
    format_exposure: FormatExposure | None = None
    lift: Lift | None = None

    @property
    def logprob(self) -> float:
        """Total log-probability of the value in nats, at temperature 1 over all tokens."""
        return sum(token.logprob for token in self.tokens)

    @property
    def verdict(self) -> Verdict | None:
        """How the secret compares with values that nobody trained on."""
        return verdict(self.greedy_match, self.exposure, self.lift)


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

    `target_nll` is in nats/token under the gates of the step, which a mask samples; `result` is set on the last step only.
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


def to_object(record: Any) -> dict[str, Any]:
    """The record as the object of JSON that `to_json` writes; numbers that JSON does not have are None."""
    written: dict[str, Any] = json.loads(to_json(record))
    return written


def from_json(kind: type[Record], text: str) -> Record:
    """The record that `to_json` wrote. Raises pydantic.ValidationError if the text is not a record of this kind."""
    return TypeAdapter(kind).validate_json(text)
