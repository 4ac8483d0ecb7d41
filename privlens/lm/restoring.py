"""Restores a model after use, whatever was raised in between, even if that happens while it is being restored.

Before a weight is overwritten, the function that restores it is recorded in a journal. Each weight is restored separately, and
tried again after an error; a weight that needed a second try is doubtful until its bytes have been checked. Hooks, forwards,
flags and gradients are reset to what they were before.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn

PutBack = Callable[[], None]
"""Restores one weight; may be called again."""
TRIES = 2
"""The second try is for errors that pass: an interrupt, or a lack of memory."""


@dataclass
class Journal:
    """The weights of one model that are overwritten at the moment, in the order in which they were overwritten.

    Attributes:
        doubtful: weights that could not be restored at the first try, or at all: their bytes have to be checked.
    """

    entries: list[tuple[str, PutBack]] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)

    @contextmanager
    def overwriting(self, put_back: Mapping[str, PutBack]) -> Iterator[None]:
        """Inside, these weights may be overwritten; on leaving they are restored."""
        begun = len(self.entries)
        self.entries += put_back.items()
        try:
            yield
        finally:
            self.unwind(begun)

    def unwind(self, begun: int = 0) -> None:
        """Restores all entries from `begun` on, the last first, and raises the first error only after all were tried."""
        raised: BaseException | None = None
        while len(self.entries) > begun:
            name, put_back = self.entries[-1]
            for _ in range(TRIES):
                try:
                    put_back()
                    break
                except BaseException as error:  # even an interrupt must not keep the others from being restored
                    self.doubtful.add(name)
                    raised = raised or error
            self.entries.pop()
        if raised:
            raise raised


@dataclass(frozen=True)
class AttachedParts:
    """The hooks and replaced forwards of a model's modules at one moment."""

    modules: tuple[tuple[nn.Module, dict[int, Any], dict[int, Any], Any], ...]

    @classmethod
    def of(cls, model: nn.Module) -> "AttachedParts":
        """Those of a model now."""
        return cls(
            tuple(
                (module, dict(module._forward_pre_hooks), dict(module._forward_hooks), module.__dict__.get("forward"))
                for module in model.modules()
            )
        )

    def put_back(self, model: nn.Module) -> None:
        """Removes what was added since and restores what was removed; parameters are frozen and without gradients again."""
        for module, pre_hooks, forward_hooks, forward in self.modules:
            for hooks, original in ((module._forward_pre_hooks, pre_hooks), (module._forward_hooks, forward_hooks)):
                if dict(hooks) != original:
                    hooks.clear()
                    hooks.update(original)
            if forward is not None:
                module.forward = forward
            else:
                module.__dict__.pop("forward", None)
        for weight in model.parameters():
            weight.grad = None
            weight.requires_grad_(False)
            if getattr(weight, "_post_accumulate_grad_hooks", None):
                weight._post_accumulate_grad_hooks.clear()
        model.eval()
