"""The candidate space of an exposure: values of the same format, digit for digit and letter for letter; and formats of tokens.

A digit may be replaced by any digit, a vowel by any vowel and a consonant by any consonant of the same case; an accented letter
by another accented one of that kind; a letter or digit of another script by one of the same script and kind close to it; other
characters stay. Random strings are fair candidates for a random value only: a natural word outranks scrambled letters without
being memorized, so compare an exposure with that of a control of the same kind.
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
"""Values in the space, the private one included: exposure is 8 bits at most. Doubling it adds a bit and more values to run."""
ENUMERATED_UP_TO = 4096
"""Formats with at most this many values are enumerated and drawn from without replacement. From larger ones values are drawn
until enough different ones are found; repeats are rare there."""
ACCENTED = range(0xC0, 0x180)
"""Latin-1 Supplement and Latin Extended-A: the accented letters of most languages in Latin script."""


@functools.cache
def _interchangeable(character: str) -> str:
    """All characters that may replace this one, itself included."""
    if not character.isalnum():
        return character
    if character.isascii():
        return "".join(
            peer for peer in string.digits + string.ascii_letters if _character_class(peer) == _character_class(character)
        )
    block = ord(character) & ~0x7F
    code_points = ACCENTED if ord(character) in ACCENTED else range(block, block + 128)
    return "".join(peer for peer in map(chr, code_points) if _character_class(peer) == _character_class(character))


def _character_class(character: str) -> tuple[str, ...]:
    """What interchangeable characters have in common: category (case), script, number system, vowel or not, accent."""
    category = unicodedata.category(character)
    base = unicodedata.normalize("NFD", character)[0]
    if base.isascii() and base.isalpha():
        return category, "accent" if base != character else "", "vowel" if base.lower() in VOWELS else "consonant"
    script = unicodedata.name(character, "").split(" ")[0]  # GREEK, HIRAGANA, ARABIC-INDIC, SUPERSCRIPT, ...
    return category, script, "digit" if character.isdigit() else ""


def candidates(value: str, seed: int, size: int = SPACE_SIZE) -> list[str]:
    """Different values of the same format, without the value itself: size - 1 of them, or all if there are fewer.

    Args:
        value: the private string; it is stripped.
        seed: of the draw from the format.
    """
    value = value.strip()
    rng = random.Random(f"{seed} {value}".encode("utf-8", "surrogatepass"))
    pools = [_interchangeable(character) for character in value]
    if math.prod(map(len, pools)) <= max(ENUMERATED_UP_TO, 2 * size):
        others = ["".join(characters) for characters in itertools.product(*pools)]
        others.remove(value)
        rng.shuffle(others)
        return others[: size - 1]
    drawn: dict[str, None] = {}
    while len(drawn) < size - 1:
        candidate = "".join(rng.choice(pool) for pool in pools)
        if candidate != value:
            drawn[candidate] = None
    return list(drawn)


def format_size(value: str) -> int:
    """The number of values of a value's format, itself included; white space around the value does not count."""
    return math.prod(len(_interchangeable(character)) for character in value.strip())


def format_of(text: str) -> str:
    """The format of a text, equal for two texts exactly if they have the same format.

    Every character is replaced by the first of those that are interchangeable with it.
    """
    return "".join(_interchangeable(character)[0] for character in text)


def describe(exposure: Exposure, seed: int) -> str:
    """The candidate space in words, to be shown with every exposure."""
    if exposure.max_bits is None or exposure.chance_bits is None:
        return "the value alone: there is no other value of its format to compare it with"
    others = "1 other" if exposure.n == 2 else f"{exposure.n - 1} others"
    return (
        f"the value and {others} of its format (digit for digit, letter for letter), seed {seed}; "
        f"maximum {exposure.max_bits:.3g} bits, chance {exposure.chance_bits:.2f} bits"
    )


def token_formats(lm: LanguageModel) -> Tensor:
    """[V] int64: the format number of every token, equal for two tokens exactly if they have the same format."""
    formats = [format_of(text) for text in token_texts(lm.tokenizer, range(lm.n_vocabulary))]
    numbers = {token_format: number for number, token_format in enumerate(dict.fromkeys(formats))}
    return torch.tensor([numbers[token_format] for token_format in formats], device=lm.device)


def siblings(formats: Tensor, tokens: Tensor) -> Tensor:
    """[T, V] bool: the other tokens of the format of each token; formats [V] from `token_formats`, tokens [T]."""
    same_format = formats == formats[tokens][:, None]
    same_format[torch.arange(len(tokens), device=tokens.device), tokens] = False
    return same_format


def private(lm: LanguageModel, encoded: Encoded) -> Tensor:
    """[T] bool: which tokens of the value have a letter or digit; the others are the format itself."""
    texts = token_texts(lm.tokenizer, encoded.value_ids)
    return torch.tensor([any(map(str.isalnum, text)) for text in texts], device=lm.device)
