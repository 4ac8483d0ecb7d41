"""What `universal` returns: neurons that two models have in common (arXiv 2401.12181, 2508.00903). Frozen and free of torch."""

from dataclasses import dataclass

from privlens.intervals import Interval
from privlens.neurons.share import Share
from privlens.types import Array, Indices, Provenance


@dataclass(frozen=True)
class UniversalContrast:
    """Whether given neurons are less universal than the others.

    Attributes:
        n_chosen, n_others: alive neurons of either kind. n_silent: given neurons that never change on the text, which are left
            out. chosen_mean, others_mean: mean excess correlation.
        auc: the chance that a chosen neuron has a higher excess than another one; 0.5 is no difference. interval: of the AUC.
        p_value: of the Mann-Whitney test, two-sided. p_within_layers: of a permutation test of the difference in means in which
            every layer keeps its number of chosen neurons, two-sided.
    """

    n_chosen: int
    n_others: int
    n_silent: int
    chosen_mean: float
    others_mean: float
    auc: float
    interval: Interval | None
    p_value: float
    p_within_layers: float


@dataclass(frozen=True)
class UniversalAblation:
    """What ordinary text loses without universal neurons, beside as many others of the same layers, draw by draw.

    Attributes:
        k: neurons off in every draw. universal, others: perplexity after / before of each draw.
        difference: mean difference of the logarithms of the ratios, universal minus others, nats/token; interval: by Student's t.
    """

    k: int
    universal: tuple[float, ...]
    others: tuple[float, ...]
    difference: float
    interval: Interval | None


@dataclass(frozen=True, eq=False)
class Universality:
    """How far the neurons of one model are found in another one that was trained from another seed.

    Attributes:
        model, other: their names. correlation: [n_layers, d_mlp] the highest correlation with a neuron of the other model; NaN
            for a neuron that never changes on the text. rotated: the same after a random rotation within each layer of the other
            model.
        partner: [n_layers, d_mlp, 2] layer and index of the most similar neuron of the other model; -1 where there is none.
        n_tokens, n_alive: tokens compared, and neurons of the first model that change on them.
        threshold: the excess from which a neuron counts as universal. universal: how many do. by_layer: the same for each layer.
        contrast, ablation: None where they were not asked for.
    """

    model: str
    other: str
    correlation: Array
    rotated: Array
    partner: Indices
    n_tokens: int
    n_alive: int
    threshold: float
    universal: Share
    by_layer: tuple[Share, ...]
    contrast: UniversalContrast | None
    ablation: UniversalAblation | None
    provenance: Provenance

    @property
    def excess(self) -> Array:
        """[n_layers, d_mlp] excess correlation: correlation minus rotated; NaN where a neuron never changes."""
        return self.correlation - self.rotated


@dataclass(frozen=True, eq=False)
class UniversalStep:
    """Progress of `universal`; the result is set on the last step only."""

    step: int
    n_steps: int
    stage: str
    result: Universality | None = None
