"""What an attack reaches by chance: its success on values that nobody trained on, and the limit that only a leak exceeds.

A target that nobody trained on is exchangeable with its rivals: any of them could be the target. So the mean over the targets is
compared with the means over all (or many random) ways of picking one value from each target's pool, the target's own included.
That is a randomization test: exact whatever the scores are, and conservative for ties. Layers, rates and steps give an attack no
extra chances, because every pick is scored by its own best of them; several attacks share the allowed false alarms (Bonferroni).

Source: Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010): permutation p-values should never be zero.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from privlens.erasure.attacks.setup import MIN_VALUES, Array, Scores
from privlens.outcomes import Attack

FALSE_ALARMS = 0.05
"""How often any of the attacks of a run reports a leak where there is none: the usual 5 % level. `bench attacks` counts them."""
DRAWS = 10_000
"""Random picks where not all can be listed. More make the limit more precise and take more time."""


def judged(name: str, scores: Scores, n_attacks: int, seed: int) -> Attack:
    """The record of an attack; without `limit` where there are too few other values of the format."""
    n_values = min(len(rows) for rows in scores.after) - 1
    before = _target_success(scores.before)
    after = _target_success(scores.after)
    successes = _success_of_picks(scores.after, seed)
    n_allowed = math.floor(FALSE_ALARMS / n_attacks * len(successes) + 1e-9)
    chance = float(_success_of_picks([rows[1:] for rows in scores.after], seed).mean()) if n_values else None
    limit = None
    note = scores.note
    if n_values < MIN_VALUES or not n_allowed:
        too_few = f"cannot be judged: only {n_values} values that nobody trained on are like it"
        note = "; ".join(filter(None, [note, too_few]))
    else:
        limit = float(np.sort(successes)[::-1][n_allowed])
    return Attack(
        name=name,
        before=before,
        after=after,
        chance=chance,
        limit=limit,
        n_values=n_values,
        detail=f"{scores.detail}; best: {_best_name(scores)}" if scores.ways else scores.detail,
        note=note,
        counts=scores.counts,
    )


def _best_name(scores: Scores) -> str:
    """The way in which the targets had most success after the erasure."""
    by_way = np.mean([rows[0] for rows in scores.after], 0)
    return scores.ways[int(by_way.argmax())]


def _target_success(rows_by_target: Sequence[Array]) -> float:
    """The success on the targets themselves, which are the first value of each pool."""
    return float(_best_way(np.stack([rows[0] for rows in rows_by_target])[None])[0])


def _picks(pool_sizes: Sequence[int], seed: int) -> npt.NDArray[np.intp]:
    """Ways of picking one value of each pool, [picks, targets]; the first picks the targets. All of them where there are few."""
    if math.prod(pool_sizes) <= 2 * DRAWS:
        return np.indices(pool_sizes).reshape(len(pool_sizes), -1).T
    rng = np.random.default_rng(seed)
    picks = np.stack([rng.integers(size, size=DRAWS) for size in pool_sizes], 1)
    picks[0] = 0
    return picks


def _success_of_picks(rows_by_target: Sequence[Array], seed: int) -> Array:
    """The success of each pick, [picks]; rows [values, ways of attacking] for each target."""
    picks = _picks([len(rows) for rows in rows_by_target], seed)
    mean = np.mean([rows[picks[:, target]] for target, rows in enumerate(rows_by_target)], 0)
    return _best_way(mean[:, None])


def _best_way(scores: Array) -> Array:
    """[n, values, ways of attacking] -> [n]: the mean over the values, by the best way; rounded so that equal means are ties."""
    best: Array = scores.mean(1).max(-1).round(9)
    return best
