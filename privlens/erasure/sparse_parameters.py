"""The weights that an erasure trains: some of the model's, chosen by a metric, with their own Adam and nothing else.

Memory beside the model: three numbers for each chosen weight (its value and Adam's two), its place, and the gradient of one
parameter at a time, which is thinned to the chosen weights and freed while the backward pass goes on.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from privlens.lm.editing import change_of
from privlens.lm.model import LanguageModel
from privlens.types import Change

MOMENTUM = 0.9
MIN_RMS = 1e-18
"""Below this, root mean square, float32 does not hold a gradient's squares, and there is no direction to go in."""
Turned = Callable[[str, Tensor], Tensor]
"""A parameter's name and the gradient of its chosen weights [n] -> the gradient to go by, [n]."""
Seen = Callable[[str, Tensor], None]
"""Takes a parameter's name and its gradient, which is freed afterwards."""


@contextmanager
def gradients(parameters: Mapping[str, nn.Parameter], seen: Seen) -> Iterator[None]:
    """Inside, every backward pass shows each parameter's gradient once it is whole and frees it; frozen again on leaving."""
    handles = []

    def hook(name: str) -> Callable[[Tensor], None]:
        def show(parameter: Tensor) -> None:
            assert parameter.grad is not None
            seen(name, parameter.grad)
            parameter.grad = None

        return show

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
    """Chosen weights of a model in training: in the model while inside `applied`, and beside it at all other times.

    Args:
        places: for each parameter the flat indices of the chosen weights, ascending; None for all of them.
        learning_rate: in units of the root mean square of the chosen weights of matrices. Of Adam; with `turn`, how far the
            weights move in a step.
        turn: changes each parameter's gradient [n] before a step with momentum; without it the steps are Adam's.
    """

    def __init__(
        self, lm: LanguageModel, places: Mapping[str, Tensor | None], learning_rate: float, turn: Turned | None = None
    ) -> None:
        self.lm = lm
        self.parameters = {name: weight for name, weight in lm.model.named_parameters() if name in places}
        self.places = dict(places)
        with lm.held():
            self.values = {name: self._read(name).float().clone() for name in self.parameters}
        matrices = [values for name, values in self.values.items() if self.parameters[name].ndim > 1]
        size = float(torch.cat(matrices or list(self.values.values())).square().mean().sqrt())
        self.rate, self.turn = learning_rate * size, turn
        self.adam = torch.optim.Adam(list(self.values.values()), lr=self.rate, betas=(0.9, 0.99))
        self.moving = {name: torch.zeros_like(values) for name, values in self.values.items()} if turn else {}

    @property
    def n(self) -> int:
        """How many weights train."""
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
        """Inside, the model has the values as they stand; on leaving its own come back bit for bit. Within `lm.held()` only."""
        before = {name: self._read(name).clone() for name in self.parameters}
        with self.lm.lent({name: partial(self._write, name, values) for name, values in before.items()}):
            for name, values in self.values.items():
                self._write(name, values)
            yield

    @contextmanager
    def optimizer_step(self, pace: float = 1.0) -> Iterator[None]:
        """Inside, backward passes add up gradients of the chosen weights; on leaving one step is taken. Within `applied`.

        Args:
            pace: of this step, times the learning rate.
        """
        self.zero_grad()

        def gather(name: str, gradient: Tensor) -> None:
            flat, places = gradient.view(-1), self.places[name]
            own = (flat if places is None else flat[places]).float()
            values = self.values[name]
            values.grad = own.clone() if values.grad is None else values.grad + own

        with gradients(self.parameters, gather):
            yield
        if self.turn is None:
            self.adam.param_groups[0]["lr"] = pace * self.rate
            self.adam.step()
        else:
            self._step_turned(self.turn, pace * self.rate)

    @torch.no_grad()
    def decay(self, share: float) -> None:
        """Takes the values this share of the way back to the model's own. Within `lm.held()`, outside `applied`.

        Decoupled weight decay towards where the training began (L2-SP, Li et al., ICML 2018): what no gradient asks for any more
        fades out of the edit.
        """
        for name, values in self.values.items() if share else ():
            values.lerp_(self._read(name).to(values), share)

    def zero_grad(self) -> None:
        """Forgets the gradients that were added up so far, those of a backward pass that broke off among them."""
        self.adam.zero_grad()
        for parameter in self.parameters.values():
            parameter.grad = None

    def scale(self, factor: float) -> None:
        """Multiplies the gradients that were added up so far."""
        for values in self.values.values():
            if values.grad is not None:
                values.grad *= factor

    def _step_turned(self, turn: Turned, length: float) -> None:
        """Moves all chosen weights together by `length` (root mean square) along the turned gradients' momentum.

        Not at all where that is NOTHING, as of neurons that never fire on the forget texts.
        """
        for name, values in self.values.items():
            if values.grad is not None:
                self.moving[name].mul_(MOMENTUM).add_(turn(name, values.grad))
        size = math.sqrt(sum(float(moving.square().sum()) for moving in self.moving.values()) / self.n)
        for name, moving in self.moving.items() if size > MIN_RMS else ():
            self.values[name] -= length / size * moving

    def changes(self, values: Mapping[str, Tensor]) -> dict[str, Change]:
        """What turns the model as it is into one with these values. Within `lm.held()`, outside `applied`."""
        found = {}
        for name, new in values.items():
            weight, places = self.parameters[name], self.places[name]
            whole = weight.detach().clone().view(-1)
            whole[... if places is None else places] = new.to(whole)
            found[name] = change_of(weight, whole.view_as(weight))
        return {name: change for name, change in found.items() if len(change.indices)}

    def copied(self) -> dict[str, Tensor]:
        """The values as they stand, to come back to."""
        return {name: values.clone() for name, values in self.values.items()}
