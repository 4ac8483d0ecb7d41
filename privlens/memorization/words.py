"""Whether a value is made of words, of which random strings of its format are no fair rivals.

A word outranks random letters without being memorized; a random value, such as an ID or a key, does not. Tokenizers tell the two
apart, in any language that they were made for: a word takes fewer tokens than random letters in its place.
"""

import re

from privlens.lm.model import LanguageModel
from privlens.memorization.candidates import candidates

SHORT = 2
"""So many capitals or fewer are initials, or marks in a code, and no word."""
NATURAL = 0.15
"""A value is made of words where at most this share of random versions takes as few tokens. Chosen on the values of `demo`, which
are random, and those of zoo/natural and zoo/records, of which most are words."""
LETTERS = re.compile(r"[^\W\d_]+")


def has_words(lm: LanguageModel, value: str) -> bool:
    """Whether a value seems to be made of words, by the number of tokens of its letters; digits say nothing.

    Where the tokenizer cannot tell, because every version takes the same number, it is taken to be.
    """
    words = " ".join(filter(_may_be_word, LETTERS.findall(value)))
    if not words:
        return False
    own, *others = map(len, _ids(lm, [words, *candidates(words, seed=0)]))
    share = sum(n <= own for n in others) / len(others)
    return share <= NATURAL or {own} == set(others)


def _may_be_word(letters: str) -> bool:
    """A single letter is none either, except in scripts without upper and lower case."""
    has_case = letters.lower() != letters.upper()
    return not has_case or len(letters) > (SHORT if letters.isupper() else 1)


def _ids(lm: LanguageModel, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = lm.tokenizer([f" {text}" for text in texts], add_special_tokens=False)["input_ids"]
    return ids
