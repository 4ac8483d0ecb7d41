"""Gradient checkpointing: of every layer autograd keeps what went in, and computes the rest again in the backward pass.

Around the layers' own forward and not by transformers' switch, which asks for training mode, with its dropout, and would compute
a layer again without the gates that stood in it: those are gone when the backward pass comes. Here every layer is computed
again under the hooks it had. Memory for time: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

Forward = Callable[..., Any]


@contextmanager
def replaced(layers: Sequence[nn.Module], made: Callable[[Forward, nn.Module], Forward]) -> Iterator[None]:
    """Inside, each layer's forward is made(forward, layer); on leaving they are what they were, whatever was raised."""
    own = [layer.__dict__.get("forward") for layer in layers]  # libraries that place layers on devices set one
    try:
        for layer in layers:
            layer.forward = made(layer.forward, layer)
        yield
    finally:
        for layer, forward in zip(layers, own, strict=True):
            if forward is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.forward = forward


def checkpointed(layers: Sequence[nn.Module]) -> Any:
    """A context in which passes through these layers keep little for their backward pass, which may come after it.

    Not for passes that write a cache: the second computing would write it again.
    """

    def made(forward: Forward, layer: nn.Module) -> Forward:
        def run(*given: Any, **named: Any) -> Any:
            hooks = {part: part._forward_pre_hooks.copy() for part in layer.modules()}
            return checkpoint(
                forward,
                *given,
                use_reentrant=False,
                preserve_rng_state=False,
                context_fn=lambda: (nullcontext(), _under(hooks)),
                **named,
            )

        return run

    return replaced(layers, made)


@contextmanager
def _under(hooks: Mapping[nn.Module, dict[int, Any]]) -> Iterator[None]:
    """Inside, these modules have these forward pre-hooks and no others."""
    own = {part: part._forward_pre_hooks for part in hooks}
    try:
        for part, then in hooks.items():
            part._forward_pre_hooks = then
        yield
    finally:
        for part, now in own.items():
            part._forward_pre_hooks = now
