"""Invented people with one secret each: the ground truth of a model that a recipe trains, and the list that goes with it."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

LEVELS = (1, 4, 16, 64)
"""How often a planted secret occurs in the training corpus: from once to enough to be memorized in most cases."""


@dataclass(frozen=True)
class Person:
    """One person with one secret: the value follows the prompt; `repeats` is 0 for a control, never trained on."""

    prompt: str
    value: str
    category: str
    repeats: int
    reworded_1: str
    reworded_2: str


def write_secrets(path: Path, people: Sequence[Person]) -> None:
    """Writes a list of secrets as `privlens.secret_lists.read_list` reads it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Person)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(person) for person in people)
