"""The mathematics of erasing: losses, the metric, turned steps and levels, against numbers worked by hand."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from privlens.erasure.evaluate import ONE_SIDED, _upper
from privlens.erasure.losses import LOSSES, NPO_BETA, SHARPNESSES, TRUE_TOKEN_OFFSET, UNDIAL_STRENGTH, Predicted, entropy, nll
from privlens.erasure.preconditioner import DAMPING, KfacPreconditioner, output_vectors_of
from privlens.erasure.selection import best, best_neurons, contrastive, scores
from privlens.lm.activations import mean_squares, read, second_moments
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.memorization.levels import RIVALS, Level, Rivals, adding_up, format_levels, rivals_of
from privlens.memorization.lift import lift_of
from privlens.types import Secret
from tests.helpers import TAUGHT, Maker

PROBABILITIES = torch.tensor([[0.5, 0.25, 0.25]])


def predicted(probabilities: Tensor, values: list[int], reference: Tensor | None = None) -> Predicted:
    """One text, a position a row."""
    before = None if reference is None else reference.log()
    return Predicted(probabilities.log(), torch.tensor(values), torch.zeros(len(values), dtype=torch.long), 1, before)


def test_entropy_and_its_gradient() -> None:
    logits = PROBABILITIES.log().requires_grad_()
    found = entropy(logits)
    found.sum().backward()
    by_hand = 0.5 * math.log(2) + 0.5 * math.log(4)
    assert found.item() == pytest.approx(by_hand)
    expected = [-0.5 * (math.log(0.5) + by_hand), *[-0.25 * (math.log(0.25) + by_hand)] * 2]
    assert logits.grad is not None and logits.grad[0].tolist() == pytest.approx(expected)
    assert expected[0] < 0 < expected[1], "the likeliest token falls"


def test_entropy_has_no_gradient_at_uniform_and_stays_finite_at_certainty() -> None:
    uniform = torch.zeros(1, 4, requires_grad=True)
    entropy(uniform).sum().backward()
    assert uniform.grad is not None and uniform.grad.abs().max() < 1e-6
    certain = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    entropy(certain).sum().backward()
    assert entropy(certain).item() == pytest.approx(0.0)
    assert certain.grad is not None and bool(certain.grad.isfinite().all())


def sharpened(sharpness: float) -> float:
    """Entropy of the probabilities 2 : 1 : 1, the first with its handicap, each to the power of a sharpness, by hand."""
    first = (2 * math.exp(TRUE_TOKEN_OFFSET)) ** sharpness
    p, q = first / (first + 2), 1 / (first + 2)
    return -p * math.log(p) - 2 * q * math.log(q)


@pytest.mark.parametrize("gap", [8.0, 4.0, 2.0, 1.0, 0.5])
def test_several_sharpnesses_move_a_token_from_certainty_to_the_last_lead(gap: float) -> None:
    logits = torch.tensor([[gap] + [0.0] * 9 + [-8.0] * 2000], requires_grad=True)
    LOSSES["emso"](Predicted(logits, torch.tensor([0]), torch.tensor([0]), 1)).sum().backward()
    assert logits.grad is not None and 0.15 < logits.grad[0, 0] < 1, "the entropy alone has 0.03 at 8 nats and 0.13 at 0.5"


BY_HAND = {
    "gradient-ascent": math.log(0.5),
    "unlikelihood": -math.log(1 - 0.5),
    "npo": 2 / NPO_BETA * math.log(1 + (0.5 / 0.8) ** NPO_BETA),
    "kl-uniform": -(math.log(0.5) + 2 * math.log(0.25)) / 3 - math.log(3),
    "emso": -sum(sharpened(sharpness) for sharpness in SHARPNESSES) / 4,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_of_one_token(name: str) -> None:
    found = LOSSES[name](predicted(PROBABILITIES, [0], torch.tensor([[0.8, 0.1, 0.1]])))
    assert found.tolist() == pytest.approx([BY_HAND[name]])


@pytest.mark.parametrize("gap", [14.0, 20.0, 40.0])
@pytest.mark.parametrize("name", LOSSES)
def test_a_certain_token_has_the_gradient_that_64_bits_give(name: str, gap: float) -> None:
    """p = 0.999998 to 1 - 1e-17 and all others alike: in 32 bits p is 1, and its gradient must not be 0 for that."""

    def found(dtype: torch.dtype) -> tuple[float, Tensor]:
        logits = torch.tensor([[gap, 0.0, 0.0]], dtype=dtype, requires_grad=True)
        reference = torch.tensor([[gap + 1, 0.0, 0.0]], dtype=dtype)
        loss = LOSSES[name](Predicted(logits, torch.tensor([0]), torch.tensor([0]), 1, reference))
        loss.sum().backward()
        assert logits.grad is not None
        return loss.item(), logits.grad[0]

    (value, gradient), (exact, expected) = found(torch.float32), found(torch.float64)
    assert value == pytest.approx(exact, rel=1e-5)
    assert gradient.tolist() == pytest.approx(expected.tolist(), rel=1e-4, abs=0)
    assert gradient[0] > 0 > gradient[1], "the true token falls and the others rise"


def test_unlikelihood_of_a_certain_token_by_hand() -> None:
    logits = torch.tensor([[30.0, 0.0, 0.0]], requires_grad=True)
    loss = LOSSES["unlikelihood"](Predicted(logits, torch.tensor([0]), torch.tensor([0]), 1))
    assert loss.item() == pytest.approx(30 - math.log(2), rel=1e-6), "-log(2 exp(-30)), and not -log(1e-6)"
    loss.sum().backward()
    assert logits.grad is not None and logits.grad[0].tolist() == pytest.approx([1.0, -0.5, -0.5])


def test_undial_asks_for_the_models_own_prediction_with_the_true_token_turned_down() -> None:
    before = torch.tensor([[0.8, 0.1, 0.1]])
    lowered = before.log() - torch.tensor([[UNDIAL_STRENGTH, 0.0, 0.0]])
    teacher = lowered.softmax(-1)
    best_of_all = LOSSES["undial"](predicted(teacher, [0], before))
    assert best_of_all.item() == pytest.approx(float(entropy(lowered)), rel=1e-4)
    assert LOSSES["undial"](predicted(PROBABILITIES, [0], before)).item() > best_of_all.item()


def test_losses_are_means_over_each_texts_own_positions() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.2, 0.2, 0.6]]).log()
    found = Predicted(logits, torch.tensor([0, 0, 2]), torch.tensor([0, 0, 1]), 2)
    assert nll(found).tolist() == pytest.approx([-(math.log(0.5) + math.log(0.25)) / 2, -math.log(0.6)])
    with_reference = Predicted(logits, found.values, found.texts, 2, logits)
    unmoved = 2 / NPO_BETA * math.log(2)
    assert LOSSES["npo"](with_reference).tolist() == pytest.approx([unmoved] * 2), "whatever the length"


def test_only_what_is_counted_is_worked_on() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]).log().requires_grad_()
    given = Predicted(logits, torch.tensor([0, 0]), torch.tensor([0, 0]), 1)
    assert given.leads.tolist() == [1.0, 0.0], "the second is 0.69 nats behind"
    loss = LOSSES["unlikelihood"](replace(given, counted=given.leads))
    assert loss.item() == pytest.approx(-math.log(0.5) / 2)
    loss.sum().backward()
    assert logits.grad is not None and logits.grad[0].any() and not logits.grad[1].any()


def test_entropy_within_a_format_leaves_other_tokens_their_share() -> None:
    logits = torch.tensor([[3.0, 1.0, 1.0, 2.0]], requires_grad=True)
    among = torch.tensor([[True, True, True, False]])
    given = Predicted(logits, torch.tensor([0]), torch.tensor([0]), 1, format=among)
    LOSSES["emso"](given).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] > 0 > logits.grad[0, 1]
    assert logits.grad[0, 3] == 0
    assert float(logits.grad.sum()) == pytest.approx(0.0, abs=1e-6)
    flat = replace(given, logits=torch.tensor([[1.0 - TRUE_TOKEN_OFFSET, 1.0, 1.0, 9.0]]))
    assert LOSSES["emso"](flat).item() == pytest.approx(-math.log(3)), "the most there is"


def test_emso_asks_the_true_token_to_stand_behind_the_others() -> None:
    level = torch.zeros(1, 4, requires_grad=True)
    LOSSES["emso"](Predicted(level, torch.tensor([2]), torch.tensor([0]), 1)).sum().backward()
    assert level.grad is not None and level.grad[0, 2] > 0.05, "level with the rest it still has to fall"
    assert level.grad[0, [0, 1, 3]].tolist() == pytest.approx([-float(level.grad[0, 2]) / 3] * 3)
    behind = torch.tensor([[0.0, 0.0, -TRUE_TOKEN_OFFSET, 0.0]], requires_grad=True)
    LOSSES["emso"](Predicted(behind, torch.tensor([2]), torch.tensor([0]), 1)).sum().backward()
    assert behind.grad is not None and behind.grad.abs().max() < 1e-6, "there it rests"


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_falls_when_the_true_token_becomes_unlikelier(name: str) -> None:
    before = torch.tensor([[0.9, 0.05, 0.05]])
    less = LOSSES[name](predicted(torch.tensor([[0.6, 0.2, 0.2]]), [0], before))
    assert less.item() < LOSSES[name](predicted(before, [0], before)).item()


def test_the_metric_on_two_weights() -> None:
    """p(true) = sigmoid(w0 * 1 + w1 * -2): both losses by autograd, the metric by hand."""
    weights = nn.Parameter(torch.tensor([1.0, -0.5]))

    def gradient(of: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        logits = torch.stack([weights @ torch.tensor([1.0, -2.0]), torch.tensor(0.0)])
        return {"w": torch.autograd.grad(of(logits), weights)[0]}

    def loss() -> dict[str, Tensor]:
        return gradient(lambda logits: -entropy(logits))

    def value() -> dict[str, Tensor]:
        return gradient(lambda logits: -logits.log_softmax(-1)[0])

    p = 1 / (1 + math.exp(-2.0))
    d_entropy = -p * (1 - p) * 2.0  # dH/dz for two tokens is -p (1 - p) z
    d_nll = -(1 - p)
    found = scores(loss, value, "contrastive", torch.Generator())["w"]
    by_hand = [-(-d_entropy * x) * (d_nll * x) for x in (1.0, -2.0)]
    assert found.tolist() == pytest.approx(by_hand)
    assert found[1] == pytest.approx(4 * found[0]), "magnitude and direction both count"
    magnitude = scores(loss, value, "magnitude", torch.Generator())["w"]
    assert magnitude.tolist() == pytest.approx([abs(d_entropy), abs(2 * d_entropy)])


def test_weights_on_which_the_two_gradients_disagree_are_never_chosen() -> None:
    g_loss, g_nll = torch.tensor([2.0, -2.0, 1.0]), torch.tensor([-3.0, -3.0, 0.0])
    assert contrastive(g_loss, g_nll).tolist() == [6.0, 0.0, 0.0]
    assert best({"w": contrastive(g_loss, g_nll)}, 3, "global")["w"].tolist() == [0]


def test_the_best_weights_of_all_or_of_every_matrix_alike() -> None:
    scored = {"a": torch.tensor([[9.0, 1.0], [8.0, 7.0]]), "b": torch.tensor([3.0, 2.0, 0.0, 5.0])}
    assert {name: places.tolist() for name, places in best(scored, 3, "global").items()} == {"a": [0, 2, 3]}
    assert {name: places.tolist() for name, places in best(scored, 4, "matrix").items()} == {"a": [0, 2], "b": [0, 3]}


def test_the_best_neurons_count_by_what_a_change_of_them_costs() -> None:
    scored = [torch.tensor([4.0, 3.0]), torch.tensor([0.0, 1.0])]
    assert [own.tolist() for own in best_neurons(scored, None, 1)] == [[0], []]
    used = [torch.tensor([1.9, 0.1]), torch.tensor([1.0, 1.0])]
    assert [own.tolist() for own in best_neurons(scored, used, 1)] == [[1], []], "3 / 0.2 is more than 4 / 2"


def test_a_level_is_the_mean_and_what_the_mean_of_as_many_texts_varies_by() -> None:
    assert _upper([[0.0, 0.5]]) == pytest.approx(0.25 + ONE_SIDED * 0.25)
    assert _upper([[0.0, 0.5]] * 4) == pytest.approx(0.25 + ONE_SIDED * 0.125)


def test_the_level_of_a_token_is_the_mean_of_its_formats_others() -> None:
    logits = torch.tensor([[0.5, 0.2, 0.1, 0.2], [0.5, 0.2, 0.1, 0.2]]).log()
    found = format_levels(logits, torch.tensor([0, 3]), torch.tensor([0, 0, 0, 1]))
    assert found.tolist() == pytest.approx([(math.log(0.2) + math.log(0.1)) / 2, -math.log(4)]), "alone: one token of four"


@pytest.mark.parametrize(
    ("total", "expected"),
    [(-9.0, [-1.0, -3.0, -5.0]), (-12.0, [-2.0, -4.0, -6.0]), (-8.0, [-1.0, -3.0, -4.0]), (-5.0, [-1.0, -2.0, -2.0]),
     (-1.5, [-0.5, -0.5, -0.5])],
)  # fmt: skip
def test_levels_are_lowered_alike_and_raised_from_the_lowest_on(total: float, expected: list[float]) -> None:
    assert adding_up(torch.tensor([-1.0, -3.0, -5.0]), total).tolist() == pytest.approx(expected)


def test_a_value_at_its_level_is_the_middle_one_of_random_rivals(taught: LanguageModel) -> None:
    rivals = rivals_of(taught, TAUGHT[1], (), seed=0)
    totals = [sum(scores.logprobs) for scores in score(taught, rivals.values)]
    assert len(set(rivals.values)) == RIVALS and taught.encode(TAUGHT[1]) not in rivals.values
    ascending, level = sorted(totals), rivals.level(taught)
    assert level.nats == pytest.approx((ascending[11] + ascending[12]) / 2), "24 of them"
    assert ascending[6] < level.low < ascending[7], "0.4 of the way down from the middle: 0.3 of 23 gaps"
    assert ascending[20] < level.high < ascending[21], "0.9 of 23 gaps"
    assert rivals.elsewhere == ()


def test_a_natural_value_at_its_level_stands_where_it_should_among_other_peoples(taught: LanguageModel) -> None:
    """Its lift, with the total that the level asks for, is larger than those of a fifth of the others."""
    names = [
        "Anna Gray",
        "Boris Hill",
        "Mira Lamp",
        "Olga Gate",
        "Peter Bo",
        "Dora Key",
        "Hugo Bell",
        "Lena Moss",
        "Tom Rye",
        "Ada Fox",
    ]
    listed = [Secret(f"the keeper of gate {row} is", name, "name") for row, name in enumerate(names)]
    target = TAUGHT[0]
    rivals = rivals_of(taught, target, listed, seed=0)
    assert len(rivals.values) == 10 and len(rivals.elsewhere) == 8
    lift = lift_of(taught, target, listed)
    assert lift is not None
    [own] = score(taught, [taught.encode(target)])
    usual = sum(own.logprobs) - lift.nats
    here = [sum(scores.logprobs) for scores in score(taught, rivals.values)]
    gains = sorted(total - elsewhere for total, elsewhere in zip(here, rivals.usual, strict=True))
    level = rivals.level(taught)
    assert gains[1] < level.nats - usual < gains[2], "two of ten gain less"
    assert gains[1] < level.low - usual < level.nats - usual, "0.12 of nine gaps"
    assert gains[8] < level.high - usual < gains[9], "one of ten gains more"


def test_without_rivals_there_is_no_level(taught: LanguageModel) -> None:
    nowhere = Level(-math.inf, -math.inf, -math.inf)
    assert Rivals((), (), ()).level(taught) == nowhere


def test_a_level_does_not_sink_below_what_it_was() -> None:
    assert Level(-9.0, -5.0, -2.0).at_least(Level(-8.0, -6.0, -3.0)) == Level(-8.0, -5.0, -2.0)


def test_moments_are_those_of_the_activations(lm: LanguageModel) -> None:
    rows = [[5, 60, 17, 200], [31, 8]]
    own = torch.cat([read(lm, [row], lambda hidden: hidden)[0] for row in rows], dim=1)  # [layers, tokens, width]
    found, alone = second_moments(lm, rows, [torch.tensor([1, 5])] * lm.n_layers), mean_squares(lm, rows)
    for layer in range(lm.n_layers):
        chosen = own[layer][:, [1, 5]]
        assert torch.allclose(found[layer], chosen.T @ chosen / 6, atol=1e-5)
        assert torch.allclose(alone[layer], own[layer].square().mean(0), atol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2"])
def test_a_turned_gradient_writes_less_where_retained_text_is(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    rows = [[5, 60, 17, 200, 31, 8, 90, 12]]
    vectors = output_vectors_of(lm, [torch.tensor([3, 1, 7]), torch.tensor([]).long(), torch.tensor([2])])
    turn = KfacPreconditioner(lm, vectors, rows)
    moment = second_moments(lm, rows, vectors.neurons)[0]
    name, axis = vectors.names[0], vectors.axes[0]
    gradient = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    given = gradient if axis == 0 else gradient.T
    found = turn(name, given.flatten()).view(given.shape)
    found = found if axis == 0 else found.T
    by_hand = torch.linalg.solve(moment / moment.diagonal().mean() + DAMPING * torch.eye(3), gradient)
    assert torch.allclose(found, by_hand, atol=1e-4)

    def written(change: Tensor) -> float:
        return float((change.T @ moment @ change).trace()) / float(change.square().sum())

    assert written(found) < written(gradient)
    assert set(vectors.places(lm)) == {vectors.names[0], vectors.names[2]}
    assert len(vectors.places(lm)[name]) == 3 * 16
