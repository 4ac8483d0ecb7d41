"""What running the model says of one neuron: frozen records, free of torch. NLL is in nats/token, entropy in nats."""

from dataclasses import dataclass

from privlens.intervals import Interval
from privlens.neurons.card_records import NeuronCard
from privlens.neurons.place_records import NeuronPlaces
from privlens.types import Neuron, Provenance, Secret


@dataclass(frozen=True)
class TokenActivations:
    """A neuron's activation at each token of a text; the first `n_prompt` are a secret's prompt, None for other text."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    n_prompt: int | None = None


@dataclass(frozen=True)
class Context:
    """A piece of the reference text around the token at which a neuron is most active.

    Attributes:
        row, position: the paragraph, and the token in it. activation: what the neuron is there.
        tokens, activations: of the piece, which begins with the paragraph's token `start`.
    """

    row: int
    position: int
    activation: float
    start: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True)
class Neighbor:
    """Another neuron, and the cosine of both output vectors."""

    neuron: Neuron
    cosine: float


@dataclass(frozen=True)
class DimmerPoint:
    """One position of the dimmer. NLLs are in nats/token, entropy in nats.

    Attributes:
        gate: what the neuron is multiplied by. secret_nll: of the value. entropy: of the predictions of the value's tokens, mean.
        reference_nll: of ordinary text; None without one.
        random_nll: of the value with one random neuron at this gate instead, the mean over draws, and its 95 % interval.
    """

    gate: float
    secret_nll: float
    entropy: float
    reference_nll: float | None
    random_nll: float
    random_interval: Interval | None


@dataclass(frozen=True)
class Dimmer:
    """What happens as one neuron is dimmed and amplified, beside random ones, which are named."""

    neuron: Neuron
    points: tuple[DimmerPoint, ...]
    random: tuple[Neuron, ...]
    provenance: Provenance


@dataclass(frozen=True)
class SecretChange:
    """One listed secret with all neurons on and with one off: NLL in nats/token, and whether it is written word for word."""

    secret: Secret
    nll_before: float
    nll_after: float
    known_before: bool
    known_after: bool


@dataclass(frozen=True)
class NeuronOff:
    """What one neuron alone does to the listed secrets when it is off.

    Attributes:
        n_lost: of those that were known, how many no longer are. interval: of that share, 95 %; None if none was known.
        mean_change: of the NLL of all listed secrets, nats/token.
    """

    neuron: Neuron
    n_lost: int
    interval: Interval | None
    mean_change: float


@dataclass(frozen=True)
class AloneOff:
    """Which listed secrets fall when one neuron alone is off, beside random neurons, each off alone.

    Attributes:
        changes: of every listed secret, the largest rise of the NLL first. n_known: how many the model knew.
        random_interval: of the share that a random neuron takes, 95 %; None where nothing was known.
    """

    chosen: NeuronOff
    random: tuple[NeuronOff, ...]
    changes: tuple[SecretChange, ...]
    n_known: int
    random_interval: Interval | None
    provenance: Provenance


@dataclass(frozen=True)
class AloneStep:
    """Progress of `alone_off`; `result` is set on the last step only."""

    step: int
    n_steps: int
    stage: str
    result: AloneOff | None = None


@dataclass(frozen=True)
class NeuronPage:
    """Everything about one neuron; what was not asked for, or is not measured yet, is None or empty."""

    card: NeuronCard
    contexts: tuple[Context, ...] = ()
    neighbors: tuple[Neighbor, ...] = ()
    on_secret: TokenActivations | None = None
    on_text: TokenActivations | None = None
    dimmer: Dimmer | None = None
    alone: AloneOff | None = None
    places: NeuronPlaces | None = None


@dataclass(frozen=True)
class PageStep:
    """Progress of a page: `page` has what is known so far, None before the card; `result` is set on the last step only."""

    step: int
    n_steps: int
    stage: str
    page: NeuronPage | None = None
    result: NeuronPage | None = None
