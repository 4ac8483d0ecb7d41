"""Exchange: of the neurons that are off, those that do least for what they cost are put back, others take their place, and the
cheapest set that buries the value as deep as asked is kept (of the kind of Pudil, Novovičová & Kittler 1994, Floating search
methods in feature selection).

Whatever closed gates one after the other, or all at once, chose many of them while others were still open. What they do is
measured anew with all of them closed.
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from privlens.localization.closing import Closing
from privlens.types import LocalizationStep, NeuronScores

STAGE = "exchanging neurons for cheaper ones, often done early"
ROUNDS = 10
PATIENCE = 4
"""Rounds in a row without a lower price, after which it ends."""
SPARE = 0.003
"""Nats per token: ordinary text is then x1.003 as surprising, and below that an exchange is not worth its time."""
REOPENED = 0.3
"""Share of the closed neurons that a round puts back."""
GROWTH = 0.2
ROWS = 16
"""Retained rows that a slope is measured on. With three times as many, and half the growth, the neurons found were no better and
an exchange took twice as long. These rates were chosen on `demo` (seed 7) and `natural` (seeds 100 and 101)."""


STEPS = 5
"""Steps that a round usually takes; what is shown of the progress depends on it alone."""


@dataclass(frozen=True)
class Exchanging:
    """One step of an exchange: what is closed now, the target's NLL before that, and the lowest price so far, nats/token each."""

    tried: Closing
    nll: float
    price: float


def exchange(closing: Closing, rounds: int = ROUNDS) -> Iterator[Exchanging]:
    """Makes the closed neurons cheaper, a record per step; `closing` has the cheapest that were found.

    Where the value is not as deep as asked, more are closed first; where that does not help either, `closing` stays as it was.
    Ends early where the price is low or falls no more.

    Raises:
        Cancelled: before the next step when the task's `stop` returns true.
    """
    if not rounds:
        return
    tried = copy(closing)  # with its curvature, if it has been measured
    tried.growth, tried.rows = GROWTH, ROWS
    lowest, since = closing.price(), 0
    if not closing.is_deep():
        yield from _deepen(tried, lowest)
        if not tried.is_deep():
            return
        closing.order, closing.worth, lowest = tried.order, tried.worth, tried.price()
    for _ in range(rounds):
        if lowest <= SPARE or since == PATIENCE:
            return
        tried.task.go_on()
        yield from _deepen(tried, lowest, tried.reopen(REOPENED))
        if not tried.is_deep():
            return
        price, since = tried.price(), since + 1
        if price < lowest:
            closing.order, closing.worth, lowest, since = tried.order, tried.worth, price, 0


def _deepen(tried: Closing, lowest: float, barred: Tensor | None = None) -> Iterator[Exchanging]:
    for nll, _ in tried.deepen(barred):
        yield Exchanging(tried, nll, lowest)


def ending(
    closing: Closing, rounds: int, step: int, terms: dict[str, float], result: Callable[[dict[str, Any]], NeuronScores]
) -> Iterator[LocalizationStep]:
    """The end of a localization: the steps of an exchange, and the last one with the result.

    Args:
        step: the number of the first record. terms: those of the last step before.
        result: whether the depth was reached, and the price -> the scores of the neurons that `closing` has then.
    """
    usual = step + STEPS * rounds
    for one in exchange(closing, rounds):
        yield one.tried.record(step, max(usual, step), STAGE, one.nll, {**terms, "kept": one.price})
        step += 1
    outcome = {"deep": closing.is_deep(), "price": closing.price()}
    last = closing.record(step, step, "done", closing.nll(), {**terms, "kept": outcome["price"]})
    yield replace(last, result=result(outcome))
