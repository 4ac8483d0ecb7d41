"""Values that nobody trained on, to set beside a secret's: as like it as can be, but for what is private in it.

A random string's rivals are random strings of its format. A natural word has no fair rivals among scrambled letters: it
outranks them without being known. So its rivals are words that stand in its place in other listed values of the same build; and
a piece that several listed values share, such as an e-mail's domain or 555 in a number, is private to none and stays.
"""

import random
import re
from collections.abc import Sequence

from privlens.lm.model import LanguageModel
from privlens.memorization.candidates import candidates
from privlens.types import Secret

PIECE = re.compile(r"[^\W\d_]+|\d+")
SHORT = 2
"""Letters or digits of a piece that is always scrambled: initials and marks recur by chance."""
SCRAMBLES, NATURAL = 40, 0.05
"""Of a word; it is natural where at most this share of them takes as few tokens as it does."""
WORDS_LEAST = 5
"""Other words for a natural one; with fewer there is no fair choice."""
TRIES = 20
"""Draws for each value that is wanted, before fewer will do."""


def is_copy(other: Secret, target: Secret) -> bool:
    """Whether a secret tells the target's value: the same but for case and spaces, or with it inside as whole words."""
    value, text = (" ".join(one.value.casefold().split()) for one in (target, other))
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def others_like(lm: LanguageModel, target: Secret, listed: Sequence[Secret], seed: int, n: int) -> list[str]:
    """At most `n` different values like the target's, none of them listed; fewer where there are no more or none is fair."""
    value, known = target.value.strip(), {one.value.strip() for one in listed}
    like = [PIECE.findall(one) for one in sorted(known - {value}) if _build(one) == _build(value)]
    pools = [_pool(lm, word, [words[place] for words in like], seed) for place, word in enumerate(PIECE.findall(value))]
    if any(pool == [] for pool in pools):
        return []
    rng, drawn = random.Random(f"{seed} words {value}"), dict[str, None]()
    for scrambled in candidates(value, seed, TRIES * n + 1):
        drawn[_with_words(scrambled, [rng.choice(pool) if pool else None for pool in pools])] = None
        if len(drawn.keys() - known - {value}) == n:
            break
    return [one for one in drawn if one not in known and one != value]


def _with_words(value: str, words: Sequence[str | None]) -> str:
    """The value with other pieces; None leaves one as it is."""
    following = iter(words)
    return PIECE.sub(lambda piece: next(following) or piece[0], value)


def _build(value: str) -> str:
    """A value with `w` for every run of letters and `0` for every run of digits."""
    return PIECE.sub(lambda piece: "0" if piece[0][0].isdigit() else "w", value.strip())


def _pool(lm: LanguageModel, word: str, others: Sequence[str], seed: int) -> list[str] | None:
    """What may stand in the place of some letters or digits: None for scrambled ones, [] where nothing at hand would be fair."""
    if len(word) <= SHORT:
        return None
    if word in others:
        return [word]
    if word.isdigit():
        return None
    scrambles = [_n_tokens(lm, one) for one in candidates(word, seed, SCRAMBLES + 1)]
    if sum(n <= _n_tokens(lm, word) for n in scrambles) > NATURAL * len(scrambles):
        return None
    words = sorted(set(others))
    return words if len(words) >= WORDS_LEAST else []


def _n_tokens(lm: LanguageModel, word: str) -> int:
    return len(lm.tokenizer(f" {word}", add_special_tokens=False)["input_ids"])
