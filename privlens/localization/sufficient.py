"""Sufficient masks: the value must stay likely while as few neurons as possible stay open (Chang, Thomason & Jia 2024).
The opposite of hard_concrete.py, which closes the few neurons that are necessary.

One training loop for two kinds of gates: HardConcrete (noisy; the penalty is the mean probability of being open) and slimming
(plain numbers in 0..1; the penalty is their mean). The model is frozen and has no dropout. Retained text is not used, so neurons
that every text needs stay open as well.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor

from privlens.lm.memory import AdaptiveBatchSize
from privlens.lm.tokens import Encoded
from privlens.localization.gates import (
    BETA,
    GAMMA,
    ZETA,
    backward,
    deterministic_gates,
    open_probability,
    sample_gates,
    with_ties_broken,
)
from privlens.localization.gradients import value_logprob_under
from privlens.localization.task import Task
from privlens.types import LocalizationStep


@dataclass(frozen=True)
class SufficientSettings:
    """Settings of the HardConcrete gates; initial openness and stop as in the paper, with a higher learning rate."""

    steps: int = 100
    """Maximum; training stops when the penalty has fallen to `stop`."""
    learning_rate: float = 0.1
    price: float = 0.08
    """Cost of one open neuron, in the target's nats/token. Multiplied by the number of neurons it is the paper's lambda (100 to
    2000 there), which weights the mean and so depends on the size of the model."""
    stop: float = 0.1
    keep: float = 0.9
    """Initial probability of every gate to be open."""
    rows: int = 4
    """Rows per step, each with its own noise."""


@dataclass(frozen=True)
class SlimmingSettings:
    """Settings of the plain gates, which start at 1; the fields mean the same as in `SufficientSettings`."""

    steps: int = 100
    learning_rate: float = 0.03
    price: float = 0.024
    stop: float = 0.3


class Gates(Protocol):
    """What the training loop needs of gates; `parameter` [n_layers, width] is trained, `exists` says where there is a neuron."""

    parameter: Tensor
    exists: Tensor

    def sample(self) -> Tensor:
        """Gates for one step, [rows, n_layers, width], differentiable."""

    def penalty(self) -> Tensor:
        """The share that is open, 0..1, differentiable."""

    def deterministic(self) -> Tensor:
        """The gates without noise, [n_layers, width], in 0..1; called after each step of Adam, and may clamp the parameter."""

    def scores(self) -> Tensor:
        """[n_layers, width], large = stayed open for the value."""


class HardConcreteGates:
    """Noisy gates; the score is sigmoid(log_alpha)."""

    def __init__(self, task: Task, settings: SufficientSettings) -> None:
        # P(gate > 0) = sigmoid(log_alpha - shift), solved for log_alpha.
        shift = BETA * math.log(-GAMMA / ZETA)
        start = math.log(settings.keep / (1 - settings.keep)) + shift
        self.parameter = torch.full(
            task.lm.shape(task.site), start, device=task.lm.device, requires_grad=True, dtype=torch.float32
        )
        self.exists = task.lm.exists(task.site).to(task.lm.device)
        self.rows = settings.rows
        self.generator = torch.Generator().manual_seed(task.seed)

    def sample(self) -> Tensor:
        noise = torch.rand(self.rows, *self.parameter.shape, generator=self.generator, dtype=torch.float32).clamp(1e-6, 1 - 1e-6)
        return sample_gates(self.parameter, noise.to(self.parameter.device))

    def penalty(self) -> Tensor:
        return open_probability(self.parameter)[self.exists].mean()

    def deterministic(self) -> Tensor:
        return deterministic_gates(self.parameter.detach())

    def scores(self) -> Tensor:
        return torch.sigmoid(self.parameter.detach())


class SlimmingGates:
    """Plain numbers clamped to 0..1; the score is the gate, and ties are broken by the NLL's last gradient."""

    def __init__(self, task: Task) -> None:
        self.parameter = torch.ones(task.lm.shape(task.site), device=task.lm.device, requires_grad=True, dtype=torch.float32)
        self.exists = task.lm.exists(task.site).to(task.lm.device)

    def sample(self) -> Tensor:
        return self.parameter[None]

    def penalty(self) -> Tensor:
        return self.parameter[self.exists].abs().mean()

    def deterministic(self) -> Tensor:
        return self.parameter.detach().clamp_(0, 1)

    def scores(self) -> Tensor:
        assert self.parameter.grad is not None
        preferred = -self.parameter.grad  # the penalty's part is the same for all gates that are not 0
        return with_ties_broken(self.parameter.detach(), preferred)


def train_gates(
    task: Task, method: str, gates: Gates, settings: SufficientSettings | SlimmingSettings
) -> Iterator[LocalizationStep]:
    """Trains the gates, one record per step, until the penalty has fallen to `stop` or after all steps.

    Raises:
        Cancelled: before the next step when `task.stop` returns true; the model is unchanged.
    """
    encoded = task.lm.encode(task.target)
    optimizer = torch.optim.Adam([gates.parameter], lr=settings.learning_rate)
    at_once = AdaptiveBatchSize()
    for step in range(1, settings.steps + 1):
        task.go_on()
        optimizer.zero_grad()
        nll, penalty = _backward(task, encoded, gates, settings.price, at_once)
        optimizer.step()
        current = gates.deterministic().cpu().numpy().copy()
        result = None
        if step == settings.steps or penalty.item() <= settings.stop:
            result = task.scores(method, gates.scores().cpu().numpy(), None, asdict(settings))
        terms = {"nll": nll.item(), "open": penalty.item()}
        yield LocalizationStep(
            step=step,
            n_steps=settings.steps,
            stage="closing what the value does not need",
            gates=current,
            n_closed=int((current < 0.5).sum()),
            target_nll=nll.item(),
            terms=terms,
            result=result,
        )
        if result is not None:
            return


def _backward(task: Task, encoded: Encoded, gates: Gates, price: float, at_once: AdaptiveBatchSize) -> tuple[Tensor, Tensor]:
    """Backward pass of one step; returns the NLL in nats/token and the penalty."""
    penalty, sampled = gates.penalty(), gates.sample()

    def loss(part_gates: Tensor, _: slice) -> tuple[Tensor, Tensor]:
        nll = -value_logprob_under(task.lm, encoded, part_gates, task.site).sum() / len(sampled) / len(encoded.value_ids)
        return nll, nll.detach()

    with task.lm.held():
        nll = torch.stack(backward(sampled, at_once, loss)).sum()
    (price * int(gates.exists.sum()) * penalty).backward()
    return nll, penalty


def hard_concrete_sufficient(task: Task, settings: SufficientSettings = SufficientSettings()) -> Iterator[LocalizationStep]:
    """HardConcrete gates on all neurons, with as few open as the value allows."""
    yield from train_gates(task, "hard-concrete-sufficient", HardConcreteGates(task, settings), settings)


def slimming(task: Task, settings: SlimmingSettings = SlimmingSettings()) -> Iterator[LocalizationStep]:
    """Plain gates on all neurons, with as small a sum as the value allows."""
    yield from train_gates(task, "slimming", SlimmingGates(task), settings)
