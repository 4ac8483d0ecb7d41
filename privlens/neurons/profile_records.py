"""The statistics of all neurons of a model: frozen records, free of torch.

Arrays over all neurons are [n_layers, width], with NaN where a layer has no such neuron or the number does not exist, such as the
skew of a neuron that never varies. Variances divide by n; kurtosis is not in excess, so that of a Gaussian is 3.
"""

from dataclasses import dataclass

import numpy as np

from privlens.types import Array, Indices


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
