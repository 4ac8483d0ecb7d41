"""Records as tables and as marked text, for components that show text as text."""

import math
import re
from collections.abc import Sequence
from difflib import SequenceMatcher

import pandas as pd

from privlens.outcomes import Comparison, MemorizationState
from privlens.types import Secret, TokenScore


def shown(token: str) -> str:
    """A token that can be seen: spaces and line breaks are drawn."""
    return token.replace(" ", "\u00b7").replace("\n", "\u23ce").replace("\t", "\u21e5")


def token_table(tokens: Sequence[TokenScore]) -> pd.DataFrame:
    """Token, probability, NLL in nats, rank."""
    rows = [(shown(one.token), f"{math.exp(one.logprob):.4f}", f"{-one.logprob:.3f}", one.rank) for one in tokens]
    return pd.DataFrame(rows, columns=["token", "probability", "NLL (nats)", "rank"])


def others_table(comparison: Comparison, retained: frozenset[Secret]) -> pd.DataFrame:
    """Every other secret: known before, with the chosen off, with random ones off; NLL in nats/token."""

    def word(state: MemorizationState) -> str:
        return "yes" if state.greedy_match else "no"

    rows = [
        (
            one.secret.value,
            word(one.before),
            word(one.after),
            word(rival.after),
            "yes" if one.secret in retained else "no",
            f"{one.before.nll:.2f}",
            f"{one.after.nll:.2f}",
            f"{rival.after.nll:.2f}",
            one.secret.prompt,
        )
        for one, rival in zip(comparison.chosen.others, comparison.random.others, strict=True)
    ]
    names = ["value", "known", "chosen off", "random off", "retained", "NLL", "NLL chosen", "NLL random", "prompt"]
    return pd.DataFrame(rows, columns=names)


def marked(one: str, other: str) -> tuple[list[tuple[str, str | None]], list[tuple[str, str | None]]]:
    """Two texts in pieces, each with "differs" where the other text has something else there."""
    left, right = _pieces(one), _pieces(other)
    spans: tuple[list[tuple[str, str | None]], list[tuple[str, str | None]]] = ([], [])
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for out, text in ((spans[0], "".join(left[a:b])), (spans[1], "".join(right[c:d]))):
            if text:
                out.append((text, None if kind == "equal" else "differs"))
    return spans


def _pieces(text: str) -> list[str]:
    return re.findall(r"\s+|\d|[^\W\d]+|[^\w\s]|_", text)
