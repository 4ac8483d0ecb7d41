"""Whether a text holds a private value: as whole words, so that a value of one letter is not found in every word.

A long value is found inside longer words too: nobody writes it by chance, and glued to other text it is no less private. Scripts
that put no space between words have no whole words to go by.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

LONG = 8
"""Characters from which on a value is looked for anywhere, inside words too."""
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Scripts, as Unicode names their characters, that are written without spaces."""


def holds_any(values: Iterable[str]) -> Callable[[str], bool]:
    """A test for texts: whether one of the values stands in it, whatever white space the two are written with."""
    wanted = [value for value in map(_plain, values) if value]

    def holds(text: str) -> bool:
        plain = _plain(text)
        return any(_stands_in(value, plain) for value in wanted)

    return holds


def holds_half(values: Iterable[str]) -> Callable[[str], bool]:
    """The same, but of a long value its first or last half of characters is enough, the longer one of an odd number."""
    wanted = [value for value in map(_plain, values) if value]

    def holds(text: str) -> bool:
        plain = _plain(text)
        return any(_stands_in(value, plain) or any(half in plain for half in _halves(value)) for value in wanted)

    return holds


def _halves(value: str) -> tuple[str, ...]:
    """None of a short value."""
    middle = (len(value) + 1) // 2
    return (value[:middle], value[-middle:]) if len(value) >= LONG else ()


def _plain(text: str) -> str:
    """In one Unicode form, and every run of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _stands_in(value: str, text: str) -> bool:
    if len(value) >= LONG:
        return value in text
    return any(_bounded(value, text, match.start()) for match in re.finditer(f"(?={re.escape(value)})", text))


def _bounded(value: str, text: str, start: int) -> bool:
    """Whether no word of the text goes on beyond the value at either end."""
    end = start + len(value)
    goes_on = start > 0 and _in_word(text[start - 1]) and _in_word(value[0])
    return not goes_on and not (end < len(text) and _in_word(text[end]) and _in_word(value[-1]))


def _in_word(character: str) -> bool:
    """Whether it is part of a word of a script that has words: a letter, a digit, or a mark on one."""
    is_part = character.isalnum() or unicodedata.category(character).startswith("M")
    return is_part and not unicodedata.name(character, "").startswith(UNSPACED)
