"""Which neurons carry a secret: learnable masks, gradients, ablation, activations and chance, one dict METHODS."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from privlens.localization.ablation import zero_out
from privlens.localization.activations import activations, contrastive_activations
from privlens.localization.controls import random_neurons
from privlens.localization.gradients import contrastive_gradient, gradient
from privlens.localization.hard_concrete import hard_concrete
from privlens.localization.integrated import integrated_gradients
from privlens.localization.sufficient import hard_concrete_sufficient, slimming
from privlens.localization.task import Task
from privlens.localization.token_gradient import token_gradient
from privlens.records import LocalizationStep, NeuronScores

Method = Callable[[Task], Iterator[LocalizationStep]]

METHODS: dict[str, Method] = {
    "hard-concrete": hard_concrete,
    "contrastive-gradient": contrastive_gradient,
    "gradient": gradient,
    "token-gradient": token_gradient,
    "integrated-gradients": integrated_gradients,
    "zero-out": zero_out,
    "hard-concrete-sufficient": hard_concrete_sufficient,
    "slimming": slimming,
    "activations": activations,
    "contrastive-activations": contrastive_activations,
    "random": random_neurons,
}
"""Every method takes a task and yields steps; the last step carries the NeuronScores."""


def result_of(method: str, task: Task) -> NeuronScores:
    """Runs a method of METHODS to its end."""
    for step in METHODS[method](task):
        found = step.result
    assert found, "a localization ends with its result"
    return found


@dataclass(frozen=True)
class MethodInfo:
    """What a person needs to choose a method: what a high score means, and what one localization costs, each in one line."""

    meaning: str
    cost: str


METHOD_INFO: dict[str, MethodInfo] = {
    "hard-concrete": MethodInfo(
        "gates that learn to close: few neurons that the value needs and retained text does not (LPNL)",
        "52 training steps of 12 rows",
    ),
    "contrastive-gradient": MethodInfo(
        "how much closing the gate would make the value less likely, minus what retained text would lose",
        "1 backward pass, and 1 for each batch of retained text",
    ),
    "gradient": MethodInfo("how fast the value's log-probability falls as the gate begins to close", "1 backward pass"),
    "token-gradient": MethodInfo(
        "which share of each of the value's tokens stands on the neuron, every token having the same say",
        "1 backward pass of a row for every token of the value",
    ),
    "integrated-gradients": MethodInfo(
        "what the value's probability gains as a layer's neurons open from 0 to 1 where a token is predicted (DEPN)",
        "20 gate settings a layer and token, restarted at the gated layer",
    ),
    "zero-out": MethodInfo(
        "what the value's log-probability falls by when this neuron alone is off, exactly", "1 forward pass for every neuron"
    ),
    "hard-concrete-sufficient": MethodInfo(
        "noisy gates that learn to stay open: few neurons with which alone the value is still likely",
        "some 45 training steps of 4 rows",
    ),
    "slimming": MethodInfo(
        "plain gates that shrink as far as the value allows: how far open this one had to stay", "some 25 training steps of 1 row"
    ),
    "activations": MethodInfo("how strongly the neuron writes where the value is predicted", "1 forward pass"),
    "contrastive-activations": MethodInfo(
        "how strongly the neuron writes where the value is predicted, minus the same in retained text",
        "1 forward pass, and 1 for each batch of retained text",
    ),
    "random": MethodInfo("nothing: the control that every other method is held against", "no pass at all"),
}
"""In the order of METHODS, for the page's chooser and the help of the command line."""

__all__ = ["METHODS", "METHOD_INFO", "Method", "MethodInfo", "Task", "result_of"]
