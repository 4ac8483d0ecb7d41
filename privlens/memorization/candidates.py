"""The candidate space of an exposure: values of the same format, digit for digit and letter for letter; and formats of tokens.

A digit stands for any digit, a vowel for any vowel and a consonant for any consonant of the same case; a letter with an accent
for another of that kind with one; a letter or digit of another script for one of the same script and kind near it; all else
stays. A random string is a fair rival of a random string only: a natural word outranks scrambled letters without being known,
so read an exposure beside that of a control of the same kind.
"""

import functools
import itertools
import math
import random
import string
import unicodedata

import torch
from torch import Tensor

from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded, token_texts
from privlens.types import Exposure

VOWELS = "aeiouy"
SPACE_SIZE = 256
LISTED = 4096
"""Formats with at most so many values are listed whole and drawn from without replacement; from larger ones is drawn until
enough different values are there, which is soon."""
ACCENTED = range(0xC0, 0x180)
"""Latin-1 Supplement and Latin Extended-A: the accented letters of most languages in Latin script."""


@functools.cache
def _kin(character: str) -> str:
    """All characters that may stand in its place, itself among them."""
    if not character.isalnum():
        return character
    if character.isascii():
        return "".join(other for other in string.digits + string.ascii_letters if _kind(other) == _kind(character))
    block = ord(character) & ~0x7F
    near = ACCENTED if ord(character) in ACCENTED else range(block, block + 128)
    return "".join(other for other in map(chr, near) if _kind(other) == _kind(character))


def _kind(character: str) -> tuple[str, ...]:
    """What two characters must share to stand for each other: category (case), script, number system, vowel or not, accent."""
    category = unicodedata.category(character)
    base = unicodedata.normalize("NFD", character)[0]
    if base.isascii() and base.isalpha():
        return category, "accent" if base != character else "", "vowel" if base.lower() in VOWELS else "consonant"
    script = unicodedata.name(character, "").split(" ")[0]  # GREEK, HIRAGANA, ARABIC-INDIC, SUPERSCRIPT, ...
    return category, script, "digit" if character.isdigit() else ""


def candidates(value: str, seed: int, size: int = SPACE_SIZE) -> list[str]:
    """Different values of the same format, without the value itself: size - 1 of them, or all where there are fewer.

    Args:
        value: the private string; it is stripped.
        seed: decides which are drawn from the format.
    """
    value = value.strip()
    rng = random.Random(f"{seed} {value}".encode("utf-8", "surrogatepass"))
    pools = [_kin(character) for character in value]
    if math.prod(map(len, pools)) <= max(LISTED, 2 * size):
        others = ["".join(characters) for characters in itertools.product(*pools)]
        others.remove(value)
        rng.shuffle(others)
        return others[: size - 1]
    found: dict[str, None] = {}
    while len(found) < size - 1:
        drawn = "".join(rng.choice(pool) for pool in pools)
        if drawn != value:
            found[drawn] = None
    return list(found)


def format_of(text: str) -> str:
    """Two texts are of the same format exactly where this agrees: every character is named by its kin's first."""
    return "".join(_kin(character)[0] for character in text)


def describe(exposure: Exposure, seed: int) -> str:
    """The candidate space in words, to stand beside every exposure."""
    if exposure.max_bits is None or exposure.chance_bits is None:
        return "the value alone: there is no other value of its format to compare with"
    others = "1 other" if exposure.n == 2 else f"{exposure.n - 1} others"
    return (
        f"the value and {others} of its format (digit for digit, letter for letter), seed {seed}; "
        f"highest possible {exposure.max_bits:.3g} bits, chance is {exposure.chance_bits:.2f}"
    )


def token_formats(lm: LanguageModel) -> Tensor:
    """[V] int64: the number of every token's format; two tokens are of one format exactly where their numbers are equal."""
    shapes = [format_of(text) for text in token_texts(lm.tokenizer, range(lm.n_vocabulary))]
    numbers = {shape: at for at, shape in enumerate(dict.fromkeys(shapes))}
    return torch.tensor([numbers[shape] for shape in shapes], device=lm.device)


def siblings(formats: Tensor, tokens: Tensor) -> Tensor:
    """[T, V] bool: the other tokens of each one's format; formats [V] as `token_formats` numbers them, tokens [T]."""
    found = formats == formats[tokens][:, None]
    found[torch.arange(len(tokens), device=tokens.device), tokens] = False
    return found


def private(lm: LanguageModel, encoded: Encoded) -> Tensor:
    """[T] bool: tokens of the value with a letter or digit; the others are the format itself."""
    texts = token_texts(lm.tokenizer, encoded.value_ids)
    return torch.tensor([any(map(str.isalnum, text)) for text in texts], device=lm.device)
