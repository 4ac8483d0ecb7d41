"""The candidate space of an exposure: values of the same format, digit for digit and letter for letter.

A digit stands for any digit, a vowel for any vowel and a consonant for any consonant of the same case, a letter of another
script for one of the same kind near it; all else stays. A random string is a fair rival of a random string only: a natural
word outranks scrambled letters without being known, so read an exposure beside that of a control of the same kind.
"""

import functools
import math
import random
import string
import unicodedata

VOWELS = "aeiouy"
SPACE_SIZE = 256


@functools.cache
def _kin(character: str) -> str:
    """All characters that may stand in its place."""
    if character.isascii() and character.isdigit():
        return string.digits
    base = unicodedata.normalize("NFD", character)[0]
    if base.isascii() and base.isalpha():
        case = string.ascii_lowercase if base.islower() else string.ascii_uppercase
        is_vowel = base.lower() in VOWELS
        return "".join(letter for letter in case if (letter.lower() in VOWELS) == is_vowel)
    if character.isalnum():
        start, kind = ord(character) & ~0x7F, unicodedata.category(character)
        return "".join(chr(code) for code in range(start, start + 128) if unicodedata.category(chr(code)) == kind)
    return character


def candidates(value: str, seed: int, size: int = SPACE_SIZE) -> list[str]:
    """Different values of the same format, without the value itself: size - 1 of them, or as many as were met.

    Args:
        value: the private string; it is stripped.
        seed: decides which are drawn from the format.
    """
    value = value.strip()
    rng = random.Random(f"{seed} {value}")
    pools = [_kin(character) for character in value]
    found: dict[str, None] = {}
    for _ in range(20 * size):
        drawn = "".join(rng.choice(pool) for pool in pools)
        if drawn != value:
            found[drawn] = None
        if len(found) == size - 1:
            break
    return list(found)


def format_of(text: str) -> str:
    """Two texts are of the same format exactly where this agrees: every character is named by its kin's first."""
    return "".join(_kin(character)[0] for character in text)


def describe(n_others: int, seed: int) -> str:
    """The candidate space in words, to stand beside every exposure."""
    return (
        f"the value and {n_others} others of its format (digit for digit, letter for letter), seed {seed}; "
        f"highest possible {math.log2(n_others + 1):.3g} bits, chance is 1.4"
    )
