"""Gives a model back as it was, whatever is raised while it is at work, also in the midst of giving it back.

What is written over is noted down before it is written over, with what puts it back. Each of these is put back on its own, and
tried again where that raises; what was put back only with trouble is in doubt until somebody has looked at its bytes. Hooks,
forwards, flags and gradients are compared with what was there when the work began. Knows nothing of why.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn

PutBack = Callable[[], None]
"""Puts one weight back; may be called again."""
TRIES = 2
"""The second try is for what happens once: an interrupt, memory that is free again."""


@dataclass
class Journal:
    """The weights of one model that hold something else for a while, in the order in which they were written over.

    Attributes:
        doubtful: weights that could not be put back at once, or were left behind: their bytes are to be looked at.
    """

    entries: list[tuple[str, PutBack]] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)

    @contextmanager
    def lent(self, put_back: Mapping[str, PutBack]) -> Iterator[None]:
        """Inside, these weights may be written over; on leaving they are put back."""
        begun = len(self.entries)
        self.entries += put_back.items()
        try:
            yield
        finally:
            self.unwind(begun)

    def unwind(self, begun: int = 0) -> None:
        """Puts back all entries from there on, the last first, and raises the first error only once all were tried."""
        raised: BaseException | None = None
        while len(self.entries) > begun:
            name, put_back = self.entries[-1]
            for _ in range(TRIES):
                try:
                    put_back()
                    break
                except BaseException as error:  # an interrupt, too, must not keep the others from being put back
                    self.doubtful.add(name)
                    raised = raised or error
            self.entries.pop()
        if raised:
            raise raised


@dataclass(frozen=True)
class AttachedParts:
    """What hangs on a model's modules beside their weights: hooks and replaced forwards, as they were at one moment."""

    modules: tuple[tuple[nn.Module, dict[int, Any], dict[int, Any], Any], ...]

    @classmethod
    def of(cls, model: nn.Module) -> "AttachedParts":
        """As they are now."""
        return cls(
            tuple(
                (part, dict(part._forward_pre_hooks), dict(part._forward_hooks), part.__dict__.get("forward"))
                for part in model.modules()
            )
        )

    def put_back(self, model: nn.Module) -> None:
        """Takes off what was added since and puts on what was taken off; parameters are frozen and without gradients again."""
        for part, before_hooks, after_hooks, forward in self.modules:
            for hooks, then in ((part._forward_pre_hooks, before_hooks), (part._forward_hooks, after_hooks)):
                if dict(hooks) != then:
                    hooks.clear()
                    hooks.update(then)
            if forward is not None:
                part.forward = forward
            else:
                part.__dict__.pop("forward", None)
        for weight in model.parameters():
            weight.grad = None
            weight.requires_grad_(False)
            if getattr(weight, "_post_accumulate_grad_hooks", None):
                weight._post_accumulate_grad_hooks.clear()
        model.eval()
