"""Localization: which neurons carry a secret. METHODS holds the masks, gradients, ablation, activations and controls."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from privlens.errors import Cancelled
from privlens.localization.ablation import zero_out
from privlens.localization.activations import activations, contrastive_activations
from privlens.localization.baselines import activations_elsewhere, random_neurons, weight_norm
from privlens.localization.gradients import contrastive_gradient, gradient
from privlens.localization.hard_concrete import MaskSettings, hard_concrete, hard_concrete_deep
from privlens.localization.integrated import integrated_gradients
from privlens.localization.stepwise import StepwiseSettings, stepwise
from privlens.localization.sufficient import hard_concrete_sufficient, slimming
from privlens.localization.task import Task
from privlens.localization.token_gradient import active_token_gradient, token_gradient
from privlens.types import LocalizationStep, NeuronScores, Secret

Method = Callable[[Task], Iterator[LocalizationStep]]

METHODS: dict[str, Method] = {
    "hard-concrete": hard_concrete,
    "hard-concrete-deep": hard_concrete_deep,
    "stepwise": stepwise,
    "contrastive-gradient": contrastive_gradient,
    "gradient": gradient,
    "token-gradient": token_gradient,
    "active-token-gradient": active_token_gradient,
    "integrated-gradients": integrated_gradients,
    "zero-out": zero_out,
    "hard-concrete-sufficient": hard_concrete_sufficient,
    "slimming": slimming,
    "activations": activations,
    "contrastive-activations": contrastive_activations,
    "random": random_neurons,
}
"""A method takes a task and yields steps; the last step carries the NeuronScores."""


WEIGHT_NORM, ELSEWHERE = "weight-norm", "activations-elsewhere"
"""Controls for planted secrets only: a plant that they find could be found without any localization."""
BASELINES: dict[str, Method] = {WEIGHT_NORM: weight_norm, ELSEWHERE: activations_elsewhere}


def method_of(name: str) -> Method:
    """A method of METHODS, or a control of BASELINES."""
    return BASELINES[name] if name in BASELINES else METHODS[name]


MASK, STEPWISE = "hard-concrete", "stepwise"
ASKED_FOR_DEPTH = (MASK, STEPWISE)
"""The methods that are asked for a depth and a price."""
TRAINED = ("hard-concrete", "hard-concrete-deep", "stepwise", "hard-concrete-sufficient", "slimming")
"""The methods whose steps close gates, one after the other; the others give their scores at once."""
FROM_FILE = "from a file"
"""The method of neurons that were read from a file which does not say how they were found."""


def steps_of(method: str, task: Task, mask: MaskSettings | None = None) -> Iterator[LocalizationStep]:
    """The steps of a method, named as for `method_of`.

    Args:
        mask: the settings of MASK; STEPWISE takes depth, price and rounds of exchange from them, and the others ignore them.
    """
    if method == MASK and mask is not None:
        return hard_concrete(task, mask)
    if method == STEPWISE and mask is not None:
        return stepwise(task, StepwiseSettings(depth=mask.depth, hold=mask.hold, rounds=mask.rounds))
    return method_of(method)(task)


def result_of(
    method: str, task: Task, is_over: Callable[[], bool] = lambda: False, mask: MaskSettings | None = None
) -> NeuronScores:
    """Runs a method, as for `steps_of`, and returns its scores. Raises Cancelled if `is_over()` is true after a step."""
    return last_of(steps_of(method, task, mask), is_over)


def last_of(steps: Iterable[LocalizationStep], is_over: Callable[[], bool] = lambda: False) -> NeuronScores:
    """Takes a localization to its end and returns its scores. Raises Cancelled if `is_over()` is true after a step."""
    for step in steps:
        if is_over():
            raise Cancelled("The localization was stopped.")
        result = step.result
    assert result, "a localization ends with its result"
    return result


@dataclass(frozen=True)
class MethodInfo:
    """What a user needs to know to choose a method, one line each.

    Attributes:
        meaning: of a high score. cost: of one localization. unit: of the scores.
        across_sites: whether a score means the same in MLPs and in attention, so that scores of the two sites can be compared.
        sufficient: whether its gates close what the value does not need, so that few stay open.
        retains: whether it uses retained text. quick: whether it takes so few passes that many secrets can be localized by it.
    """

    meaning: str
    cost: str
    unit: str
    across_sites: bool = False
    sufficient: bool = False
    retains: bool = False
    quick: bool = False


METHOD_INFO: dict[str, MethodInfo] = {
    "hard-concrete": MethodInfo(
        "gates that learn to close until the value is as deep as asked, at the least cost to retained text (LPNL)",
        "48 to 100 training steps of 12 rows; then an exchange",
        "place in the mask, off from 1/2",
        retains=True,
    ),
    "hard-concrete-deep": MethodInfo(
        "the same until the value may pass for one of its rivals: takes more of its neighbours with it",
        "48 to 100 training steps of 12 rows; then an exchange",
        "place in the mask, off from 1/2",
        retains=True,
    ),
    "stepwise": MethodInfo(
        "closed a few at a time until the value is as deep as asked, by what each takes for what retained text loses",
        "two backward passes per step, of the value and of 24 rows; 10 to 40 steps",
        "place in the order of closing, off from 1/2",
        retains=True,
    ),
    "contrastive-gradient": MethodInfo(
        "how much closing the gate would make the value less likely, minus what retained text would lose",
        "1 backward pass, and 1 per batch of retained text",
        "nats",
        across_sites=True,
        retains=True,
        quick=True,
    ),
    "gradient": MethodInfo(
        "how fast the value's log-probability falls as the gate begins to close",
        "1 backward pass",
        "nats",
        across_sites=True,
        quick=True,
    ),
    "token-gradient": MethodInfo(
        "the neuron's share of each token's lead over others of its format, with equal weight for all tokens",
        "1 backward pass, with a row per token of the value",
        "tokens, as the sum of shares",
        quick=True,
    ),
    "active-token-gradient": MethodInfo(
        "the neuron supports the value's tokens, as in token-gradient, and is active where they are predicted",
        "1 backward pass, with a row per token of the value, and 1 forward pass",
        "geometric mean of share and activation, 3 to 1",
        quick=True,
    ),
    "integrated-gradients": MethodInfo(
        "how much the value's probability rises as a layer's neurons open from 0 to 1 at each predicted token (DEPN)",
        "20 gate settings per layer and token, restarted at the gated layer",
        "probability, summed over tokens",
        across_sites=True,
        quick=True,
    ),
    "zero-out": MethodInfo(
        "how much the value's log-probability falls when this neuron alone is off, exactly",
        "1 forward pass per neuron",
        "nats",
        across_sites=True,
    ),
    "hard-concrete-sufficient": MethodInfo(
        "noisy gates that learn to stay open: few neurons with which alone the value is still likely",
        "about 45 training steps of 4 rows",
        "sigmoid of the gate's logit, 0 to 1",
        sufficient=True,
    ),
    "slimming": MethodInfo(
        "plain gates that shrink as far as the value allows: how far open this one had to stay",
        "about 25 training steps of 1 row",
        "how far open: 0 closed, 1 open",
        sufficient=True,
    ),
    "activations": MethodInfo(
        "how strongly the neuron writes where the value is predicted",
        "1 forward pass",
        "norm of its output",
        quick=True,
    ),
    "contrastive-activations": MethodInfo(
        "how strongly the neuron writes where the value is predicted, minus the same in retained text",
        "1 forward pass, and 1 per batch of retained text",
        "norm of its output",
        retains=True,
        quick=True,
    ),
    "random": MethodInfo("nothing: the control for every other method", "no pass at all", "none, drawn from 0 to 1"),
}
"""In the order of METHODS; shown in the page's menu and in the help of the command line."""
QUICK_METHODS = tuple(name for name, info in METHOD_INFO.items() if info.quick)


def looked_at(method: str, others: tuple[Secret, ...]) -> tuple[Secret, ...]:
    """The other secrets that a method actually uses: none if it uses no retained text."""
    return others if METHOD_INFO[method].retains else ()


def unit_of(method: str) -> str:
    """The unit of a method's scores; "votes" for those of `aggregate.vote`, and places for neurons of a file without scores."""
    if method == FROM_FILE:
        return "place in the file: 1 the first, towards 0 the last"
    if method in BASELINES:
        return "length of its output vector" if method == WEIGHT_NORM else "norm of its output"
    return METHOD_INFO[method].unit if method in METHOD_INFO else "votes"


__all__ = [
    "ASKED_FOR_DEPTH",
    "ELSEWHERE",
    "FROM_FILE",
    "MASK",
    "METHODS",
    "METHOD_INFO",
    "QUICK_METHODS",
    "STEPWISE",
    "TRAINED",
    "WEIGHT_NORM",
    "Method",
    "MethodInfo",
    "Task",
    "last_of",
    "looked_at",
    "method_of",
    "result_of",
    "steps_of",
    "unit_of",
]
