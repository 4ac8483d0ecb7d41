"""Gates that keep what suffices: the value must stay likely while as few neurons as possible stay open (Chang, Thomason &
Jia 2024). The other direction than hard_concrete.py, which closes the few that are necessary.

Two kinds of gates for one loop: HardConcrete (noise; the penalty is the mean probability of being open) and slimming (plain
numbers in 0..1; the penalty is their mean). The model is frozen and without dropout. No retained text takes part, so what
every text needs is kept as well.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor

from privlens.lm.memory import RowsAtOnce
from privlens.lm.tokens import Encoded
from privlens.localization.gradients import value_under
from privlens.localization.hard_concrete import (
    BETA,
    GAMMA,
    ZETA,
    backward,
    deterministic_gates,
    open_probability,
    sample_gates,
    with_ties_broken,
)
from privlens.localization.task import Task
from privlens.types import LocalizationStep


@dataclass(frozen=True)
class SufficientSettings:
    """Settings of the HardConcrete gates; start and stop as in the paper, and a faster learning rate."""

    steps: int = 100
    """At most; training stops when the penalty has fallen to `stop`."""
    learning_rate: float = 0.1
    price: float = 0.08
    """Of one open neuron, in the target's nats/token. Times all neurons it is the paper's lambda (100 to 2000 there), which
    weighs the mean and would mean something else on a model of another size."""
    stop: float = 0.1
    keep: float = 0.9
    """Probability of every gate to be open at the start."""
    rows: int = 4
    """Rows in a step, each with its own noise."""


@dataclass(frozen=True)
class SlimmingSettings:
    """Settings of the plain gates, which start at 1; the names mean the same."""

    steps: int = 100
    learning_rate: float = 0.03
    price: float = 0.024
    stop: float = 0.3


class Gates(Protocol):
    """What the loop needs of gates; `trained` [n_layers, width] is the only thing that learns, where `exists` says so."""

    trained: Tensor
    exists: Tensor

    def drawn(self) -> Tensor:
        """Gates for one step, [rows, n_layers, width], differentiable."""

    def penalty(self) -> Tensor:
        """How much is open, a share in 0..1, differentiable."""

    def settle(self) -> Tensor:
        """Called after each step of Adam: the gates as they stand, [n_layers, width], in 0..1."""

    def scores(self) -> Tensor:
        """[n_layers, width], large = was kept open for the value."""


class HardConcreteGates:
    """Noisy gates; the score is sigmoid(log_alpha)."""

    def __init__(self, task: Task, settings: SufficientSettings) -> None:
        # P(gate > 0) = sigmoid(log_alpha - shift), solved for log_alpha.
        shift = BETA * math.log(-GAMMA / ZETA)
        start = math.log(settings.keep / (1 - settings.keep)) + shift
        self.trained = torch.full(task.lm.shape(task.site), start, device=task.lm.device, requires_grad=True, dtype=torch.float32)
        self.exists = task.lm.exists(task.site).to(task.lm.device)
        self.rows, self.generator = settings.rows, torch.Generator().manual_seed(task.seed)

    def drawn(self) -> Tensor:
        noise = torch.rand(self.rows, *self.trained.shape, generator=self.generator, dtype=torch.float32).clamp(1e-6, 1 - 1e-6)
        return sample_gates(self.trained, noise.to(self.trained.device))

    def penalty(self) -> Tensor:
        return open_probability(self.trained)[self.exists].mean()

    def settle(self) -> Tensor:
        return deterministic_gates(self.trained.detach())

    def scores(self) -> Tensor:
        return torch.sigmoid(self.trained.detach())


class SlimmingGates:
    """Plain numbers held in 0..1; the score is the gate, and among equal ones what the NLL's last gradient asks for decides."""

    def __init__(self, task: Task) -> None:
        self.trained = torch.ones(task.lm.shape(task.site), device=task.lm.device, requires_grad=True, dtype=torch.float32)
        self.exists = task.lm.exists(task.site).to(task.lm.device)

    def drawn(self) -> Tensor:
        return self.trained[None]

    def penalty(self) -> Tensor:
        return self.trained[self.exists].abs().mean()

    def settle(self) -> Tensor:
        return self.trained.detach().clamp_(0, 1)

    def scores(self) -> Tensor:
        assert self.trained.grad is not None
        asked = -self.trained.grad  # the penalty's part is the same for all gates that are not 0
        return with_ties_broken(self.trained.detach(), asked)


def kept_open(
    task: Task, method: str, gates: Gates, settings: SufficientSettings | SlimmingSettings
) -> Iterator[LocalizationStep]:
    """Trains the gates, a record a step; the last comes when the penalty has fallen to `stop`, or after all steps.

    Raises:
        Cancelled: when `task.stop` said so, before the next step; nothing is left behind in the model.
    """
    encoded = task.lm.encode(task.target)
    optimizer, at_once = torch.optim.Adam([gates.trained], lr=settings.learning_rate), RowsAtOnce()
    for step in range(1, settings.steps + 1):
        task.go_on()
        optimizer.zero_grad()
        nll, penalty = _backward(task, encoded, gates, settings.price, at_once)
        optimizer.step()
        now = gates.settle().cpu().numpy().copy()
        result = None
        if step == settings.steps or penalty.item() <= settings.stop:
            result = task.scores(method, gates.scores().cpu().numpy(), None, asdict(settings))
        terms = {"nll": nll.item(), "open": penalty.item()}
        yield LocalizationStep(
            step, settings.steps, "closing what the value does not need", now, int((now < 0.5).sum()), nll.item(), terms, result
        )
        if result is not None:
            return


def _backward(task: Task, encoded: Encoded, gates: Gates, price: float, at_once: RowsAtOnce) -> tuple[Tensor, Tensor]:
    """NLL in nats/token and penalty of one step, their gradients in place."""
    penalty, drawn = gates.penalty(), gates.drawn()

    def loss(own: Tensor, _: slice) -> tuple[Tensor, Tensor]:
        nll = -value_under(task.lm, encoded, own, task.site).sum() / len(drawn) / len(encoded.value_ids)
        return nll, nll.detach()

    with task.lm.held():
        nll = torch.stack(backward(drawn, at_once, loss)).sum()
    (price * int(gates.exists.sum()) * penalty).backward()
    return nll, penalty


def hard_concrete_sufficient(task: Task, settings: SufficientSettings = SufficientSettings()) -> Iterator[LocalizationStep]:
    """HardConcrete gates on all neurons, as few open as the value can do with."""
    yield from kept_open(task, "hard-concrete-sufficient", HardConcreteGates(task, settings), settings)


def slimming(task: Task, settings: SlimmingSettings = SlimmingSettings()) -> Iterator[LocalizationStep]:
    """Plain gates on all neurons, as small together as the value can do with."""
    yield from kept_open(task, "slimming", SlimmingGates(task), settings)
