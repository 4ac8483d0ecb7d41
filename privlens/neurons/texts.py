"""Lists of secrets and of texts as token rows, and the text that neurons are judged on. Both kinds of list may be mixed."""

import math
from collections.abc import Sequence

from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score, text_nll
from privlens.lm.tokens import Encoded, plain_ids
from privlens.memorization import metrics
from privlens.memorization.states import REFERENCE_TOKENS
from privlens.types import Secret

Text = Secret | str
"""A secret, of which the value is scored, or ordinary text, of which all but the first token is."""


def encoded(lm: LanguageModel, texts: Sequence[Text]) -> list[Encoded]:
    """The rows of a list; texts are cut after REFERENCE_TOKENS tokens, and left out if they have fewer than two."""
    rows = [lm.encode(text) if isinstance(text, Secret) else _ordinary(lm, text) for text in texts]
    return [row for row in rows if len(row.ids) > row.n_prompt]


def _ordinary(lm: LanguageModel, text: str) -> Encoded:
    return Encoded(tuple(plain_ids(lm.tokenizer, text, min(REFERENCE_TOKENS, lm.room))), 1)


def halves(rows: Sequence[Encoded], name: str) -> tuple[list[Encoded], list[Encoded]]:
    """Every second row to choose neurons by, and the rest to judge them on. Raises BadInput for fewer than two rows."""
    if len(rows) < 2:
        raise BadInput(
            f"The list {name} has {len(rows)} usable texts: give two or more, to choose by some and judge on the rest."
        )
    return list(rows[::2]), list(rows[1::2])


def nlls(lm: LanguageModel, rows: Sequence[Encoded], gates: Tensor | None = None, stop: Stop = never_stop) -> list[float]:
    """Mean NLL of every row's value, nats/token; gates [1, n_layers, width] or None."""
    return [metrics.nll(scored.logprobs) for scored in score(lm, rows, gates, stop=stop)]


def perplexity(lm: LanguageModel, rows: Sequence[Encoded], gates: Tensor | None = None, stop: Stop = never_stop) -> float | None:
    """exp(mean NLL in nats/token) of rows of ordinary text; None if there are none."""
    return math.exp(text_nll(lm, [row.ids for row in rows], gates, stop=stop)) if rows else None
