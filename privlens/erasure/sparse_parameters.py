"""The weights that an erasure trains: some of the model's, chosen by a metric, with their own optimizer state.

Memory beside the model: three numbers for each chosen weight (its value and Adam's two), its index, and the gradient of one
parameter at a time, which is reduced to the chosen weights and freed during the backward pass.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from privlens.lm.editing import weight_change
from privlens.lm.model import LanguageModel
from privlens.types import Change

MOMENTUM = 0.9
"""Of preconditioned steps: how much of the direction of earlier steps is kept; higher is smoother and turns more slowly."""
MIN_RMS = 1e-18
"""Below this root mean square float32 cannot hold a gradient's squares, and the step has no direction."""
Precondition = Callable[[str, Tensor], Tensor]
"""A parameter's name and the gradient of its chosen weights [n] -> the preconditioned gradient, [n]."""
OnGradient = Callable[[str, Tensor], None]
"""Takes a parameter's name and its gradient, which is freed afterwards."""


@contextmanager
def gradients(parameters: Mapping[str, nn.Parameter], on_gradient: OnGradient) -> Iterator[None]:
    """Inside, backward passes hand each complete gradient to `on_gradient` and free it; on exit the parameters are frozen."""
    handles = []

    def hook(name: str) -> Callable[[Tensor], None]:
        def hand_over(parameter: Tensor) -> None:
            assert parameter.grad is not None
            on_gradient(name, parameter.grad)
            parameter.grad = None

        return hand_over

    try:
        for name, parameter in parameters.items():
            parameter.requires_grad_(True)
            parameter.grad = None
            handles.append(parameter.register_post_accumulate_grad_hook(hook(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for parameter in parameters.values():
            parameter.requires_grad_(False)
            parameter.grad = None


class SparseParameters:
    """Chosen weights of a model in training: in the model while inside `applied`, and kept apart from it otherwise.

    Args:
        places: for each parameter the flat indices of the chosen weights, ascending; None for all of them.
        learning_rate: in units of the root mean square of the chosen weights of matrices. Adam's rate; with `precondition`, the
            length of a step.
        precondition: applied to each parameter's gradient [n] before a step with momentum; without it the steps are Adam's.
    """

    def __init__(
        self,
        lm: LanguageModel,
        places: Mapping[str, Tensor | None],
        learning_rate: float,
        precondition: Precondition | None = None,
    ) -> None:
        self.lm = lm
        self.parameters = {name: weight for name, weight in lm.model.named_parameters() if name in places}
        self.places = dict(places)
        with lm.held():
            self.values = {name: self._read(name).float().clone() for name in self.parameters}
        matrices = [values for name, values in self.values.items() if self.parameters[name].ndim > 1]
        size = float(torch.cat(matrices or list(self.values.values())).square().mean().sqrt())
        self.rate = learning_rate * size
        self.precondition = precondition
        self.adam = torch.optim.Adam(list(self.values.values()), lr=self.rate, betas=(0.9, 0.99))
        self.momentum = {name: torch.zeros_like(values) for name, values in self.values.items()} if precondition else {}

    @property
    def n(self) -> int:
        """The number of weights that are trained."""
        return sum(values.numel() for values in self.values.values())

    def _read(self, name: str) -> Tensor:
        places = self.places[name]
        flat: Tensor = self.parameters[name].detach().view(-1)
        return flat if places is None else flat[places]

    @torch.no_grad()
    def _write(self, name: str, values: Tensor) -> None:
        flat, places = self.parameters[name].detach().view(-1), self.places[name]
        flat[... if places is None else places] = values.to(flat)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the trained values; on exit its own are restored bit for bit. Only within `lm.held()`."""
        before = {name: self._read(name).clone() for name in self.parameters}
        with self.lm.overwriting({name: partial(self._write, name, values) for name, values in before.items()}):
            for name, values in self.values.items():
                self._write(name, values)
            yield

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Inside, backward passes add up gradients of the chosen weights, for `take_step`. Within `applied`."""
        self.zero_grad()

        def gather(name: str, gradient: Tensor) -> None:
            flat, places = gradient.view(-1), self.places[name]
            chosen = (flat if places is None else flat[places]).float()
            values = self.values[name]
            values.grad = chosen.clone() if values.grad is None else values.grad + chosen

        with gradients(self.parameters, gather):
            yield

    def take_step(self, pace: float = 1.0) -> None:
        """One step along the gradients added up so far; `pace` multiplies the learning rate."""
        if self.precondition is None:
            self.adam.param_groups[0]["lr"] = pace * self.rate
            self.adam.step()
        else:
            self._preconditioned_step(self.precondition, pace * self.rate)

    @torch.no_grad()
    def decay(self, share: float) -> None:
        """Moves the values this share of the way back to the model's own. Within `lm.held()`, outside `applied`.

        Decoupled weight decay towards the starting point (L2-SP, Li et al., ICML 2018): changes that no gradient supports any
        more fade out of the edit.
        """
        for name, values in self.values.items() if share else ():
            values.lerp_(self._read(name).to(values), share)

    def zero_grad(self) -> None:
        """Clears the gradients added up so far, including those of an interrupted backward pass."""
        self.adam.zero_grad()
        for parameter in self.parameters.values():
            parameter.grad = None

    def scale(self, factor: float) -> None:
        """Multiplies the gradients added up so far."""
        for values in self.values.values():
            if values.grad is not None:
                values.grad *= factor

    def _preconditioned_step(self, precondition: Precondition, length: float) -> None:
        """Moves all chosen weights together by `length` (root mean square) along the momentum of the preconditioned gradients.

        Does nothing where that is at most MIN_RMS, as for neurons that never fire on the forget texts.
        """
        for name, values in self.values.items():
            if values.grad is not None:
                self.momentum[name].mul_(MOMENTUM).add_(precondition(name, values.grad))
        size = math.sqrt(sum(float(momentum.square().sum()) for momentum in self.momentum.values()) / self.n)
        for name, momentum in self.momentum.items() if size > MIN_RMS else ():
            self.values[name] -= length / size * momentum

    def changes(self, values: Mapping[str, Tensor]) -> dict[str, Change]:
        """The changes that give the model these values. Within `lm.held()`, outside `applied`."""
        changes = {}
        for name, new in values.items():
            weight, places = self.parameters[name], self.places[name]
            whole = weight.detach().clone().view(-1)
            whole[... if places is None else places] = new.to(whole)
            changes[name] = weight_change(weight, whole.view_as(weight))
        return {name: change for name, change in changes.items() if len(change.indices)}

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the current values."""
        return {name: values.clone() for name, values in self.values.items()}
