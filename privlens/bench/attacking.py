"""How often the attacks' verdict is wrong: on secrets nobody trained on it must be silent, on memorized ones it must speak.

Nothing is erased: the model before and after is the same. Every attack is tried once on all secrets of a kind; then each secret,
and each of some groups, is judged as if it had been attacked alone.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from privlens.deactivation import EvalContext, all_on
from privlens.erasure.attacks import ATTACKS, AttackSetup, planned
from privlens.erasure.attacks.chance import judged
from privlens.erasure.attacks.setup import Scores
from privlens.errors import BadInput
from privlens.intervals import Interval, rate
from privlens.lm.model import LanguageModel
from privlens.secret_lists import ListedSecret

VALUES = 119
"""Values that nobody trained on, for each secret: as many as an attack on one secret has."""


@dataclass(frozen=True)
class AttackRow:
    """Of `n` verdicts over `at_once` secrets each, so many `found` something left, and in so many each attack did.

    `found_interval` is that of the rate found / n; the verdicts of one run share a model and its training, which it leaves out.
    """

    secrets: str
    at_once: int
    n: int
    found: int
    found_interval: Interval
    by_attack: dict[str, int] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def run(
    lm: LanguageModel, listed: Sequence[ListedSecret], at_once: Sequence[int], most: int, seed: int, tell: Callable[[str], None]
) -> Iterator[AttackRow]:
    """A row for each kind of secret and each number at once.

    Args:
        at_once: how many secrets a verdict is about; all are parted at random into groups of so many.
        most: secrets of a kind at most, the most repeated ones of the memorized.

    Raises:
        BadInput: where the list has no secret with repeats 0.
    """
    known = all_on(lm, EvalContext(tuple(row.secret for row in listed))).known
    never_stop = [row for row in listed if row.repeats == 0]
    if not never_stop:
        raise BadInput("No secret of this list was never trained on: give some of them 0 in the column repeats.")
    trained = sorted((row for row in listed if row.repeats and row.secret in known), key=lambda row: -(row.repeats or 0))
    for name, rows in (("never trained on", never_stop[:most]), ("memorized", trained[:most])):
        if rows:
            targets = tuple(row.secret for row in rows)
            others = tuple(one for one in known if one not in targets)
            reworded = tuple(row.reworded for row in rows) if all(row.reworded for row in rows) else ()
            rest = tuple(row.secret for row in listed)
            siege = AttackSetup(lm, lm, targets, reworded, others, rest, n_values=VALUES, seed=seed)
            found, notes = _scores(siege, tell)
            n = len(planned(siege))
            yield from (_row(name, found, notes, n, len(rows), size, seed) for size in at_once if size <= len(rows))


def _scores(siege: AttackSetup, tell: Callable[[str], None]) -> tuple[dict[str, Scores], dict[str, str]]:
    """What every attack found, and what is to be known of it; one that did not run says why."""
    found, notes = dict[str, Scores](), dict[str, str]()
    for name in planned(siege):
        tell(f"{name} on {len(siege.targets)} secrets")
        try:
            found[name] = ATTACKS[name](siege)
            notes[name] = found[name].note
        except BadInput as error:
            notes[name] = f"did not run: {error}"
    return found, {name: note for name, note in notes.items() if note}


def _row(
    name: str, found: dict[str, Scores], notes: dict[str, str], n_attacks: int, n: int, at_once: int, seed: int
) -> AttackRow:
    order = random.Random(seed).sample(range(n), n)
    groups = [order[first : first + at_once] for first in range(0, n - at_once + 1, at_once)]
    cries = [
        [attack for attack, scores in found.items() if judged(attack, _of(scores, group), n_attacks, seed).found_something]
        for group in groups
    ]
    by_attack = {attack: sum(attack in cry for cry in cries) for attack in found}
    n_found = sum(map(bool, cries))
    return AttackRow(name, at_once, len(groups), n_found, rate(n_found, len(groups)), by_attack, notes)


def _of(scores: Scores, group: Sequence[int]) -> Scores:
    """The scores of some of the targets."""
    return Scores([scores.before[at] for at in group], [scores.after[at] for at in group], scores.detail)
