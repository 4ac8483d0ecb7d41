"""What probes return, and the geometry of residual states (KRaM, arXiv 2312.00194). Frozen and free of torch.

Layer 0 is the embeddings, so there are n_layers + 1 of them. Rates R(Z) are in nats. Control tasks are those of Hewitt & Liang
2019 (arXiv 1909.03368).
"""

from dataclasses import dataclass
from typing import Literal

from privlens import intervals
from privlens.intervals import Interval
from privlens.neurons.share import Share
from privlens.types import Provenance

ProbeTarget = Literal["category", "first-character", "first-token", "belongs"]
"""What a probe reads: the secret's category, the value's first character or token, or whether the value is the prompt's own."""
ProbeKind = Literal["linear", "mlp"]


@dataclass(frozen=True)
class ProbeRun:
    """Probes of every layer in one state of the model, trained anew on that state; each tuple has n_layers + 1 shares.

    Attributes:
        condition: "all on", "neurons off", "random neurons off", or "edited".
        accuracy: on secrets that the probe never saw. control: on the control task, in which every item has a random label.
        control_trained: on the control task's own training items: what the probe can learn by heart.
        transferred: the accuracy of the probes of the first run on these states; None for the first run itself.
    """

    condition: str
    accuracy: tuple[Share, ...]
    control: tuple[Share, ...]
    control_trained: tuple[Share, ...]
    transferred: tuple[Share, ...] | None

    @property
    def selectivity(self) -> tuple[tuple[float, Interval], ...]:
        """Accuracy minus that on the control task, for every layer, with its interval."""
        pairs = zip(self.accuracy, self.control, strict=True)
        return tuple(
            (true.k / true.n - control.k / control.n, intervals.difference((true.k, true.n), (control.k, control.n)))
            for true, control in pairs
        )


@dataclass(frozen=True)
class Probes:
    """What probes read off the residual states of every layer, before and after an intervention.

    Attributes:
        classes: in the order of the labels. n_train, n_test: items; n_left_out: secrets of classes that are too small.
        majority: what naming the most frequent class of the training items scores on the test items.
    """

    target: ProbeTarget
    kind: ProbeKind
    classes: tuple[str, ...]
    n_train: int
    n_test: int
    n_left_out: int
    majority: Share
    runs: tuple[ProbeRun, ...]
    provenance: Provenance


@dataclass(frozen=True)
class ProbeStep:
    """Progress of `probe`; the result is set on the last step only."""

    step: int
    n_steps: int
    stage: str
    result: Probes | None = None


@dataclass(frozen=True)
class Alignment:
    """How much of the neighbourhoods of n states stayed: the mean share of each state's k nearest that are still among them.

    `chance` is k / (n - 1); the t interval takes states as independent, which neighbours are not.
    """

    k: int
    n: int
    score: float
    interval: Interval | None
    chance: float


@dataclass(frozen=True)
class LayerGeometry:
    """One layer's states after an intervention.

    Rates R(Z) in nats before and after, and alignments for n/2 and n/10 neighbours.
    """

    rate_before: float
    rate_after: float
    half: Alignment
    tenth: Alignment


@dataclass(frozen=True)
class Geometry:
    """How much of the hidden geometry stayed, for each condition of the runs of a probe but "all on".

    N_layers + 1 layers each.
    """

    conditions: tuple[str, ...]
    layers: tuple[tuple[LayerGeometry, ...], ...]
    provenance: Provenance


@dataclass(frozen=True)
class Erased:
    """What a KRaM map did to the states of one layer.

    Attributes:
        geometry: of the test states, before and after the map. kernel_before, kernel_after: R(Z|K) of the training states, nats.
        before, after: accuracy of probes trained anew on the test items; control: the same on the mapped states' control task.
        majority: what naming the most frequent class scores.
    """

    layer: int
    target: ProbeTarget
    kind: ProbeKind
    geometry: LayerGeometry
    kernel_before: float
    kernel_after: float
    before: Share
    after: Share
    control: Share
    majority: Share
    provenance: Provenance
