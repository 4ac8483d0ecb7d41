"""What `coupled` returns: the neurons that two concepts share (DEAN, arXiv 2410.16672). Frozen and free of torch."""

from dataclasses import dataclass

import numpy as np

from privlens.intervals import Interval
from privlens.types import Array, Neuron, Provenance


@dataclass(frozen=True)
class Shift:
    """The mean over items with all neurons on and with some off, and the t interval of the mean change; None for one item."""

    before: float
    after: float
    interval: Interval | None


@dataclass(frozen=True)
class Venn:
    """How many neurons are in each part of three sets: the best of the first and of the second concept, and of general text."""

    first: int
    second: int
    general: int
    first_second: int
    first_general: int
    second_general: int
    all_three: int


@dataclass(frozen=True)
class Overlap:
    """How many neurons two concepts share, beside two controls.

    Attributes:
        observed: neurons in both sets. expected: the mean of two sets of these sizes that are drawn independently.
        p_value: the chance that such sets share at least as many (hypergeometric, one-sided).
        regrouped: the numbers shared where the texts of both lists were mixed and divided anew at random: what lists share that
            do not differ in kind. p_apart: the share of regroupings, the true one included, that share no more than observed.
    """

    observed: int
    expected: float
    p_value: float
    regrouped: tuple[int, ...]
    p_apart: float | None


@dataclass(frozen=True)
class SwitchEffect:
    """What switching one set of neurons off does: to texts of the first and the second list, nats/token, and to general text.

    `set_name` is "coupled", "<concept> only" or "random"; no set has more neurons than the coupled one.
    """

    set_name: str
    k: int
    first: Shift
    second: Shift
    perplexity_before: float | None
    perplexity_after: float | None

    @property
    def perplexity_ratio(self) -> float | None:
        """After / before."""
        if self.perplexity_before is None or self.perplexity_after is None:
            return None
        return self.perplexity_after / self.perplexity_before


@dataclass(frozen=True, eq=False)
class Coupling:
    """The neurons that two concepts share and general text does not need.

    Attributes:
        names: of the two concepts. importance: [3, n_layers, d_mlp] of the first, the second, and general text; NaN where there
            is no such neuron. k_top, k_general: how many neurons are the best of a concept, and of general text.
        first, second: the concept sets, best first: the best of a concept without the best of general text. coupled: in both.
        n_used, n_measured: texts of the first and second list that importance was computed from, and that effects were measured
            on.
        effects: of switching off the coupled neurons, those of one concept alone, and random ones; empty where none are coupled.
    """

    names: tuple[str, str]
    importance: Array
    k_top: int
    k_general: int
    first: tuple[Neuron, ...]
    second: tuple[Neuron, ...]
    coupled: tuple[Neuron, ...]
    venn: Venn
    overlap: Overlap
    n_used: tuple[int, int]
    n_measured: tuple[int, int]
    effects: tuple[SwitchEffect, ...]
    provenance: Provenance

    @property
    def colors(self) -> Array:
        """[n_layers, d_mlp] for a map: 1 in the first set alone, 2 in the second alone, 3 in both, else 0; NaN for no neuron.

        To erase the first concept and keep the second these are the neurons to close, the safe ones, and those in conflict.
        """
        colors = np.where(np.isnan(self.importance[0]), np.float32("nan"), np.float32(0))
        for color, neurons in ((1, self.first), (2, self.second), (3, self.coupled)):
            for layer, index in neurons:
                colors[layer, index] = color
        return colors


@dataclass(frozen=True, eq=False)
class CoupledStep:
    """Progress of `coupled`; the result is set on the last step only."""

    step: int
    n_steps: int
    stage: str
    result: Coupling | None = None
