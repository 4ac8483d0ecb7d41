"""What is known of single neurons, and what each layer of a model would predict: frozen records, free of torch.

Layers and neurons count from 0. Arrays over all neurons are [n_layers, width], with NaN where a layer has no such neuron or the
number does not exist, such as the skew of a neuron that never varies. Variances divide by n; kurtosis is not in excess, so that
of a Gaussian is 3. NLL is in nats/token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from privlens.intervals import Interval
from privlens.types import Array, Indices, Neuron, Provenance, Secret

Family = Literal["prediction", "suppression", "entropy", "position", "unigram"]
"""Kinds of neurons that can be told by a rule (Gurnee et al. 2024, arXiv 2401.12181)."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean, variance, skew and kurtosis of something for every neuron, each [n_layers, width]."""

    mean: Array
    variance: Array
    skew: Array
    kurtosis: Array


@dataclass(frozen=True, eq=False)
class WeightStatistics:
    """What the weights alone say of every neuron, each [n_layers, width] unless stated.

    Attributes:
        output_norm: norm of the output vector, with which a neuron writes.
        input_names: the projections that a neuron reads with: one in a plain MLP, two in a gated one.
        input_norms, input_biases, cosines: for each of these the norm of the input vector, the bias (None if there is none), and
            the cosine with the output vector.
        squared_norm: the sum of the squared norms of all of a neuron's vectors.
        vocabulary: moments of the cosines of the output vector with all tokens' centred directions.
        extreme_tokens, extreme_cosines: [n_layers, width, 2n], ids of the n tokens that it promotes most, the strongest first,
            then of the n that it suppresses most, and the cosines with them; -1 where there is no neuron.
        direction_norms: [V], norms of the tokens' centred directions: cosine x output norm x this is what one unit of
            activation adds to the token's logit, compared with the mean token and before the final norm divides.
        hidden_size: directions of the residual stream.
    """

    output_norm: Array
    input_names: tuple[str, ...]
    input_norms: tuple[Array, ...]
    input_biases: tuple[Array | None, ...]
    cosines: tuple[Array, ...]
    squared_norm: Array
    vocabulary: Moments
    extreme_tokens: Indices
    extreme_cosines: Array
    direction_norms: Array
    hidden_size: int


@dataclass(frozen=True, eq=False)
class ActivationStatistics:
    """How every neuron is active in a reference text, over all tokens but each paragraph's first.

    Attributes:
        moments: of the activations. share_positive: share of tokens at which it is above 0.
        histogram: [n_layers, width, bins], tokens by activation; see `activation_statistics.EDGES`.
        position_explained, token_explained: share of its variance that the position, or the token that it is at, explains, 0..1,
            corrected for chance; the latter over the most frequent tokens.
        context_rows, context_positions: [n_layers, width, n], the paragraphs in which it is most active, the strongest first, and
            the token at which it is: one of a paragraph. -1 where there is none. context_activations: what it is there.
    """

    moments: Moments
    share_positive: Array
    histogram: Indices
    position_explained: Array
    token_explained: Array
    context_rows: Indices
    context_positions: Indices
    context_activations: Array


@dataclass(frozen=True, eq=False)
class ModelProfile:
    """Statistics of all neurons of a model, from its weights and from one reference text.

    Attributes:
        fingerprint: of the model, with its edits. text_key: a hash of the reference text's tokens and of the fingerprint.
        n_texts, n_tokens: paragraphs that were read, and tokens that were counted.
    """

    fingerprint: str
    text_key: str
    n_texts: int
    n_tokens: int
    weights: WeightStatistics
    activations: ActivationStatistics

    @property
    def exists(self) -> Array:
        """[n_layers, width] bool: False where a layer has no such neuron."""
        return ~np.isnan(self.weights.output_norm)


@dataclass(frozen=True, eq=False)
class ProfileStep:
    """Progress of a profile; `result` is set on the last step only."""

    step: int
    n_steps: int
    stage: str
    result: ModelProfile | None = None


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


@dataclass(frozen=True)
class PageStep:
    """Progress of a page: `page` has what is known so far, None before the card; `result` is set on the last step only."""

    step: int
    n_steps: int
    stage: str
    page: NeuronPage | None = None
    result: NeuronPage | None = None


@dataclass(frozen=True, eq=False)
class LensReading:
    """What every layer would predict at every token of one text, if it were the last.

    Rows are the n_layers + 1 states of the residual stream: the embeddings, then after every layer; the last is the model's own
    prediction. Column i is what is predicted after tokens[i], so its true token is tokens[i + 1].

    Attributes:
        tokens: of prompt and value. n_prompt: how many of them are the prompt's.
        top_tokens, top_probability: the first choices, and their probabilities, 0..1.
        true_probability, true_rank: of the true next token; rank 1 is the first choice.
    """

    tokens: tuple[str, ...]
    n_prompt: int
    top_tokens: tuple[tuple[str, ...], ...]
    top_probability: Array
    true_probability: Array
    true_rank: Indices

    @property
    def value_ranks(self) -> Indices:
        """[n_layers + 1, T], the rank of every token of the value."""
        return self.true_rank[:, self.n_prompt - 1 :]

    def first_layers(self, rank: int) -> tuple[int | None, ...]:
        """For each token of the value the lowest layer after which it is among the `rank` first; -1 before any, None never."""
        within: Sequence[Sequence[bool]] = (self.value_ranks <= rank).T.tolist()
        return tuple(column.index(True) - 1 if any(column) else None for column in within)

    def visible(self, rank: int) -> tuple[float, ...]:
        """The share of the value's tokens among the `rank` first, in each of the n_layers + 1 states."""
        return tuple((self.value_ranks <= rank).mean(1).tolist())

    def underneath(self, rank: int) -> int:
        """How many of the value's tokens are no longer predicted at the end, but are among the `rank` first at a lower layer."""
        ranks = self.value_ranks
        return int(((ranks[-1] > 1) & (ranks[:-1] <= rank).any(0)).sum())


@dataclass(frozen=True, eq=False)
class LensResult:
    """The logit lens on one secret.

    Attributes:
        before: with all neurons on and without the edit. after: with `off` and under the edit; None if there is neither.
        random: with as many random neurons off, without the edit; None if none is off.
        control: a value of the same format that nobody trained on, behind the same prompt, as `before`; None if there is none.
    """

    secret: Secret
    before: LensReading
    after: LensReading | None
    random: LensReading | None
    control: LensReading | None
    off: tuple[Neuron, ...]
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class LensStep:
    """Progress of the lens; `result` is set on the last step only."""

    step: int
    n_steps: int
    stage: str
    result: LensResult | None = None
