"""Stepwise closing: what is closed next, worked by hand; neurons that stand in for each other; depth, price and order."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from privlens.errors import BadInput, Cancelled
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.localization import Task, last_of, result_of, steps_of
from privlens.localization.closing import half_fisher, n_closed_after, worth
from privlens.localization.goal import goal
from privlens.localization.hard_concrete import MaskSettings, asked_for, hard_concrete, start
from privlens.localization.stepwise import StepwiseSettings, begin, n_steps_to, stepwise
from privlens.memorization.check import exposure_of
from privlens.memorization.extraction import tries
from privlens.memorization.states import memorization_states
from privlens.types import TAIL
from tests.helpers import TAUGHT

FEW = StepwiseSettings(own_samples=6, sample_tokens=8, most=0.9, rounds=0)
"""Many of its neurons: the taught model is so small that a value is in a third of them."""


def task_of(taught: LanguageModel) -> Task:
    return Task(taught, TAUGHT[1], (TAUGHT[0],))


def test_worth_is_what_it_takes_from_the_push_for_what_it_costs() -> None:
    """Costs .25 + 0, 0 + .04 (the slope says that closing helps) and 0 + .04; roots .5, .2, .2; mean root of curvature .13..."""
    half_curvature = torch.tensor([0.0, 0.04, 0.04])
    found = worth(torch.tensor([1.0, 1.0, -2.0]), torch.tensor([-0.25, 3.0, 0.0]), half_curvature)
    mean_root = 0.4 / 3
    assert found.tolist() == pytest.approx([1 / (0.5 + mean_root), 1 / (0.2 + mean_root), -2 / (0.2 + mean_root)])
    assert worth(torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([0.0])).isfinite().all(), "free, and still a number"


def test_steps_grow_by_a_fifth_and_end_at_the_most() -> None:
    counts, n = [], 0
    while n < 30:
        n = n_closed_after(n, 0.2, 30)
        counts.append(n)
    assert counts == [2, 4, 6, 8, 10, 12, 14, 17, 20, 24, 29, 30]
    assert n_steps_to(30, 0.2) == len(counts)


def test_the_curvature_is_half_the_mean_square_of_each_rows_gradient_per_token(taught: LanguageModel) -> None:
    """Against gradients one row at a time, by autograd alone."""
    rows = [list(taught.encode(secret).ids) for secret in TAUGHT[:2]]
    expected = torch.zeros(taught.shape())
    for row in rows:
        gates = torch.ones(1, *taught.shape(), requires_grad=True)
        with taught.held(), taught.gated(gates, "mlp"):
            logprobs = taught.logits(*taught.padded([row]))[0, :-1].log_softmax(-1)
        logprobs.gather(1, torch.tensor(row[1:])[:, None]).sum().backward()
        assert gates.grad is not None
        expected += gates.grad[0].square() / (len(row) - 1) / len(rows) / 2
    torch.testing.assert_close(half_fisher(task_of(taught), rows, at_once=1), expected, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(half_fisher(task_of(taught), rows), expected, rtol=1e-3, atol=1e-7)


def test_it_ends_with_the_fewest_that_reach_the_depth_the_first_closed_first(taught: LanguageModel) -> None:
    task = task_of(taught)
    *_, last = stepwise(task, replace(FEW, depth="hidden"))
    scores = last.result
    assert scores and scores.suggested_k
    settings = scores.provenance.settings
    assert settings["deep"]
    off = scores.top(scores.suggested_k)
    assert last.n_closed == len(off)
    assert {(neuron.layer, neuron.index) for neuron in off} == set(zip(*np.nonzero(last.gates == 0), strict=True))
    for n, written in ((len(off), False), (len(off) - 1, True)):
        gates = torch.ones(1, *taught.shape())
        for neuron in off[:n]:
            gates[0, neuron.layer, neuron.index] = 0
        [state] = memorization_states(taught, [TAUGHT[1]], gates)
        assert state.greedy_match is written, f"{n} neurons off"
    flat = np.sort(scores.scores[~np.isnan(scores.scores)])
    assert len(np.unique(flat)) == len(flat), "no ties"
    assert flat[0] > 0 and flat[-1] == 1
    assert (flat > 0.5).sum() == scores.suggested_k


def test_a_gate_that_stands_in_for_another_is_found_only_once_that_is_closed(taught: LanguageModel) -> None:
    """The gradients are those at the gates as they are: after a step they differ from the first ones, and rank otherwise."""
    closing = begin(task_of(taught), FEW)
    assert closing.step()
    first_worth = closing.worth.flatten().clone()
    closed = closing.order.tolist()
    assert closing.step()
    second_worth = closing.worth.flatten().clone()
    left = [index for index in first_worth.argsort(descending=True).tolist() if index not in closed]
    assert not torch.allclose(first_worth[left], second_worth[left])
    assert closing.order[: len(closed)].tolist() == closed
    best = [index for index in second_worth.argsort(descending=True).tolist() if index not in closed]
    assert closing.order[len(closed) :].tolist() == best[: len(closing.order) - len(closed)]


def test_the_same_seed_closes_the_same_and_the_depth_counts(taught: LanguageModel) -> None:
    one, again, deeper = (
        last_of(stepwise(task_of(taught), replace(FEW, depth=depth, rows=2))) for depth in ("100", "100", "100000")
    )
    np.testing.assert_array_equal(one.scores, again.scores)
    assert one.suggested_k and deeper.suggested_k
    assert one.suggested_k < deeper.suggested_k
    by_name = result_of("stepwise", task_of(taught), mask=asked_for("100", 0.5)).provenance.settings
    assert (by_name["depth"], by_name["hold"]) == ("100", 0.5)


@pytest.mark.parametrize("method", [stepwise, hard_concrete])
def test_what_it_is_to_forget_ends_among_its_rivals(taught_letters: LanguageModel, method: Callable[..., Any]) -> None:
    """With these neurons off it is neither among the likeliest nor the unlikeliest values; with one fewer it still stands out."""
    settings = replace(FEW, depth="forgotten") if method is stepwise else MaskSettings(depth="forgotten", candidates=0.9)
    task = Task(taught_letters, TAUGHT[1], (TAUGHT[0], *TAUGHT[2:]))
    result = last_of(method(task, settings))
    assert result.provenance.settings["deep"] and result.suggested_k
    aim = goal(task, "forgotten")
    assert aim.rivals
    standing = []
    for k in (result.suggested_k, result.suggested_k - 1):
        with taught_letters.gated(taught_letters.off(result.top(k)), "mlp"):
            rank = exposure_of(taught_letters, task.target).rank
            [scored] = score(taught_letters, [taught_letters.encode(task.target)])
            standing.append((rank, sum(scored.logprobs) <= max(aim.lowest, aim.rivals.level(taught_letters).high)))
    assert TAIL * 256 < standing[0][0] <= 256 * (1 - TAIL), standing
    assert [below for _, below in standing] == [True, False]


def test_what_is_left_to_do_is_measured_anew_in_every_step(taught_letters: LanguageModel) -> None:
    """A level of 0 nats, which every value is below, does not outlast the step in either method."""
    task = Task(taught_letters, TAUGHT[1], (TAUGHT[0], *TAUGHT[2:]))
    closing = begin(task, replace(FEW, depth="forgotten"))
    closing.goal = replace(closing.goal, level=0.0)
    assert next(closing.deepen()) and len(closing.order)
    mask, _ = start(task, MaskSettings(depth="forgotten"))
    mask.goal = replace(mask.goal, level=0.0)
    assert mask.depths(torch.zeros(len(mask.places), dtype=torch.bool)) == (False, False)
    assert mask.goal.level == closing.goal.level < 0, "all neurons on"


def test_where_nothing_has_to_be_closed_nothing_is(taught: LanguageModel) -> None:
    never = TAUGHT[1].with_value("none of it")
    *_, last = stepwise(replace(task_of(taught), target=never), replace(FEW, depth="hidden"))
    assert last.result and last.result.suggested_k == 0
    assert (last.gates == 1).all()
    [state] = memorization_states(taught, [never])
    nearly = str(0.9 * tries(state.logprob))
    *_, last = stepwise(replace(task_of(taught), target=never), replace(FEW, depth=nearly))
    assert last.result and last.result.suggested_k == 0, "deep enough, though the loss would go on a little"


def test_a_neuron_that_takes_nothing_from_the_push_stays_open(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    closing = begin(task_of(taught), FEW)
    slopes = torch.full(taught.shape(), -1.0)
    slopes[1, 5] = 1.0
    monkeypatch.setattr(closing, "_slopes", lambda of_target: (slopes, torch.zeros(taught.shape()), 1.0, {}))
    assert closing.step()
    assert closing.order.tolist() == [taught.d_mlp + 5]
    assert closing.step() is None
    assert closing.order.tolist() == [taught.d_mlp + 5]


def test_what_cannot_be_reached_is_said(taught: LanguageModel) -> None:
    *_, last = stepwise(task_of(taught), replace(FEW, depth="1e300", most=0.05))
    assert last.result
    assert not last.result.provenance.settings["deep"]
    assert last.result.suggested_k == round(0.05 * 2 * taught.d_mlp)
    with pytest.raises(BadInput, match="is no depth"):
        list(stepwise(task_of(taught), replace(FEW, depth="deep")))


def test_cancel_ends_it_before_the_next_step(taught: LanguageModel) -> None:
    stopped: list[int] = []
    steps = steps_of("stepwise", replace(task_of(taught), stop=lambda: bool(stopped)))
    next(steps)
    next(steps)
    stopped.append(1)
    with pytest.raises(Cancelled):
        next(steps)
