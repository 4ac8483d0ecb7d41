"""What a profile says of one neuron: frozen records, free of torch. Layers and neurons count from 0."""

from dataclasses import dataclass
from typing import Literal

from privlens.types import Neuron, Provenance

Family = Literal["prediction", "suppression", "entropy", "position", "unigram"]
"""Kinds of neurons that can be told by a rule (Gurnee et al. 2024, arXiv 2401.12181)."""


@dataclass(frozen=True)
class Statistic:
    """One number of a neuron, and the percentage of the model's neurons below it, ties counted half; None if it has no number."""

    name: str
    value: float
    percentile: float | None


@dataclass(frozen=True)
class TokenWeight:
    """A token that a neuron promotes or suppresses: the cosine of their directions, and what one unit of activation adds to its
    logit, compared with the mean token and before the final norm divides."""

    token: str
    token_id: int
    cosine: float
    logit: float


@dataclass(frozen=True)
class Badge:
    """A family that a neuron belongs to, the rule in words, and the numbers by which it does."""

    family: Family
    rule: str
    numbers: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Histogram:
    """Tokens of the reference text by activation: counts[i] are from edges[i-1] to below edges[i]; the outer bins are open."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ScoreAt:
    """What a localization gave the neuron, and its rank among the `n_neurons` of the model; 1 is the highest."""

    method: str
    score: float
    rank: int
    n_neurons: int


@dataclass(frozen=True)
class NeuronCard:
    """What a profile says of one neuron.

    Attributes:
        link: names the neuron of this model, as `links.neuron_link` writes it.
        promoted, suppressed: tokens, the strongest first. badges: the families that it belongs to, often none.
        statistics: of weights and activations. histogram: of its activations. scores: by the localizations that were given.
    """

    neuron: Neuron
    link: str
    promoted: tuple[TokenWeight, ...]
    suppressed: tuple[TokenWeight, ...]
    badges: tuple[Badge, ...]
    statistics: tuple[Statistic, ...]
    histogram: Histogram
    scores: tuple[ScoreAt, ...]
    provenance: Provenance
