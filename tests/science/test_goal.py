"""The depths that a mask may be asked for, against numbers worked by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded
from privlens.localization import Task
from privlens.localization.depth_search import reached
from privlens.localization.goal import SLACK, Goal, goal, tries_of
from privlens.localization.gradients import Push
from privlens.types import Secret
from tests.helpers import TAUGHT


def of(depth: str, pushed: tuple[float, float] = (1.0, 1.0)) -> Goal:
    """Four tokens in the vocabulary; the value is token 1 twice, its siblings are 2 and 3, token 0 is another format."""
    siblings = torch.tensor([[False, False, True, True]] * 2)
    return Goal(Push(Encoded((0, 1, 1), 1), torch.tensor(pushed), siblings, 0.0, 7.0), depth)


def predicted(*probabilities: list[float]) -> Tensor:
    """Logits [1, 3, 4]: those that predict the two tokens, and some that predict what comes after."""
    return torch.tensor([*probabilities, [0.25] * 4]).log()[None]


RARE = [0.3, 0.1, 0.3, 0.3]


def test_as_many_tries_as_asked_for() -> None:
    """p = 0.1 x 0.1, so an even chance takes ln 2 / -ln(0.99) = 68.97 samples."""
    logits = predicted(RARE, RARE)
    assert of("68").met(logits).tolist() == [True]
    assert of("70").met(logits).tolist() == [False]
    assert float(of("30").loss(logits)) == 0.0, "far enough, and nothing is pushed further"
    missing = SLACK - math.log(1 - 0.5 ** (1 / 70)) + 2 * math.log(0.1)
    assert float(of("70").loss(logits)) == pytest.approx(missing / 2, rel=1e-4), "its siblings are likelier: only what is missing"
    sure = predicted([0.1, 0.7, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1])
    missing = SLACK - math.log(1 - 0.5 ** (1 / 70)) + 2 * math.log(0.7)
    assert float(of("70").loss(sure)) == pytest.approx(math.log(7) + missing / 2, rel=1e-4), "and the push beside it"


def test_a_value_is_hidden_when_one_private_token_is_not_the_first_choice() -> None:
    sure, lost = [0.1, 0.7, 0.1, 0.1], [0.1, 0.3, 0.5, 0.1]
    assert of("hidden").met(predicted(sure, sure)).tolist() == [False]
    assert of("hidden").met(predicted(sure, lost)).tolist() == [True]
    assert of("hidden", (1.0, 0.0)).met(predicted(sure, lost)).tolist() == [False], "a token of the format hides nothing"
    assert float(of("hidden").loss(predicted(sure, lost))) == 0.0, "far enough behind"
    nearly = [0.1, 0.4, 0.45, 0.05]
    by_hand = (math.log(0.7 / 0.1) + math.log(0.4 / 0.25)) / 2
    assert float(of("hidden").loss(predicted(sure, nearly))) == pytest.approx(by_hand), "behind, but by less than the slack"


def test_forgotten_is_as_likely_as_others_of_the_format_on_average() -> None:
    """The siblings have 0.2 and 0.1: their mean is 0.15. One token above it by as much as another is below is enough."""
    above, below = [0.4, 0.3, 0.2, 0.1], [0.625, 0.075, 0.2, 0.1]
    assert of("forgotten").met(predicted(above, above)).tolist() == [False]
    assert of("forgotten").met(predicted(above, below) - torch.tensor([0, 1e-4, 0, 0])).tolist() == [True]
    assert float(of("forgotten").loss(predicted(above, below))) == pytest.approx(math.log(2) / 2)
    with_margin = replace(of("forgotten"), push=replace(of("forgotten").push, margin=1.0))
    assert with_margin.met(predicted(above, below) - torch.tensor([0, 1e-4, 0, 0])).tolist() == [True], "the push goes further"


def test_forgotten_is_as_likely_as_the_rivals_where_there_are_some() -> None:
    """The total counts, not the tokens' siblings; what is missing to it, and the slack, is left of the loss."""
    level = 2 * math.log(0.2)
    aim = replace(of("forgotten"), level=level)
    logits = predicted([0.1, 0.5, 0.2, 0.2], [0.6, 0.07, 0.03, 0.3])
    assert aim.met(logits).tolist() == [True], "0.5 x 0.07 < 0.2 x 0.2"
    assert replace(aim, level=math.log(0.03)).met(logits).tolist() == [False]
    missing = SLACK - level + math.log(0.5 * 0.07)
    assert float(aim.loss(logits)) == pytest.approx((math.log(0.5 / 0.2) + missing) / 2, rel=1e-4)
    assert float(replace(aim, level=-math.inf).loss(logits)) == pytest.approx(math.log(0.5 / 0.2) / 2, rel=1e-4), "none: the push"


def test_the_rivals_are_measured_with_the_same_neurons_off(taught_letters: LanguageModel) -> None:
    """Each row of gates has its own level, below which the value has to be; one that the rivals leave behind does not sink."""
    task = Task(taught_letters, TAUGHT[1])
    aim = goal(task, "forgotten")
    assert aim.rivals and aim.lowest == aim.level == aim.rivals.level(taught_letters).high
    aim = replace(aim, lowest=-math.inf)
    on = torch.ones(1, *taught_letters.shape("mlp"))
    some = on.clone()
    some[:] = 0.0
    totals, levels = [], []
    for gates in (on, some):
        with taught_letters.gated(gates, "mlp"):
            [scored] = score(taught_letters, [aim.encoded])
            totals.append(sum(scored.logprobs))
            levels.append(aim.rivals.level(taught_letters).high)
    assert levels[0] != levels[1] and [aim.under(task, gates).level for gates in (on, some)] == pytest.approx(levels)
    by_hand = [total <= level for total, level in zip(totals, levels, strict=True)]
    stale = replace(aim, level=0.0)
    assert reached(task, [stale], torch.cat([on, some]))[:, 0].tolist() == by_hand == [False, True]
    assert replace(aim, lowest=0.0).under(task, some).level == 0.0


def test_a_value_of_words_has_no_rivals_among_random_letters(taught: LanguageModel) -> None:
    """With fewer than eight other people's values to compare it with, its format's tokens decide."""
    name = Secret("the keeper of the gate is", "Anna Gray", "name")
    others = tuple(
        Secret(f"the keeper of gate {row} is", value, "name")
        for row, value in enumerate(
            ["Boris Hill", "Mira Lamp", "Olga Gate", "Peter Bo", "Dora Key", "Hugo Bell", "Lena Moss", "Tom Rye"]
        )
    )
    task = Task(taught, name, others[:7])
    assert goal(task, "forgotten").rivals is None
    enough = goal(replace(task, others=others), "forgotten").rivals
    assert enough is not None and len(enough.values) == 8


@pytest.mark.parametrize("depth", ["hidden", "1000000", "forgotten"])
def test_the_loss_has_a_gradient_where_the_model_is_certain(depth: str) -> None:
    logits = (predicted([0.25] * 4, [0.25] * 4) + torch.tensor([0, 40.0, 0, 0])).requires_grad_()
    loss = of(depth).loss(logits)
    loss.sum().backward()
    assert float(loss.detach()) > 5
    assert logits.grad is not None and bool(logits.grad.isfinite().all()) and float(logits.grad.abs().max()) > 0.05


def test_depths_that_do_not_exist_are_refused_in_words(taught: LanguageModel) -> None:
    assert (tries_of("hidden"), tries_of("forgotten"), tries_of("1,000"), tries_of("1e6")) == (None, None, 1000, 1e6)
    for depth in ("deep", "", "1", "0", "-5", "nan", "inf"):
        with pytest.raises(BadInput, match="is no depth: give hidden, forgotten, or a number of tries above 1"):
            goal(Task(taught, TAUGHT[0]), depth)
