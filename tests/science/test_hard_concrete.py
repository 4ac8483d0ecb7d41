"""The mathematics of the mask: gates, push and retained term, against numbers worked by hand."""

import importlib
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded
from privlens.localization import Task, result_of
from privlens.localization.exchange import ROUNDS, STAGE
from privlens.localization.gates import TIE, deterministic_gates, open_probability, sample_gates, with_ties_broken
from privlens.localization.goal import goal
from privlens.localization.gradients import Push, contrastive, gate_gradient, push
from privlens.localization.hard_concrete import MaskSettings
from privlens.retained.distributions import ReferenceDistributions, _bucketed
from privlens.types import Secret
from tests.helpers import NEVER_TAUGHT, TAUGHT


def test_settled_gates_at_known_points() -> None:
    gates = deterministic_gates(torch.tensor([0.0, math.log(3), 10.0, -10.0]))
    assert gates.tolist() == pytest.approx([0.5, 0.8, 1.0, 0.0])  # sigmoid * 1.2 - 0.1, clipped


def test_noise_of_one_half_is_the_logit_over_beta() -> None:
    gates = sample_gates(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5]))
    assert gates.tolist() == pytest.approx([0.5, 1.2 / (1 + math.exp(-1.5)) - 0.1])


def test_open_probability_is_the_share_of_samples_above_zero() -> None:
    assert float(open_probability(torch.tensor(0.0))) == pytest.approx(0.8318, abs=1e-4)  # sigmoid(2/3 ln 11)
    noise = torch.rand(200_000, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)
    for log_alpha in (-2.0, 0.0, 1.5):
        share = (sample_gates(torch.full_like(noise, log_alpha), noise) > 0).float().mean()
        assert float(share) == pytest.approx(float(open_probability(torch.tensor(log_alpha))), abs=0.004)


def _push(margin: float = 0.0, tau: float = 5.0) -> Push:
    """Four tokens in the vocabulary; the value is token 1, its siblings are 2 and 3, token 0 is another format."""
    siblings = torch.tensor([[False, False, True, True]])
    return Push(Encoded((0, 1), 1), torch.ones(1), siblings, margin, tau)


def test_push_is_the_distance_to_the_mean_of_the_siblings() -> None:
    logits = torch.tensor([[0.1, 0.6, 0.1, 0.2]]).log()[None]
    assert float(_push()(logits)) == pytest.approx(math.log(0.6 / 0.15))
    assert float(_push(margin=0.5)(logits)) == pytest.approx(math.log(0.6 / 0.15) + 0.5)


def test_push_ends_at_the_level_of_the_siblings() -> None:
    at_level = torch.tensor([[0.7, 0.1, 0.15, 0.05]]).log()[None].requires_grad_()
    loss = _push()(at_level)
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    below = torch.tensor([[0.7, 0.05, 0.15, 0.1]]).log()[None].requires_grad_()
    _push()(below).sum().backward()
    assert below.grad is not None and not below.grad.any()


def test_push_ends_at_tau_where_no_sibling_is_near() -> None:
    lonely = Push(Encoded((0, 1), 1), torch.ones(1), torch.zeros(1, 4, dtype=torch.bool), 0.0, tau=2.0)
    logits = torch.tensor([[0.4, 0.2, 0.2, 0.2]]).log()[None].requires_grad_()
    left = lonely(logits)
    left.sum().backward()
    assert float(left.detach()) == pytest.approx(2.0 - math.log(5))
    assert logits.grad is not None and bool(logits.grad.isfinite().all())
    assert float(lonely(torch.tensor([[0.5, math.exp(-2), 0.2, 0.2]]).log()[None])) == 0.0


def test_push_leaves_format_tokens_alone() -> None:
    push = Push(Encoded((0, 1, 2), 1), torch.tensor([1.0, 0.0]), torch.zeros(2, 4, dtype=torch.bool), 0.0, 3.0)
    per_token, nll = push.per_token(torch.zeros(1, 3, 4))
    assert per_token[0].tolist() == pytest.approx([3 - math.log(4), 0.0])
    assert nll[0].tolist() == pytest.approx([math.log(4)] * 2)


def test_retained_term_is_the_divergence_where_all_tokens_are_kept() -> None:
    before = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]]).log()
    after = torch.tensor([[[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]]).log()
    top = torch.tensor([[[0, 1], [0, 1]]])
    kept = ReferenceDistributions(torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2), top, _bucketed(before, top))
    by_hand = 0.5 * math.log(0.5 / 0.2) + 0.2 * math.log(0.2 / 0.5)
    assert float(kept.divergence(after)) == pytest.approx(by_hand, rel=1e-5)
    assert float(kept.divergence(before)) == pytest.approx(0.0, abs=1e-6)


def test_padding_does_not_count_in_the_retained_term() -> None:
    """Nor does the row's last token, after which the text might go on with the secret."""
    same, before, after = [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]
    ids, top = torch.zeros(1, 4, dtype=torch.long), torch.tensor([[[0, 1]] * 4])
    predicted = torch.tensor([[same, before, before, before]]).log()
    now = torch.tensor([[same, after, after, after]]).log()

    def divergence(length: int) -> float:
        mask = torch.tensor([[1.0] * length + [0.0] * (4 - length)])
        return float(ReferenceDistributions(ids, mask, top, _bucketed(predicted, top)).divergence(now))

    moved = 0.1 * math.log(0.1 / 0.8) + 0.8 * math.log(0.8 / 0.1)
    assert divergence(2) == pytest.approx(0.0, abs=1e-6)
    assert [divergence(3), divergence(4)] == pytest.approx([moved / 2, 2 * moved / 3], rel=1e-5)


def test_push_ends_at_tau_though_the_siblings_are_further_down() -> None:
    """p = e^-6 is below tau = 5; the siblings' mean e^-9 is further down still, and would ask for 3 nats more."""
    rest = 1 - math.exp(-6) - 2 * math.exp(-9)
    logits = torch.tensor([[rest, math.exp(-6), math.exp(-9), math.exp(-9)]]).log()[None].requires_grad_()
    left = _push(tau=5.0)(logits)
    left.sum().backward()
    assert float(left.detach()) == 0.0
    assert logits.grad is not None and not logits.grad.any()
    assert float(_push(tau=7.0)(logits.detach())) == pytest.approx(3.0, abs=1e-4), "before tau is reached the push goes on"


masks = importlib.import_module("privlens.localization.hard_concrete")  # the room names its function alike
FEW = MaskSettings(steps=6, usual_steps=6, own_samples=4, sample_tokens=6, rows=3)


def test_closed_gates_cost_a_penalty_once_depth_and_price_are_met(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    penalties: list[float] = []
    step = masks.Mask.step
    monkeypatch.setattr(masks.Mask, "step", lambda mask, penalty: (penalties.append(penalty), step(mask, penalty))[1])
    list(masks.hard_concrete(Task(taught, TAUGHT[3]), replace(FEW, hold=1e-9)))
    assert penalties == [0, 0, 0, *[FEW.penalty] * 3], "nothing is that cheap: in the second half"
    penalties.clear()
    settings = replace(FEW, depth="hidden", steps=80, usual_steps=80, hold=100.0, keep=5.0)
    list(masks.hard_concrete(Task(taught, TAUGHT[3]), settings))
    first = penalties.index(FEW.penalty)
    assert 0 < first < 40 and penalties == [0.0] * first + [FEW.penalty] * FEW.patience


def test_the_kl_weighs_less_while_the_value_is_written_and_then_until_the_depth_is_reached(taught: LanguageModel) -> None:
    def after(secret: Secret, step: int, is_deep: bool) -> float:
        """The weight after a step, beside its value before, in a mask in which nothing is closed."""
        mask, _ = masks.start(Task(taught, secret), FEW)
        _, is_hidden = mask.depths(mask.closed())
        mask.loosen(step, is_deep, is_hidden)
        return mask.keep / FEW.keep

    assert after(TAUGHT[3], 1, False) == pytest.approx(FEW.loosen), "written"
    assert after(NEVER_TAUGHT, 1, False) == 1.0, "not written: the usual steps may be enough"
    assert after(NEVER_TAUGHT, FEW.usual_steps + 1, False) == pytest.approx(FEW.give_way)
    assert after(NEVER_TAUGHT, FEW.usual_steps + 1, True) == after(TAUGHT[3], 1, True) == 1.0, "deep enough"


def test_the_fewest_that_reach_are_found(taught: LanguageModel) -> None:
    for fewest in (1, 2, 37, 100):
        assert masks.fewest(lambda ns, fewest=fewest: torch.tensor(ns) >= fewest, 100) == fewest
    assert masks.fewest(lambda ns: torch.tensor(ns) >= 101, 100) is None
    assert masks.first(torch.tensor([2, 0, 1]), [0, 1, 2], 3).tolist() == [[False] * 3, [False, False, True], [True, False, True]]


def test_a_mask_shrinks_to_the_best_candidates_that_still_reach_the_depth(taught: LanguageModel) -> None:
    mask, _ = masks.start(Task(taught, TAUGHT[3]), replace(FEW, depth="hidden", candidates=1.0))
    n = len(mask.places)
    mask.firmness = torch.arange(n).float()  # how firmly they closed does not matter
    mask.log_alpha.data.fill_(-5.0)
    needed = len(mask.shrunk())
    assert mask.shrunk().tolist() == mask.places[:needed].tolist() and 0 < needed < n
    assert mask.reached((torch.arange(n) < needed)[None]).tolist() == [True]
    assert mask.reached((torch.arange(n) < needed - 1)[None]).tolist() == [False], "one fewer is not enough"
    mask.log_alpha.data[0] = 5.0
    assert mask.places[0] not in mask.shrunk(), "what did not close is not taken"
    mask.log_alpha.data.fill_(5.0)
    assert not len(mask.shrunk()), "where nothing closed nothing is chosen"


def test_candidates_are_in_the_order_of_the_contrastive_gradient(taught: LanguageModel) -> None:
    mask, attribution = masks.start(Task(taught, TAUGHT[3]), FEW)
    values = attribution.flatten()[mask.places]
    assert bool((values.diff() <= 0).all()) and values[0] == attribution.max()


def test_what_is_closed_comes_first_in_its_order_and_then_the_firmer_the_higher(taught: LanguageModel) -> None:
    mask, attribution = masks.start(Task(taught, TAUGHT[3]), FEW)
    n = len(mask.places)
    mask.firmness = torch.linspace(6, 0, n)
    elsewhere = next(place for place in range(taught.d_mlp * 2) if place not in mask.places.tolist())
    closed = torch.tensor([elsewhere, *mask.places.flip(0)[::2].tolist()])  # what an exchange closed was never a gate
    left = [place for place in mask.places.tolist() if place not in closed.tolist()]
    ranked = mask.scores(closed, attribution).flatten()
    assert ranked.argsort(descending=True)[: n + 1].tolist() == [*closed.tolist(), *left]
    assert ranked[closed].min() > 0.5 > ranked[left].max() and ranked.min() >= 0


def test_a_long_mask_is_in_order_too(taught: LanguageModel) -> None:
    mask, attribution = masks.start(Task(taught, TAUGHT[3]), FEW)
    order = torch.arange(taught.d_mlp * 2).flip(0)
    assert mask.scores(order, attribution).flatten().argsort(descending=True).tolist() == order.tolist()


@pytest.mark.parametrize(("secret", "depth"), [(TAUGHT[2], "hidden"), (TAUGHT[3], "hidden"), (TAUGHT[3], "10")])
def test_a_mask_reaches_the_depth_that_is_asked_for_with_just_the_neurons_it_suggests(
    taught: LanguageModel, secret: Secret, depth: str
) -> None:
    *steps, last = masks.hard_concrete(Task(taught, secret), MaskSettings(depth=depth, hold=100.0, keep=5.0))
    scores = last.result
    assert scores is not None and scores.suggested_k == last.n_closed > 0
    trained = [step for step in steps if "training" in step.stage]
    assert len(trained) < MaskSettings.usual_steps, "it stops when it has what it was asked for"
    off = taught.off(scores.top(scores.suggested_k))
    assert np.array_equal(last.gates, off[0].numpy())
    encoded = taught.encode(secret)
    with torch.no_grad(), taught.gated(off):
        logits = taught.logits(*taught.padded([encoded.ids]))
    assert bool(goal(Task(taught, secret), depth).met(logits)[0])
    assert scores.provenance.settings["deep"] is True and scores.provenance.settings["price"] <= 100


def test_a_mask_says_when_the_depth_is_not_to_be_had_or_not_at_that_price(taught: LanguageModel) -> None:
    dear = result_of("hard-concrete", Task(taught, TAUGHT[3]), mask=MaskSettings(depth="hidden", hold=1e-6)).provenance.settings
    assert dear["deep"] is True and dear["price"] > dear["hold"]
    never = result_of("hard-concrete", Task(taught, TAUGHT[3]), mask=MaskSettings(depth="1e300", steps=3)).provenance.settings
    assert never["deep"] is False


@pytest.mark.parametrize(
    ("depth", "hold", "rounds"),
    [("hidden", 100.0, ROUNDS), ("hidden", 1e-6, ROUNDS), ("1e300", 100.0, ROUNDS), ("hidden", 1e-6, 0), ("hidden", 100.0, 1)],
)
def test_a_mask_exchanges_unless_it_must_not(taught: LanguageModel, depth: str, hold: float, rounds: int) -> None:
    """Also where depth and price are met without."""
    settings = replace(FEW, depth=depth, hold=hold, rounds=rounds, keep=5.0, steps=30)
    *steps, last = masks.hard_concrete(Task(taught, TAUGHT[3], (TAUGHT[0],)), settings)
    assert last.result is not None and last.result.provenance.settings["rounds"] == rounds
    assert any(step.stage == STAGE for step in steps) is bool(rounds)


def test_the_contrast_pushes_every_private_token_by_itself(taught: LanguageModel) -> None:
    """The gradient of the sum over the value's tokens, not of their mean: beside retained text a long value weighs more."""
    task = Task(taught, TAUGHT[1])
    aim = push(taught, taught.encode(TAUGHT[1]), 1.0, 7.0)
    assert float(aim.pushed.sum()) > 1
    [by_token] = gate_gradient(taught, [aim.encoded.ids], "mlp", lambda logits: aim.per_token(logits)[0].sum(-1))
    assert float(by_token.abs().max()) > 1e-3
    torch.testing.assert_close(contrastive(task, aim, []), by_token)


def test_a_site_with_few_gates_has_them_all_tried(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = torch.zeros(taught.shape(), dtype=torch.bool)
    exists[0, :5] = True
    monkeypatch.setattr(type(taught), "exists", lambda *_: exists)
    mask, _ = masks.start(Task(taught, TAUGHT[1]), FEW)
    assert sorted(mask.places.tolist()) == [0, 1, 2, 3, 4]


def test_ties_are_broken_within_the_scale() -> None:
    scores = torch.tensor([1.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0])
    preferred = torch.tensor([-3.0, 0.0, 40.0, 1.0, 2.0, -40.0, 0.0])
    broken = with_ties_broken(scores, preferred)
    assert broken.tolist() == pytest.approx(scores.tolist(), abs=1.1 * TIE)
    assert float(broken.max()) == 1.0
    assert float(broken.min()) == 0.0
    assert broken.argsort(descending=True).tolist() == [2, 1, 0, 4, 3, 6, 5]
    assert with_ties_broken(scores, torch.zeros(7)).isfinite().all()


@pytest.mark.parametrize("method", ["hard-concrete", "hard-concrete-deep", "slimming", "hard-concrete-sufficient"])
def test_scores_stay_within_the_scale_that_is_stated(taught: LanguageModel, method: str) -> None:
    scores = result_of(method, Task(taught, TAUGHT[1], (TAUGHT[0],))).scores
    assert np.isfinite(scores).all()
    assert 0 <= scores.min() < scores.max() <= 1


def test_a_mask_whose_warm_start_is_all_zero_gives_numbers(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> Tensor:
        return torch.zeros(taught.shape())

    monkeypatch.setattr(masks, "contrastive", nothing)
    *_, last = masks.hard_concrete(Task(taught, TAUGHT[1]), FEW)
    assert last.result
    assert np.isfinite(last.result.scores).all()
