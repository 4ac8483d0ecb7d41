"""What `entropy_law` returns: distance against entropy (arXiv 2507.06056). Frozen and free of torch; entropies are in bits."""

from dataclasses import dataclass

from privlens.intervals import Interval
from privlens.types import Provenance

ENTROPY_CAUTIONS = (
    "Post hoc: items are grouped by how well they are memorized, so the line predicts nothing of a value not yet measured.",
    "Of sets, not of strings: single values correlate weakly, and a large set has a high entropy whatever is in it.",
    "The trend may turn round once entropy is divided by the logarithm of the number of different tokens.",
)
"""Objections that stand beside every result (reviews of the paper, arXiv 2507.06056)."""


@dataclass(frozen=True)
class EntropyItem:
    """One secret.

    Its row in the list, tokens by which the greedy continuation differs from the value, entropy of its own tokens.
    """

    row: int
    category: str
    distance: int
    n_tokens: int
    entropy: float


@dataclass(frozen=True)
class EntropyGroup:
    """All secrets of one distance: how many, their tokens pooled, and how many of these differ; `entropy` in bits.

    `normalized` is the entropy divided by log2 of the number of different tokens, 0..1; None for a single one.
    """

    distance: int
    n_items: int
    n_tokens: int
    n_different: int
    entropy: float
    normalized: float | None


@dataclass(frozen=True)
class Line:
    """A least-squares line of distance on entropy through n points: its slope, intercept, and Pearson's r with its interval."""

    slope: float
    intercept: float
    r: float
    interval: Interval | None
    n: int


@dataclass(frozen=True)
class EntropySets:
    """Distance against entropy of a list of secrets, of which no single one shows.

    Attributes:
        n_secrets: in the sets. n_left_out: in sets of fewer than `fewest` secrets, which are left out of everything else here.
        line: through the groups; normalized: through the groups, by normalized entropy; of_items: through the single secrets.
            None where there are too few, in which case `too_few` says so.
        shuffled: mean r of the groups where distances were dealt to the secrets at random, which leaves the number of secrets
            in every group as it is. n_deals: of these. p_value: the share of such deals, the true one included, whose r is at
            least as high.
    """

    n_secrets: int
    n_left_out: int
    fewest: int
    groups: tuple[EntropyGroup, ...]
    line: Line | None
    normalized: Line | None
    of_items: Line | None
    shuffled: float | None
    n_deals: int
    p_value: float | None
    too_few: str


@dataclass(frozen=True)
class EntropyLaw(EntropySets):
    """Distance against entropy, of sets and of single secrets: all of the list, none is left out."""

    items: tuple[EntropyItem, ...]
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class EntropyStep:
    """Progress of `entropy_law`; the result is set on the last step only."""

    step: int
    n_steps: int
    stage: str
    result: EntropyLaw | None = None
