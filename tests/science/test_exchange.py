"""Exchange: what is put back, worked by hand; the cheapest set is kept, as deep as asked, without what was closed in vain."""

from copy import copy
from dataclasses import replace

import pytest
import torch

from privlens.errors import Cancelled
from privlens.lm.model import LanguageModel
from privlens.localization import Task, last_of
from privlens.localization.closing import Closing
from privlens.localization.exchange import PATIENCE, SPARE, exchange
from privlens.localization.hard_concrete import MaskSettings, hard_concrete
from privlens.localization.stepwise import StepwiseSettings, begin, stepwise
from privlens.memorization.states import memorization_states
from tests.helpers import TAUGHT

FEW = StepwiseSettings(own_samples=6, sample_tokens=8, most=0.9, depth="hidden", rounds=0)


def closing_of(taught: LanguageModel, order: list[int], depth: str = "hidden") -> Closing:
    """For the second secret, with the first as retained text, and these neurons closed."""
    closing = begin(Task(taught, TAUGHT[1], (TAUGHT[0],)), replace(FEW, depth=depth))
    closing.order = torch.tensor(order)
    return closing


def neurons_of(taught: LanguageModel, target: int, depth: str = "hidden") -> list[int]:
    """Flat indices that stepwise closes for a secret, with the other one as retained text."""
    scores = last_of(stepwise(Task(taught, TAUGHT[target], (TAUGHT[1 - target],)), replace(FEW, depth=depth)))
    assert scores.suggested_k
    return [neuron.layer * taught.d_mlp + neuron.index for neuron in scores.top(scores.suggested_k)]


def written(taught: LanguageModel, closing: Closing, secret: int) -> bool:
    [state] = memorization_states(taught, [TAUGHT[secret]], closing.gates(closing.closed()))
    return state.greedy_match


def test_the_third_that_does_least_for_what_it_costs_is_put_back(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worth by slope alone is 1, 4, 2, 3, 5 and 0; the fifth costs 10,000, so its worth is .05 at most. Two of six go back."""
    closing = closing_of(taught, [3, 7, 11, 90, 20, 40])
    logprob_slope, kl_slope = torch.zeros(2, taught.d_mlp), torch.zeros(2, taught.d_mlp)
    for place, slope in zip([3, 7, 11, 90, 20, 40], [1.0, 4.0, 2.0, 3.0, 5.0, 0.0], strict=True):
        logprob_slope.view(-1)[place] = slope
    kl_slope.view(-1)[20] = -10_000.0
    closing.__dict__["half_curvature"] = torch.ones(2, taught.d_mlp)
    monkeypatch.setattr(closing, "_slopes", lambda of_target: (logprob_slope, kl_slope, 1.0, {}))
    assert closing.reopen(0.3).tolist() == [20, 40]
    assert closing.order.tolist() == [7, 90, 11, 3]


def test_what_is_asked_when_neurons_are_put_back_is_how_likely_the_value_becomes(taught: LanguageModel) -> None:
    """The slope of each closed gate, against the value's log-probability with that gate opened a little."""
    closing = closing_of(taught, neurons_of(taught, 1))
    push = closing.goal.push
    slopes, *_ = closing._slopes(lambda logits: -push.per_token(logits)[1].sum(-1))
    ids = list(closing.goal.encoded.ids)

    def logprob(gates: torch.Tensor) -> float:
        with torch.no_grad(), taught.gated(gates, "mlp"):
            return -push.per_token(taught.logits(*taught.padded([ids])))[1].sum().item()

    for place in closing.order[:4].tolist():
        layer, index = divmod(place, taught.d_mlp)
        ends = []
        for gate in (-0.01, 0.01):
            gates = closing.gates(closing.closed())
            gates[0, layer, index] = gate
            ends.append(logprob(gates))
        assert slopes[layer, index].item() == pytest.approx((ends[1] - ends[0]) / 0.02, rel=0.02, abs=2e-3)


def test_what_was_closed_in_vain_is_given_back(taught: LanguageModel) -> None:
    """The neurons of both secrets are closed, though only one is to go."""
    mine, others = neurons_of(taught, 1, "100000"), neurons_of(taught, 0, "100000")
    closing = closing_of(taught, mine + [place for place in others if place not in mine])
    before = closing.price()
    assert not written(taught, closing, 0), "the retained secret was lost"
    prices = [step.price for step in exchange(closing)]
    assert prices == sorted(prices, reverse=True)
    assert closing.price() < before / 4
    assert written(taught, closing, 0)
    assert not written(taught, closing, 1)
    assert len(closing.order.unique()) == len(closing.order)


def test_the_cheapest_that_was_found_is_kept_and_a_price_that_falls_no_more_ends_it(
    taught: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices of the rounds, as if measured: the second is the lowest, and is not followed by a lower one in PATIENCE rounds."""
    closing = closing_of(taught, neurons_of(taught, 1))
    prices = iter([0.5, 0.4, 0.3, 0.31, 0.3, 0.32, 0.4, 0.1])
    orders: list[list[int]] = []

    def measured(now: Closing) -> float:
        orders.append(now.order.tolist())
        return next(prices)

    monkeypatch.setattr(Closing, "price", measured)
    assert [step.price for step in exchange(closing, rounds=9)]
    assert len(orders) == 1 + 2 + PATIENCE
    assert closing.order.tolist() == orders[2]


@pytest.mark.parametrize(("price", "is_run"), [(SPARE, False), (2 * SPARE, True)])
def test_what_costs_next_to_nothing_is_not_exchanged(
    taught: LanguageModel, monkeypatch: pytest.MonkeyPatch, price: float, is_run: bool
) -> None:
    closing = closing_of(taught, neurons_of(taught, 1))
    monkeypatch.setattr(Closing, "price", lambda now: price)
    assert bool(list(exchange(closing))) is is_run


def test_what_is_not_deep_enough_is_closed_further_first(taught: LanguageModel) -> None:
    closing = closing_of(taught, neurons_of(taught, 1)[:2])
    assert written(taught, closing, 1)
    assert list(exchange(closing))
    assert not written(taught, closing, 1)


def test_a_depth_that_cannot_be_had_leaves_what_was_closed(taught: LanguageModel) -> None:
    closing = closing_of(taught, neurons_of(taught, 1)[:3], depth="1e300")
    before = closing.order.tolist()
    assert list(exchange(closing)), "it has tried"
    assert closing.order.tolist() == before
    assert list(exchange(closing, rounds=0)) == []


def test_cancel_ends_it_before_the_next_step(taught: LanguageModel) -> None:
    closing = closing_of(taught, neurons_of(taught, 1))
    stopped: list[int] = []
    closing.task = replace(closing.task, stop=lambda: bool(stopped))
    steps = exchange(copy(closing))
    next(steps)
    stopped.append(1)
    with pytest.raises(Cancelled):
        next(steps)


@pytest.mark.parametrize("method", ["hard-concrete", "stepwise"])
def test_a_localization_ends_with_the_exchange(taught: LanguageModel, method: str) -> None:
    """Cheaper than without, as deep, and the scores, the gates and what is said of them agree."""
    task = Task(taught, TAUGHT[3], (TAUGHT[0],))
    found = []
    for rounds in (0, 10):
        mask = MaskSettings(depth="hidden", own_samples=6, sample_tokens=8, hold=100.0, keep=5.0, rounds=rounds)
        steps = hard_concrete(task, mask) if method == "hard-concrete" else stepwise(task, replace(FEW, rounds=rounds))
        *_, last = steps
        assert last.result
        found.append(last)
    plain, exchanged = (step.result.provenance.settings for step in found if step.result)
    assert plain["deep"] and exchanged["deep"]
    assert SPARE < exchanged["price"] < plain["price"] or exchanged["price"] <= SPARE
    gates = torch.from_numpy(found[1].gates)
    assert found[1].result
    off = found[1].result.top(int((gates == 0).sum()))
    assert sorted([neuron.layer, neuron.index] for neuron in off) == (gates == 0).nonzero().tolist()
    assert found[1].result.suggested_k == len(off)
    [state] = memorization_states(taught, [TAUGHT[3]], gates[None])
    assert not state.greedy_match
