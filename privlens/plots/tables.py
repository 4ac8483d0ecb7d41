"""Records as tables and as marked text, for components that do not interpret markup."""

import math
import re
from collections.abc import Sequence
from difflib import SequenceMatcher

import pandas as pd

from privlens.outcomes import Comparison, MemorizationState
from privlens.types import Secret, TokenScore


def shown(token: str) -> str:
    """A token with visible symbols for spaces, line breaks and tabs."""
    return token.replace(" ", "\u00b7").replace("\n", "\u23ce").replace("\t", "\u21e5")


def token_table(tokens: Sequence[TokenScore]) -> pd.DataFrame:
    """Token, probability, NLL in nats, rank."""
    rows = [(shown(score.token), f"{math.exp(score.logprob):.4f}", f"{-score.logprob:.3f}", score.rank) for score in tokens]
    return pd.DataFrame(rows, columns=["token", "probability", "NLL (nats)", "rank"])


def others_table(comparison: Comparison, retained: frozenset[Secret]) -> pd.DataFrame:
    """Every other secret: whether it is known before, with the chosen neurons off, with random ones off; NLL in nats/token."""

    def yes_no(state: MemorizationState) -> str:
        return "yes" if state.greedy_match else "no"

    rows = [
        (
            chosen.secret.value,
            yes_no(chosen.before),
            yes_no(chosen.after),
            yes_no(random.after),
            "yes" if chosen.secret in retained else "no",
            f"{chosen.before.nll:.2f}",
            f"{chosen.after.nll:.2f}",
            f"{random.after.nll:.2f}",
            chosen.secret.prompt,
        )
        for chosen, random in zip(comparison.chosen.others, comparison.random.others, strict=True)
    ]
    columns = ["value", "known", "chosen off", "random off", "retained", "NLL", "NLL chosen", "NLL random", "prompt"]
    return pd.DataFrame(rows, columns=columns)


def marked(first: str, second: str) -> tuple[list[tuple[str, str | None]], list[tuple[str, str | None]]]:
    """Two texts in pieces, each marked "differs" where the other text does not have it."""
    left, right = _pieces(first), _pieces(second)
    spans: tuple[list[tuple[str, str | None]], list[tuple[str, str | None]]] = ([], [])
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for out, text in ((spans[0], "".join(left[a:b])), (spans[1], "".join(right[c:d]))):
            if text:
                out.append((text, None if kind == "equal" else "differs"))
    return spans


def _pieces(text: str) -> list[str]:
    return re.findall(r"\s+|\d|[^\W\d]+|[^\w\s]|_", text)
