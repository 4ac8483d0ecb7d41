"""Distance of the greedy continuation from each value against the entropy of the values' tokens: a line through sets of values.

Distance is the Levenshtein distance in tokens, 0 for a value that is written word for word. All secrets of one distance are a
set; their values' tokens are pooled, and the set's entropy is the plug-in entropy of how often each token occurs, in bits.
Distance is regressed on entropy through the sets.

A plug-in entropy grows with the number of tokens it is computed from, and the sets differ in size. So the correlation stands
beside that of the same sizes with secrets dealt out at random. `ENTROPY_CAUTIONS` has the objections that the paper has met.

Source: Huang et al., the Entropy-Memorization Law (arXiv 2507.06056).
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein
from scipy.stats import entropy as entropy_of_counts
from scipy.stats import linregress

from privlens import intervals
from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.neurons.entropy_records import EntropyGroup, EntropyItem, EntropyLaw, EntropySets, EntropyStep, Line
from privlens.provenance import provenance
from privlens.types import Secret

SECRETS_AT_ONCE = 32
"""Prompts in one batch of generations."""
FEWEST_GROUPS = 4
"""A line through three sets or fewer has no interval, so none is drawn."""
DEALS = 999
"""Random deals of distances to secrets; with the true one, p is a multiple of 1/1000."""


def token_distance(generated: Sequence[int], value: Sequence[int]) -> int:
    """Levenshtein distance in tokens of a continuation, cut to the length of the value, to the value: 0 to its length."""
    return int(Levenshtein.distance(list(generated[: len(value)]), list(value)))


def plug_in_entropy(tokens: Iterable[int]) -> float:
    """Shannon entropy in bits of how often each token occurs; 0 for a single kind of token."""
    return float(entropy_of_counts(list(Counter(tokens).values()), base=2))


def grouped(distances: Sequence[int], values: Sequence[Sequence[int]]) -> tuple[EntropyGroup, ...]:
    """The sets of equal distance, ascending, with the entropy of their pooled tokens."""
    groups = []
    for distance in sorted(set(distances)):
        members = [value for of_value, value in zip(distances, values, strict=True) if of_value == distance]
        tokens = [token for value in members for token in value]
        entropy, n_different = plug_in_entropy(tokens), len(set(tokens))
        normalized = entropy / math.log2(n_different) if n_different > 1 else None
        groups.append(EntropyGroup(distance, len(members), len(tokens), n_different, entropy, normalized))
    return tuple(groups)


def line_through(entropies: Sequence[float], distances: Sequence[int]) -> Line | None:
    """The least-squares line of distance on entropy; None for fewer than FEWEST_GROUPS points, or where one never varies."""
    correlated = intervals.correlation(entropies, distances) if len(entropies) >= FEWEST_GROUPS else None
    if correlated is None:
        return None
    fit = linregress(entropies, distances)
    return Line(float(fit.slope), float(fit.intercept), *correlated, len(entropies))


def entropy_law(lm: LanguageModel, secrets: Sequence[Secret], *, seed: int = 0, stop: Stop = never_stop) -> Iterator[EntropyStep]:
    """Distances and entropies of a list of secrets.

    Args:
        seed: of the deals that the correlation is compared with.

    Raises:
        BadInput: for an empty list. Cancelled: if `stop` returned True.
    """
    if not secrets:
        raise BadInput("No secret was given: the entropy of sets needs a list of them.")
    started = time.perf_counter()
    encoded = [lm.encode(secret) for secret in secrets]
    n_steps = math.ceil(len(encoded) / SECRETS_AT_ONCE) + 1
    distances: list[int] = []
    for start in range(0, len(encoded), SECRETS_AT_ONCE):
        if stop():
            raise Cancelled("Stopped while continuing the prompts; nothing was changed.")
        batch = encoded[start : start + SECRETS_AT_ONCE]
        longest = max(len(text.value_ids) for text in batch)
        generated = lm.generate([text.prompt_ids for text in batch], longest, stop=stop)
        distances += [token_distance(ids, text.value_ids) for ids, text in zip(generated, batch, strict=True)]
        yield EntropyStep(start // SECRETS_AT_ONCE + 1, n_steps, f"{len(distances)} of {len(encoded)} prompts continued")
    values = [text.value_ids for text in encoded]
    items = tuple(
        EntropyItem(row, secret.category, distance, len(value), plug_in_entropy(value))
        for row, (secret, distance, value) in enumerate(zip(secrets, distances, values, strict=True))
    )
    yield EntropyStep(n_steps, n_steps, "done", _law(lm, items, values, seed, started))


def _law(
    lm: LanguageModel, items: tuple[EntropyItem, ...], values: Sequence[Sequence[int]], seed: int, started: float
) -> EntropyLaw:
    sets = entropy_sets([item.distance for item in items], values, seed)
    settings = {"n_secrets": len(items), "deals": sets.n_deals}
    return EntropyLaw(**vars(sets), items=items, provenance=provenance(lm, seed, settings, started))


def entropy_sets(distances: Sequence[int], values: Sequence[Sequence[int]], seed: int, fewest: int = 1) -> EntropySets:
    """The sets of equal distance, the line through them, and that of dealt-out distances.

    Args:
        distances: of every secret, in tokens. values: their tokens. seed: of the deals.
        fewest: secrets of a set; those of smaller ones are left out, of the deals too. The entropy of a set of one is that of its
            value, which tells something of a value that is to stay hidden.
    """
    sizes = Counter(distances)
    kept = [(distance, value) for distance, value in zip(distances, values, strict=True) if sizes[distance] >= fewest]
    kept_distances, kept_values = [distance for distance, _ in kept], [value for _, value in kept]
    groups = grouped(kept_distances, kept_values)
    line = line_through([group.entropy for group in groups], [group.distance for group in groups])
    normalized = [group for group in groups if group.normalized is not None]
    dealt = _deals(kept_distances, kept_values, seed) if line else []
    return EntropySets(
        n_secrets=len(kept),
        n_left_out=len(distances) - len(kept),
        fewest=fewest,
        groups=groups,
        line=line,
        normalized=line_through([group.normalized or 0.0 for group in normalized], [group.distance for group in normalized]),
        of_items=line_through([plug_in_entropy(value) for value in kept_values], kept_distances),
        shuffled=float(np.mean(dealt)) if dealt else None,
        n_deals=len(dealt),
        p_value=(1 + sum(r >= line.r - 1e-12 for r in dealt)) / (1 + len(dealt)) if line and dealt else None,
        too_few="" if line else _too_few(len(groups), fewest),
    )


def _too_few(n_groups: int, fewest: int) -> str:
    same = "" if n_groups < FEWEST_GROUPS else ", all of the same entropy"
    of_size = "" if fewest == 1 else f" and of {fewest} secrets or more"
    sets = "1 set" if n_groups == 1 else f"{n_groups} sets"
    return f"{sets} of equal distance{of_size}{same}: a line needs {FEWEST_GROUPS}. Give a longer or more varied list."


def _deals(distances: Sequence[int], values: Sequence[Sequence[int]], seed: int) -> list[float]:
    """r of the sets where the distances are dealt to the secrets at random; deals without an r are left out."""
    rng = np.random.default_rng(seed)
    ascending, set_of = np.unique(np.asarray(distances), return_inverse=True)
    kinds, tokens = np.unique(np.concatenate([np.asarray(value) for value in values]), return_inverse=True)
    secret_of = np.repeat(np.arange(len(values)), [len(value) for value in values])
    dealt = []
    for _ in range(DEALS):
        places = set_of[rng.permutation(len(distances))][secret_of] * len(kinds) + tokens
        counts = np.bincount(places, minlength=len(ascending) * len(kinds)).reshape(len(ascending), len(kinds))
        entropies = entropy_of_counts(counts, base=2, axis=1)
        if np.ptp(entropies) > 0:
            dealt.append(float(np.corrcoef(entropies, ascending)[0, 1]))
    return dealt
