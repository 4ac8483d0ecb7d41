"""Whose value is it? How much likelier a value is behind its own prompt than behind other people's.

A natural word outranks scrambled letters without being memorized, so it is compared with other people's values and behind other
people's prompts. With L[v, x] = log p(v | x) in nats, the lift of value v behind the secret's prompt is

    lift(v) = L[v, prompt] - mean of L[v, x] over other people's prompts x, v's own left out:

how usual v is as such cancels, and since all lifts are behind the same prompt, so does how sure the model is there of anything.
The secret is ranked by its lift among the lifts of other people's values.
"""

import re
import statistics
import sys
from collections.abc import Callable, Sequence

from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded
from privlens.memorization.metrics import rank
from privlens.types import Lift, Secret, Site
from privlens.value_match import collapse_whitespace

FEWEST = 8
"""Other people of the same kind that a lift is ranked among at least; with fewer, rank 1 means little."""
MOST_VALUES, MOST_PROMPTS = 40, 8
"""Other people's values, and prompts of theirs, at most: every value is run behind every prompt. 5 % of 40 values are two."""


Column = Callable[[Secret, Sequence[Secret]], list[float | None]]
"""The total log-probability of every value behind one prompt; None for one that does not fit into the context."""


def peers(secret: Secret, listed: Sequence[Secret], at_most: int = sys.maxsize) -> list[Secret]:
    """The first secrets of the same kind: of its category or, where it has none, with a value of its shape; one row a value.

    The shape is the value with every run of letters or digits as one: "1 Elm Street" and "27 Mill Lane" share theirs.
    """
    own_value = collapse_whitespace(secret.value)
    others: dict[str, Secret] = {}
    for row in listed:
        value = collapse_whitespace(row.value)
        is_alike = row.category == secret.category if secret.category else shape_of(value) == shape_of(own_value)
        if is_alike and value != own_value and collapse_whitespace(row.prompt) != collapse_whitespace(secret.prompt):
            others.setdefault(value, row)
            if len(others) == at_most:
                break
    return list(others.values())


def shape_of(text: str) -> str:
    """The text with every run of digits as 0 and every run of letters as a."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", text))


def lift_of(
    lm: LanguageModel,
    secret: Secret,
    listed: Sequence[Secret],
    *,
    gates: Tensor | None = None,
    site: Site = "mlp",
    stop: Stop = never_stop,
    column: Column | None = None,
) -> Lift | None:
    """The lift of a secret among other people's; None if fewer than eight of its kind are listed.

    Args:
        listed: the other secrets, in whose order values and prompts are taken; copies of the secret among them do not count.
        gates: [1, n_layers, width] or None. column: measures values behind a prompt in place of the model, from what is known
            of them already.

    Raises:
        Cancelled: when `stop` returns true.
    """
    others = peers(secret, listed, MOST_VALUES)
    if len(others) < FEWEST:
        return None
    prompts = [secret, *others[:MOST_PROMPTS]]
    values = [secret, *others]
    columns = [column(prompt, values) if column else logprobs_behind(lm, prompt, values, gates, site, stop) for prompt in prompts]
    lifts, own_margin = [], 0.0
    for row, value in enumerate(values):
        here = columns[0][row]
        elsewhere = [
            logprob
            for prompt, logprobs in zip(prompts[1:], columns[1:], strict=True)
            if prompt is not value and (logprob := logprobs[row]) is not None
        ]
        if here is None or not elsewhere:
            continue
        lifts.append(here - statistics.fmean(elsewhere))
        if row == 0:
            own_margin = here - max(elsewhere)
    if len(lifts) <= FEWEST or columns[0][0] is None:
        return None
    return Lift(nats=lifts[0], margin=own_margin, rank=rank(lifts[0], lifts[1:]), n=len(lifts))


def encoded_behind(lm: LanguageModel, prompt: Secret, value: Secret) -> Encoded | None:
    """One secret's value behind another's prompt, joined as the other's own is; None where it does not fit into the context."""
    try:
        return lm.encode(lm.settled(prompt).with_value(value.value.strip()))
    except BadInput:  # it has more tokens than the prompt's own value
        return None


def logprobs_behind(
    lm: LanguageModel,
    prompt: Secret,
    values: Sequence[Secret],
    gates: Tensor | None = None,
    site: Site = "mlp",
    stop: Stop = never_stop,
) -> list[float | None]:
    """The total log-probability of every value behind one prompt; None for one that does not fit into the context."""
    behind = {row: text for row, value in enumerate(values) if (text := encoded_behind(lm, prompt, value))}
    scored = dict(zip(behind, score(lm, list(behind.values()), gates, site=site, stop=stop), strict=True)) if behind else {}
    return [sum(scored[row].logprobs) if row in scored else None for row in range(len(values))]
