"""Edits that need no loss: REVS on a net of two tokens and on a taught model, and curvature dropped from a matrix by hand."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from privlens.erasure import ErasureSettings, Request, erase
from privlens.erasure.low_curvature import KEPT, LowCurvature, Spectrum, edited_layers
from privlens.erasure.revs import OUTPUT_RANK, Revs, demotion, first_distinct, ranks
from privlens.lm.activations import input_second_moments
from privlens.lm.curvature import gradient_second_moments
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.lm.unembedding import unembedding
from privlens.outcomes import ErasureStep
from privlens.types import Edit, Secret
from tests.helpers import NEVER_TAUGHT, TAUGHT, Maker

TARGET, REST = TAUGHT[1], (TAUGHT[0], *TAUGHT[2:])
REVS = ErasureSettings(method="revs", share=0.2, steps=20, least_kept=0.0)
CURVATURE = ErasureSettings(method="low-curvature", steps=4, measure_every=4)


def last_of(steps: Iterator[ErasureStep]) -> tuple[ErasureStep, Edit]:
    *_, last = steps
    assert last.result
    return last, last.result


def weights_of(lm: LanguageModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in lm.model.state_dict().items()}


def nll(lm: LanguageModel, secret: Secret) -> float:
    [scored] = score(lm, [lm.encode(secret)])
    return -sum(scored.logprobs) / len(scored.logprobs)


def test_a_demotion_by_hand() -> None:
    """Two tokens, U the identity: lowering the first from 3 below 1 takes 2, and nothing else moves."""
    vector, moved, token = torch.tensor([[3.0, 1.0], [0.0, 1.0]]), torch.tensor([1.0, 0.0]), torch.tensor([0])
    delta = demotion(vector, moved, token, 1)
    assert delta.tolist() == pytest.approx([2.0, 0.0], abs=1e-3)
    lowered = vector - delta[:, None] * moved
    assert ranks(lowered, token).tolist() == [1, 1]
    assert lowered[:, 1].tolist() == [1.0, 1.0]


def test_a_demotion_where_other_logits_fall_too() -> None:
    """Four tokens. The second falls half as fast: it is level after 2 / (1 - 1/2) = 4. The last falls faster and never passes."""
    logits, moved, token = torch.tensor([[5.0, 3.0, 2.0, 4.0]]), torch.tensor([1.0, 0.5, 0.0, 1.2]), torch.tensor([0])
    assert [demotion(logits, moved, token, rank).item() for rank in (1, 2, 3)] == pytest.approx([3.0, 4.0, 4.0], abs=1e-3)
    for rank in (1, 2):
        lowered = logits - demotion(logits, moved, token, rank)[:, None] * moved
        assert int((lowered[0, 1:3] > lowered[0, 0]).sum()) == rank, "and no more than was asked for"


def test_projected_back_only_the_targets_logit_is_lowered_as_far_as_it_can_be_alone() -> None:
    """U w' = z - delta P e_t, with P the projection on what U can write."""
    torch.manual_seed(0)
    table, w, t = torch.randn(7, 3), torch.randn(3), 4
    direction = table[t] @ torch.linalg.pinv(table.T @ table)
    torch.testing.assert_close(direction, torch.linalg.pinv(table)[:, t])
    projection = table @ torch.linalg.pinv(table)
    moved = table @ direction
    torch.testing.assert_close(moved, projection[:, t])
    delta = demotion((table @ w)[None], moved, torch.tensor([t]), 3)
    assert int(ranks((table @ (w - delta * direction))[None], torch.tensor([t]))) >= 3


def test_candidates_are_taken_until_so_many_neurons_are_named() -> None:
    rows = torch.tensor([[0, 0, 5], [1, 0, 5], [0, 1, 5], [1, 2, 2], [2, 1, 5]])
    assert first_distinct(rows, 2).tolist() == [[0, 0, 5], [1, 0, 5], [0, 1, 5], [2, 1, 5]]


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama", "gemma2"])
def test_the_unembedding_says_what_a_vector_does_to_the_logits(tiny: Maker, architecture: str) -> None:
    """The logits of a state are its products with the rows, over what the norm divides by, plus a bias that all states share."""
    lm = tiny(architecture)
    head = lm.model.get_output_embeddings()
    inside = {module for layer in lm.layout.layers for module in layer.modules()}
    norm = [module for module in lm.model.modules() if "Norm" in type(module).__name__ and module not in inside][-1]
    with torch.no_grad():
        before = norm.weight.clone()
        norm.weight.add_(0.3 * torch.randn(before.shape))
        try:
            states = torch.randn(2, 16)
            centred = states - states.mean(1, keepdim=True) if isinstance(norm, nn.LayerNorm) else states
            rms = centred.square().mean(1, keepdim=True).sqrt()
            expected = head(norm(states)) * rms
            bias = head(norm(torch.ones(1, 16) * 0)) if isinstance(norm, nn.LayerNorm) else 0.0
            torch.testing.assert_close(states @ unembedding(lm).T, expected - bias * rms, rtol=1e-3, atol=1e-3)
        finally:
            norm.weight.copy_(before)


def test_revs_makes_a_taught_secret_unlikely_and_leaves_the_model_as_it_was(taught: LanguageModel) -> None:
    before = weights_of(taught)
    last, edit = last_of(erase(Request(taught, (TARGET,), REST, settings=REVS)))
    assert all(torch.equal(before[name], now) for name, now in taught.model.state_dict().items())
    view = taught.under(edit)
    assert last.n_matches == 0
    assert nll(view, TARGET) > 3 > nll(taught, TARGET)
    assert nll(view, TARGET) - nll(taught, TARGET) > 2 * max(nll(view, other) - nll(taught, other) for other in REST)
    assert edit.n_weights <= 0.2 * taught.n_parameters
    assert all("dense_4h_to_h.weight" in name for name in edit.changes), "output vectors only"


def test_revs_lowers_the_tokens_of_its_queue_to_the_rank_it_says(taught: LanguageModel) -> None:
    work = Revs(Request(taught, (TARGET,), settings=REVS), 0.0, [])
    back = torch.linalg.pinv(work.unembedding.double(), rtol=1e-5).T[work.values].float()
    torch.testing.assert_close(work.directions, back, rtol=1e-3, atol=1e-3 * float(back.abs().max()))
    token = next(index for index, queues in enumerate(work.queues) if any(queues))
    layer = next(layer for layer, queue in enumerate(work.queues[token]) if queue)
    first, rest = work.queues[token][layer][:5], work.queues[token][layer][5:]
    value = work.values[token : token + 1]
    logits = work._vectors(layer)[first] @ work.unembedding.T
    assert (ranks(logits, value) < work._rank(0.75)).all()
    before = work._vectors(layer).clone()
    work._demote(token)
    assert (ranks(work._vectors(layer)[first] @ work.unembedding.T, value) >= work._rank(0.75)).all()
    assert work.queues[token][layer] == rest
    untouched = [row for row in range(len(before)) if row not in first]
    assert torch.equal(work._vectors(layer)[untouched], before[untouched])


def test_the_control_of_revs_changes_as_many_neurons_and_forgets_less(taught: LanguageModel) -> None:
    settings = replace(REVS, share=0.02)
    chosen, chance = (
        last_of(erase(Request(taught, (TARGET,), settings=each)))[1] for each in (settings, replace(settings, choice="random"))
    )
    works = [Revs(Request(taught, (TARGET,), settings=each), 0.0, []) for each in (settings, replace(settings, choice="random"))]
    assert [len(neurons) for neurons in works[0].vectors.neurons] == [len(neurons) for neurons in works[1].vectors.neurons]
    assert nll(taught.under(chosen), TARGET) > 2 * nll(taught.under(chance), TARGET)


def test_what_is_kept_of_two_by_two_by_hand() -> None:
    """G = diag(2, 1), A = diag(3, 1): products 6, 3 (the first column), 2, 1. 60 % of 12 are 7.2: 6 + 3 are kept."""
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    spectrum = Spectrum.of(weight, torch.diag(torch.tensor([2.0, 1.0])), torch.diag(torch.tensor([3.0, 1.0])))
    assert [spectrum.n_kept(share) for share in (1.0, 0.95, 0.9, 0.6, 0.5)] == [4, 4, 3, 2, 1]
    assert spectrum.without(spectrum.order[2:]).tolist() == [[1.0, 0.0], [3.0, 0.0]]
    assert spectrum.without(spectrum.order[1:]).tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert torch.equal(spectrum.without(spectrum.order[4:]), weight), "not a bit of it changes"
    assert spectrum.without(spectrum.order[:0]).equal(weight)


def test_turning_the_basis_turns_what_is_dropped() -> None:
    """The same matrix in another basis: W' turns with it."""
    turn = torch.tensor([[math.cos(0.7), -math.sin(0.7)], [math.sin(0.7), math.cos(0.7)]])
    weight, gradients, inputs = (
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        torch.diag(torch.tensor([2.0, 1.0])),
        torch.diag(torch.tensor([3.0, 1.0])),
    )
    turned = Spectrum.of(turn @ weight @ turn.T, turn @ gradients @ turn.T, turn @ inputs @ turn.T)
    expected = turn @ torch.tensor([[1.0, 0.0], [3.0, 0.0]]) @ turn.T
    torch.testing.assert_close(turned.without(turned.order[turned.n_kept(KEPT) :]), expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_moment_of_one_token_is_that_of_its_weights_gradient(tiny: Maker) -> None:
    """For one token dL/dW = g a^T, so g = dL/dW a / |a|^2."""
    lm = tiny("gpt_neox")
    projection = lm.layout.mlp_inputs[1][0]
    [found] = gradient_second_moments(lm, [[7]], [projection], torch.Generator().manual_seed(3))
    ids = torch.tensor([[7]])
    with lm.held():
        projection.weight.requires_grad_(True)
        logits = lm.logits(ids, torch.ones_like(ids))[0]
        drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=torch.Generator().manual_seed(3))[:, 0]
        [gradient] = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, drawn), [projection.weight])
        projection.weight.requires_grad_(False)
    moment = input_second_moments(lm, [[7]])[1]
    outer = gradient @ gradient.T / moment.trace()  # g a^T a g^T / |a|^2
    torch.testing.assert_close(found, outer, rtol=1e-4, atol=1e-10)


def test_the_paper_layers() -> None:
    assert (list(edited_layers(32)), list(edited_layers(1)), list(edited_layers(6))) == ([23, 24, 25], [0], [4])


def test_low_curvature_sees_no_secret_and_leaves_the_model_as_it_was(taught: LanguageModel) -> None:
    before = weights_of(taught)
    edits = [last_of(erase(Request(taught, (secret,), settings=CURVATURE)))[1] for secret in (TARGET, NEVER_TAUGHT)]
    assert all(torch.equal(before[name], now) for name, now in taught.model.state_dict().items())
    assert list(edits[0].changes) == ["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"] == list(edits[1].changes)
    first, second = (edit.changes["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"].new.tolist() for edit in edits)
    assert first == second
    assert nll(taught.under(edits[0]), TARGET) > nll(taught, TARGET)


def test_the_control_of_low_curvature_drops_as_many_pairs_at_random(taught: LanguageModel) -> None:
    one, chance = (
        LowCurvature(Request(taught, (TARGET,), settings=replace(CURVATURE, choice=choice)), 0.0, [])
        for choice in ("contrastive", "random")
    )
    [spectrum], [shuffled] = one.spectra.values(), chance.spectra.values()
    assert spectrum.n_kept(KEPT) == shuffled.n_kept(KEPT) < len(spectrum.order) / 2
    assert sorted(shuffled.order.tolist()) == list(range(len(spectrum.order)))
    assert shuffled.order.tolist() != spectrum.order.tolist()


def test_revs_ends_once_nothing_is_left_to_lower(taught: LanguageModel) -> None:
    last, edit = last_of(erase(Request(taught, (TARGET,), settings=replace(REVS, share=0.001, steps=50))))
    assert last.step < 50
    assert edit.provenance.settings["steps_taken"] == last.step
    assert 0 < OUTPUT_RANK < 1
