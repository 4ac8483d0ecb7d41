"""Which neurons carry a secret: learnable masks, gradients and the random control, one dict METHODS."""

from collections.abc import Callable, Iterator

from privlens.localization.controls import random_neurons
from privlens.localization.gradients import gradient
from privlens.localization.hard_concrete import hard_concrete
from privlens.localization.integrated import integrated_gradients
from privlens.localization.task import Task
from privlens.records import LocalizationStep

Method = Callable[[Task], Iterator[LocalizationStep]]

METHODS: dict[str, Method] = {
    "hard-concrete": hard_concrete,
    "integrated-gradients": integrated_gradients,
    "gradient": gradient,
    "random": random_neurons,
}
"""Every method takes a task and yields steps; the last step carries the NeuronScores."""

__all__ = ["METHODS", "Method", "Task"]
