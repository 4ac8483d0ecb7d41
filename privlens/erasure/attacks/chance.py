"""What an attack reaches by chance: its success on values that nobody trained on, and the level that only something left exceeds.

A target that nobody trained on is one more value among its rivals: any of them could stand in its place. So the mean over the
targets is set beside the means over all (or many random) ways of taking one value of each target's pool, the target's own
included. That is a randomization test: exact whatever the scores are, ties on the safe side. Layers, rates and steps are no
extra chances, because every way of taking values is given its best of them too; several attacks share the false alarms that
are allowed (Bonferroni).

Source: Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010): permutation p-values should never be zero.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from privlens.erasure.attacks.setup import LEAST, Array, Scores
from privlens.outcomes import Attack

FALSE_ALARMS = 0.05
"""How often, all attacks of a run together, something is found where nothing is left."""
DRAWS = 10_000


def judged(name: str, scores: Scores, n_attacks: int, seed: int) -> Attack:
    """The record of an attack; without `limit` where too few other values are of the format."""
    n_values = min(len(rows) for rows in scores.after) - 1
    before, after = (float(_best(np.stack([rows[0] for rows in part])[None])[0]) for part in (scores.before, scores.after))
    reached = _reached(scores.after, seed)
    place = math.floor(FALSE_ALARMS / n_attacks * len(reached) + 1e-9)
    chance = float(_reached([rows[1:] for rows in scores.after], seed).mean()) if n_values else None
    if n_values < LEAST or not place:
        note = f"cannot be judged: only {n_values} values that nobody trained on are like it"
        return Attack(name, before, after, chance, None, n_values, scores.detail, "; ".join(filter(None, [scores.note, note])))
    limit = float(np.sort(reached)[::-1][place])
    return Attack(name, before, after, chance, limit, n_values, scores.detail, scores.note)


def _taken(sizes: Sequence[int], seed: int) -> npt.NDArray[np.intp]:
    """Ways of taking one value of each pool, [ways, targets]; the first is the targets themselves. All of them where few."""
    if math.prod(sizes) <= 2 * DRAWS:
        return np.indices(sizes).reshape(len(sizes), -1).T
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.integers(size, size=DRAWS) for size in sizes], 1)
    drawn[0] = 0
    return drawn


def _reached(rows: Sequence[Array], seed: int) -> Array:
    """The success of each way of taking values, [ways of taking]; rows [values, ways of attacking] for each target."""
    taken = _taken([len(own) for own in rows], seed)
    mean = np.mean([own[taken[:, place]] for place, own in enumerate(rows)], 0)
    return _best(mean[:, None])


def _best(scores: Array) -> Array:
    """[n, values, ways of attacking] -> [n]: the mean over the values in the way where it is highest, rounded against noise."""
    best: Array = scores.mean(1).max(-1).round(9)
    return best
