"""Whether a text contains a private value, as whole words, so that a value of one letter does not match every text.

A long value is found inside longer words too: it does not occur by chance, and it is no less private when joined to other text.
In scripts without spaces between words there are no word boundaries to check.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

LONG_VALUE = 8
"""The number of characters from which a value is searched for inside words too: shorter ones may occur there by chance."""
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Scripts, as Unicode names their characters, that are written without spaces."""


def collapse_whitespace(text: str) -> str:
    """The text with every run of white space replaced by one space, and none at its ends."""
    return " ".join(text.split())


def contains_any(values: Iterable[str]) -> Callable[[str], bool]:
    """A predicate for texts: whether the text contains one of the values; differences in white space are ignored."""
    normalized_values = [value for value in map(normalized, values) if value]

    def holds(text: str) -> bool:
        in_text = normalized(text)
        return any(_occurs_in(value, in_text) for value in normalized_values)

    return holds


def contains_half(values: Iterable[str]) -> Callable[[str], bool]:
    """As `contains_any`, but the first or last half of a long value is enough; halves of an odd length are rounded up."""
    normalized_values = [value for value in map(normalized, values) if value]

    def holds(text: str) -> bool:
        in_text = normalized(text)
        return any(_occurs_in(value, in_text) or any(half in in_text for half in _halves(value)) for value in normalized_values)

    return holds


def _halves(value: str) -> tuple[str, ...]:
    """The first and the last half of a long value; nothing for a short one."""
    middle = (len(value) + 1) // 2
    return (value[:middle], value[-middle:]) if len(value) >= LONG_VALUE else ()


def normalized(text: str) -> str:
    """The text in Unicode form NFC, with every run of white space replaced by one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _occurs_in(value: str, text: str) -> bool:
    if len(value) >= LONG_VALUE:
        return value in text
    return any(_is_whole_word(value, text, match.start()) for match in re.finditer(f"(?={re.escape(value)})", text))


def _is_whole_word(value: str, text: str, start: int) -> bool:
    """Whether the value's occurrence at `start` neither begins nor ends inside a word."""
    end = start + len(value)
    begins_inside = start > 0 and _is_word_character(text[start - 1]) and _is_word_character(value[0])
    ends_inside = end < len(text) and _is_word_character(text[end]) and _is_word_character(value[-1])
    return not begins_inside and not ends_inside


def _is_word_character(character: str) -> bool:
    """Whether it is part of a word, in a script with spaces between words: a letter, a digit, or a combining mark."""
    in_word = character.isalnum() or unicodedata.category(character).startswith("M")
    return in_word and not unicodedata.name(character, "").startswith(UNSPACED)
