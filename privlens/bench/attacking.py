"""How often the attacks' verdict is wrong: on secrets never trained on it must find nothing, on memorized ones it must.

Nothing is erased: the model before and after is the same. Every attack is tried once on all secrets of a kind; then single
secrets, and groups of them, are judged as if they had been attacked alone.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from privlens.deactivation import EvalContext, eval_baseline
from privlens.erasure.attacks import ATTACKS, AttackSetup, planned
from privlens.erasure.attacks.chance import judged
from privlens.erasure.attacks.setup import MAX_VALUES, Scores
from privlens.errors import BadInput
from privlens.intervals import Interval, rate
from privlens.lm.model import LanguageModel
from privlens.secret_lists import ListedSecret

VALUES = MAX_VALUES
"""Other values of each secret's format, never trained on: as many as an attack on a single secret compares with."""


@dataclass(frozen=True)
class AttackRow:
    """Of `n` verdicts over `at_once` secrets each, `found` say that something is left; `by_attack` counts them for each attack.

    `found_interval` is the interval of the rate found / n, and `by_attack_intervals` has those of each attack. They ignore that
    the verdicts of a run share a model and its training.
    """

    secrets: str
    at_once: int
    n: int
    found: int
    found_interval: Interval
    by_attack: dict[str, int] = field(default_factory=dict)
    by_attack_intervals: dict[str, Interval] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def run(
    lm: LanguageModel, listed: Sequence[ListedSecret], at_once: Sequence[int], most: int, seed: int, tell: Callable[[str], None]
) -> Iterator[AttackRow]:
    """A row for each kind of secret and each group size.

    Args:
        at_once: how many secrets a verdict is about; the secrets are split at random into groups of that size.
        most: the maximum of secrets of a kind; of the memorized ones the most repeated.
        tell: is called with a line of progress before each attack.

    Raises:
        BadInput: if the list has no secret with repeats 0.
    """
    memorized = eval_baseline(lm, EvalContext(tuple(row.secret for row in listed))).known
    controls = [row for row in listed if row.repeats == 0]
    if not controls:
        raise BadInput("This list has no secret that was never trained on: add some, with 0 in the column repeats.")
    trained = sorted((row for row in listed if row.repeats and row.secret in memorized), key=lambda row: -(row.repeats or 0))
    for name, rows in (("never trained on", controls[:most]), ("memorized", trained[:most])):
        if rows:
            targets = tuple(row.secret for row in rows)
            setup = AttackSetup(
                before=lm,
                after=lm,
                targets=targets,
                reworded=tuple(row.reworded for row in rows) if all(row.reworded for row in rows) else (),
                others=tuple(secret for secret in memorized if secret not in targets),
                listed=tuple(row.secret for row in listed),
                n_values=VALUES,
                seed=seed,
            )
            scores, notes = _attack(setup, tell)
            n_attacks = len(planned(setup))
            for size in at_once:
                if size <= len(rows):
                    yield _row(name, scores, notes, n_attacks, len(rows), size, seed)


def _attack(setup: AttackSetup, tell: Callable[[str], None]) -> tuple[dict[str, Scores], dict[str, str]]:
    """The scores of every attack that ran, and the notes on each, such as why it did not run."""
    scores, notes = dict[str, Scores](), dict[str, str]()
    for name in planned(setup):
        tell(f"{name} on {len(setup.targets)} secrets")
        try:
            scores[name] = ATTACKS[name](setup)
            notes[name] = scores[name].note
        except BadInput as error:
            notes[name] = f"did not run: {error}"
    return scores, {name: note for name, note in notes.items() if note}


def _row(
    name: str, by_attack: dict[str, Scores], notes: dict[str, str], n_attacks: int, n: int, at_once: int, seed: int
) -> AttackRow:
    order = random.Random(seed).sample(range(n), n)
    groups = [order[first : first + at_once] for first in range(0, n - at_once + 1, at_once)]
    successes = [
        [
            attack
            for attack, scores in by_attack.items()
            if judged(attack, _subset(scores, group), n_attacks, seed).found_something
        ]
        for group in groups
    ]
    n_found = sum(map(bool, successes))
    counts = {attack: sum(attack in attacks for attacks in successes) for attack in by_attack}
    return AttackRow(
        secrets=name,
        at_once=at_once,
        n=len(groups),
        found=n_found,
        found_interval=rate(n_found, len(groups)),
        by_attack=counts,
        by_attack_intervals={attack: rate(count, len(groups)) for attack, count in counts.items()},
        notes=notes,
    )


def _subset(scores: Scores, group: Sequence[int]) -> Scores:
    """The scores of some of the targets."""
    return Scores([scores.before[target] for target in group], [scores.after[target] for target in group], scores.detail)
