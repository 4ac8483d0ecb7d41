"""The candidate space: same format, all different, decided by the seed; a value like any other has chance there."""

import random
import statistics
import string
import unicodedata

import pytest

from privlens.memorization import metrics
from privlens.memorization.candidates import SPACE_SIZE, candidates, describe, format_of
from privlens.memorization.metrics import exposure_at

VALUES = ["555-0142", "Mira Holt", "mira.holt@garden.example", "4000 1234 5678 9010"]


def shape(text: str) -> str:
    """Digits, ASCII vowels and consonants by case; other letters by case; all else as it stands."""
    kinds = (string.digits, "aeiouy", "AEIOUY", string.ascii_lowercase, string.ascii_uppercase)

    def kind(character: str) -> str:
        plain = next((str(at) for at, kin in enumerate(kinds) if character in kin), None)
        return plain or ("L" if character.isupper() else "l" if character.islower() else character)

    return "".join(map(kind, text))


@pytest.mark.parametrize("value", VALUES)
def test_format_is_kept_digit_for_digit_and_letter_for_letter(value: str) -> None:
    found = candidates(value, 0)
    assert len(found) == len(set(found)) == SPACE_SIZE - 1
    assert value not in found
    assert {shape(other) for other in found} == {shape(value)}


SCRIPTS = {
    "12 Öster Street": "ÀÁÂÃÄÅÈÉÊËÌÍÎÏÒÓÔÕÖÙÚÛÜÝĀĂĄĒĔĖĘĚĨĪĬĮİŌŎŐŨŪŬŮŰŲŶŸ",
    "Ψηφίο 77": "GREEK", "Ольга": "CYRILLIC", "أمل": "ARABIC", "مريم ٣٤٥": "ARABIC", "やまだ": "HIRAGANA", "ヤマダ": "KATAKANA",
    "山田太郎": "CJK", "שרה": "HEBREW", "김민수": "HANGUL", "Նազ": "ARMENIAN",
    "Straße": "LATIN", "İzmir": "LATIN", "ñandú": "LATIN",
}  # fmt: skip
"""Values with letters that are not ASCII, and the letters or the script that these must stay in."""


@pytest.mark.parametrize("value", SCRIPTS)
def test_letters_of_other_scripts_stay_letters_of_their_script_and_case_and_do_change(value: str) -> None:
    found = candidates(value, 0)
    assert len(found) == SPACE_SIZE - 1
    for place, true in enumerate(value):
        drawn = {other[place] for other in found}
        assert {unicodedata.category(one) for one in drawn} == {unicodedata.category(true)}, "letter, case, digit"
        if true.isascii():
            assert all(map(str.isascii, drawn))
        elif true.isdigit():
            assert drawn == {chr(0x660 + digit) for digit in range(10)}, "the ten digits of its script"
        else:
            assert len(drawn) > 5, "it does not stand still"
            within = SCRIPTS[value]
            assert all(one in within if "Ö" in within else unicodedata.name(one).startswith(within) for one in drawn)


def test_an_accent_stays_an_accent_and_a_vowel_a_vowel() -> None:
    for value, plain in (("é", "aeiouy"), ("ñ", "bcdfghjklmnpqrstvwxz"), ("Ż", "BCDFGHJKLMNPQRSTVWXZ")):
        others = candidates(value, 0)
        assert others
        for other in others:
            base, *marks = unicodedata.normalize("NFD", other)
            assert base in plain and marks


ODD = ["ß", "İ", "ı", "e\u0301a", "३", "²", "½", "ǆ", "\u212a", "\ud800", "\U0001d7d8", "ｱ", "٣", "𐒀", "\u0e01\u0e33"]


@pytest.mark.parametrize("value", ODD)
def test_no_character_is_too_odd(value: str) -> None:
    others = candidates(value, 0)
    assert len(set(others)) == len(others) and value not in others
    assert {format_of(other) for other in others} <= {format_of(value)}
    for other in others:
        assert [unicodedata.category(one) for one in other] == [unicodedata.category(one) for one in value]
        assert [one.isdigit() for one in other] == [one.isdigit() for one in value]


def test_the_seed_decides() -> None:
    assert candidates("555-0142", 1) == candidates("555-0142", 1)
    assert candidates("555-0142", 1) != candidates("555-0142", 2)
    assert candidates(" 555-0142 ", 1) == candidates("555-0142", 1), "spaces around a value are not part of it"


def test_a_small_format_gives_all_there_are_and_no_more() -> None:
    assert sorted(candidates("7", 0)) == [digit for digit in string.digits if digit != "7"]
    assert candidates("--", 0) == []
    assert sorted(candidates("a", 0)) == sorted("eiouy")
    for value, n in (("42", 100), ("4-2-7", 1000), ("9a", 60)):
        assert len(set(candidates(value, 5, n))) == len(candidates(value, 5, 9999)) == n - 1, "every one, and once"
    assert len(candidates("42", 5)) == 99
    assert len(candidates("427", 5)) == SPACE_SIZE - 1
    assert candidates("427", 5, 64) == candidates("427", 5)[:63], "a smaller space is the beginning of the larger"


def test_a_value_that_is_not_known_has_chance_on_average() -> None:
    rng = random.Random(0)
    for n in (6, SPACE_SIZE):
        found = [metrics.exposure(rng.random(), [rng.random() for _ in range(n - 1)]) for _ in range(4000)]
        assert statistics.mean(one.bits or 0 for one in found) == pytest.approx(found[0].chance_bits, abs=0.1)


def test_the_space_is_named_in_words() -> None:
    words = describe(exposure_at(1, 256), 3)
    assert words.startswith("the value and 255 others of its format")
    assert words.endswith("maximum 8 bits, chance 1.42 bits")
    assert "seed 3" in words
    words = describe(exposure_at(2, 10), 3)
    assert "9 others" in words and "3.32 bits, chance 1.14" in words
    assert "no other value of its format" in describe(exposure_at(1, 1), 3)
