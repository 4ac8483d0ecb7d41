"""The candidate space: same format, all different, decided by the seed; a value like any other has 1.44 bits there."""

import math
import random
import statistics
import string

import pytest

from privlens.memorization import metrics
from privlens.memorization.candidates import SPACE_SIZE, candidates, describe

VALUES = ["555-0142", "Mira Holt", "mira.holt@garden.example", "4000 1234 5678 9010", "12 Öster Street", "Ψηφίο 77"]


def shape(text: str) -> str:
    """Digits, ASCII vowels and consonants by case; other letters by case; all else as it stands."""
    kinds = (string.digits, "aeiouy", "AEIOUY", string.ascii_lowercase, string.ascii_uppercase)

    def kind(character: str) -> str:
        plain = next((str(at) for at, kin in enumerate(kinds) if character in kin), None)
        return plain or ("L" if character.isupper() else "l" if character.islower() else character)

    return "".join(map(kind, text))


@pytest.mark.parametrize("value", VALUES[:4])
def test_format_is_kept_digit_for_digit_and_letter_for_letter(value: str) -> None:
    found = candidates(value, 0)
    assert len(found) == len(set(found)) == SPACE_SIZE - 1
    assert value not in found
    assert {shape(other) for other in found} == {shape(value)}


@pytest.mark.parametrize("value", VALUES[4:])
def test_letters_of_other_scripts_stay_letters(value: str) -> None:
    for other in candidates(value, 0):
        assert [character.isalpha() for character in other] == [character.isalpha() for character in value]
        assert [character.isdigit() for character in other] == [character.isdigit() for character in value]


def test_the_seed_decides() -> None:
    assert candidates("555-0142", 1) == candidates("555-0142", 1)
    assert candidates("555-0142", 1) != candidates("555-0142", 2)
    assert candidates(" 555-0142 ", 1) == candidates("555-0142", 1), "spaces around a value are not part of it"


def test_a_small_format_gives_all_there_are_and_no_more() -> None:
    assert sorted(candidates("7", 0)) == [digit for digit in string.digits if digit != "7"]
    assert candidates("--", 0) == []


def test_a_value_that_is_not_known_has_about_1_44_bits() -> None:
    rng = random.Random(0)
    bits = [metrics.exposure(rng.random(), [rng.random() for _ in range(SPACE_SIZE - 1)]) for _ in range(4000)]
    assert statistics.mean(bits) == pytest.approx(math.log2(math.e), abs=0.1)


def test_the_space_is_named_in_words() -> None:
    words = describe(255, 3)
    assert "255 others of its format" in words
    assert "seed 3" in words
    assert "8 bits" in words
