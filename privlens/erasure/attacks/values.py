"""Values that nobody trained on, to compare a secret's value with: as similar as possible, except for what is private in it.

A random string's rivals are random strings of its format. A natural word has no fair rivals among scrambled letters: it outranks
them without being memorized. So its rivals are words in the same position of other listed values of the same shape; and a piece
that several listed values share, such as an e-mail's domain or 555 in a number, is private to none of them and is kept.
"""

import random
import re
from collections.abc import Sequence

from privlens.lm.model import LanguageModel
from privlens.memorization.candidates import candidates
from privlens.memorization.words import SHORT, has_words
from privlens.types import Secret

PIECE = re.compile(r"[^\W\d_]+|\d+")
"""A run of letters, or of digits."""
MIN_WORDS = 5
"""Other words that a natural one needs; with fewer there is no fair choice."""
TRIES = 20
"""Draws for each wanted value before fewer values are accepted, as where a format has few different ones."""


def is_copy(secret: Secret, target: Secret) -> bool:
    """Whether a secret contains the target's value, as whole words and regardless of case and spaces."""
    value, text = (" ".join(each.value.casefold().split()) for each in (target, secret))
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def similar_values(lm: LanguageModel, target: Secret, listed: Sequence[Secret], seed: int, n: int) -> list[str]:
    """At most `n` different values like the target's, none of them listed; fewer where no more exist, or none would be fair."""
    value = target.value.strip()
    known = {secret.value.strip() for secret in listed}
    has_word = has_words(lm, value)
    same_shape = [PIECE.findall(text) for text in sorted(known - {value}) if _shape(text) == _shape(value)]
    pools = [
        _pool(piece, [pieces[position] for pieces in same_shape], has_word and has_words(lm, piece))
        for position, piece in enumerate(PIECE.findall(value))
    ]
    if any(pool == [] for pool in pools):
        return []
    rng = random.Random(f"{seed} words {value}")
    drawn = dict[str, None]()
    for scrambled in candidates(value, seed, TRIES * n + 1):
        drawn[_with_pieces(scrambled, [rng.choice(pool) if pool else None for pool in pools])] = None
        if len(drawn.keys() - known - {value}) == n:
            break
    return [text for text in drawn if text not in known and text != value]


def _with_pieces(value: str, pieces: Sequence[str | None]) -> str:
    """The value with its pieces replaced; None keeps one."""
    replacements = iter(pieces)
    return PIECE.sub(lambda match: next(replacements) or match[0], value)


def _shape(value: str) -> str:
    """A value with `w` for every run of letters and `0` for every run of digits."""
    return PIECE.sub(lambda match: "0" if match[0][0].isdigit() else "w", value.strip())


def _pool(piece: str, others: Sequence[str], is_word: bool) -> list[str] | None:
    """What may replace a piece: None for scrambled letters or digits, [] where nothing available would be fair."""
    if len(piece) <= SHORT:  # initials and marks recur by chance
        return None
    if piece in others:
        return [piece]
    if not is_word:
        return None
    words = sorted(set(others))
    return words if len(words) >= MIN_WORDS else []
