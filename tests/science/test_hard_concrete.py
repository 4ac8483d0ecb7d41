"""The mathematics of the mask: gates, push and retained term, against numbers worked by hand."""

import math

import pytest
import torch

from privlens.localization.hard_concrete import open_probability, sampled, settled
from privlens.localization.push import Push
from privlens.models.text import Encoded
from privlens.retained import Kept, _bucketed


def test_settled_gates_at_known_points() -> None:
    gates = settled(torch.tensor([0.0, math.log(3), 10.0, -10.0]))
    assert gates.tolist() == pytest.approx([0.5, 0.8, 1.0, 0.0])  # sigmoid * 1.2 - 0.1, clipped


def test_noise_of_one_half_is_the_logit_over_beta() -> None:
    gates = sampled(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5]))
    assert gates.tolist() == pytest.approx([0.5, 1.2 / (1 + math.exp(-1.5)) - 0.1])


def test_open_probability_is_the_share_of_samples_above_zero() -> None:
    assert float(open_probability(torch.tensor(0.0))) == pytest.approx(0.8318, abs=1e-4)  # sigmoid(2/3 ln 11)
    noise = torch.rand(200_000, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)
    for log_alpha in (-2.0, 0.0, 1.5):
        share = (sampled(torch.full_like(noise, log_alpha), noise) > 0).float().mean()
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
    before, after = torch.tensor([[[0.5, 0.3, 0.2]]]).log(), torch.tensor([[[0.2, 0.3, 0.5]]]).log()
    top = torch.tensor([[[0, 1]]])
    kept = Kept(torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1), top, _bucketed(before, top))
    by_hand = 0.5 * math.log(0.5 / 0.2) + 0.2 * math.log(0.2 / 0.5)
    assert float(kept.divergence(after)) == pytest.approx(by_hand, rel=1e-5)
    assert float(kept.divergence(before)) == pytest.approx(0.0, abs=1e-6)


def test_padding_does_not_count_in_the_retained_term() -> None:
    before = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]]).log()
    after = torch.tensor([[[0.5, 0.3, 0.2], [0.8, 0.1, 0.1]]]).log()
    top = torch.tensor([[[0, 1], [0, 1]]])
    ids, masked = torch.zeros(1, 2, dtype=torch.long), torch.tensor([[1.0, 0.0]])
    assert float(Kept(ids, masked, top, _bucketed(before, top)).divergence(after)) == pytest.approx(0.0, abs=1e-6)
    assert float(Kept(ids, torch.ones(1, 2), top, _bucketed(before, top)).divergence(after)) > 0.5
