"""What each layer of a model would predict: frozen records, free of torch. Layers and tokens count from 0."""

from collections.abc import Sequence
from dataclasses import dataclass

from privlens.types import Array, Indices, Neuron, Provenance, Secret


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
