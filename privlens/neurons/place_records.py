"""Where neurons stand among all others, for several secrets and methods: frozen records, free of torch.

A place is that in a method's ranking of all neurons, 1 the highest score; only the places of the best 1 % are kept.
"""

from dataclasses import dataclass

from privlens.neurons.share import Share
from privlens.types import Indices, Neuron, Provenance, Secret

Place = int | None
"""1 is the highest score; None below the best 1 %."""


@dataclass(frozen=True, eq=False)
class ListPlaces:
    """The best neurons of each of some secrets of a list, by each of some methods.

    Attributes:
        rows: of the secrets in the list, those of one category together. methods: by name.
        best: [methods, secrets, k], layer * widest + index of the best neurons, the highest score first; -1 where scores are
            equal to the first that is not among the best k, so that no order among equal ones is made up.
        widths: neurons of each layer.
    """

    rows: tuple[int, ...]
    methods: tuple[str, ...]
    best: Indices
    widths: tuple[int, ...]
    provenance: Provenance


@dataclass(frozen=True)
class PlaceSummary:
    """How often one neuron is among the best 1 % of a method, over the secrets of one category, or of all of them ("").

    Attributes:
        share: of the secrets. median_place: None below the best 1 %.
        random_share: of a random neuron of the same layer. layer_share: the mean over all neurons of that layer, 0..1.
    """

    method: str
    category: str
    share: Share
    median_place: float | None
    random_share: Share
    layer_share: float


@dataclass(frozen=True)
class NeuronPlaces:
    """The places of one neuron, and of a random one of the same layer as its control.

    Attributes:
        n_best, n_neurons: how many are the best 1 %, of how many; any neuron is among them with `chance`.
        rows, secrets: which secrets of the list. places, random_places: [methods][secrets].
        summaries: by method, all secrets first and then each category.
    """

    neuron: Neuron
    random: Neuron
    n_best: int
    n_neurons: int
    chance: float
    methods: tuple[str, ...]
    rows: tuple[int, ...]
    secrets: tuple[Secret, ...]
    places: tuple[tuple[Place, ...], ...]
    random_places: tuple[tuple[Place, ...], ...]
    summaries: tuple[PlaceSummary, ...]
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class PlacesStep:
    """Progress of the places of a list; `result` is set on the last step only."""

    step: int
    n_steps: int
    stage: str
    result: ListPlaces | None = None
