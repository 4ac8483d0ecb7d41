"""Gradient checkpointing: autograd keeps only each layer's input, and recomputes the rest in the backward pass.

This wraps the layers' own forward. transformers' switch needs training mode, with its dropout, and would recompute a layer
without its gates, which have been removed by the time of the backward pass. Here every layer is recomputed with the hooks it had.
It trades time for memory: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

Forward = Callable[..., Any]


@contextmanager
def replaced_forwards(layers: Sequence[nn.Module], wrap: Callable[[Forward, nn.Module], Forward]) -> Iterator[None]:
    """Inside, each layer's forward is wrap(forward, layer); on leaving the originals are restored, even after an error."""
    originals = [layer.__dict__.get("forward") for layer in layers]  # libraries that place layers on devices set one
    try:
        for layer in layers:
            layer.forward = wrap(layer.forward, layer)
        yield
    finally:
        for layer, forward in zip(layers, originals, strict=True):
            if forward is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.forward = forward


def checkpointed(layers: Sequence[nn.Module]) -> Any:
    """A context in which forward passes through these layers are checkpointed; the backward pass may come after it.

    Not for passes that write a cache: recomputing a layer would write it again.
    """

    def wrap(forward: Forward, layer: nn.Module) -> Forward:
        def run(*args: Any, **kwargs: Any) -> Any:
            hooks = {module: module._forward_pre_hooks.copy() for module in layer.modules()}
            return checkpoint(
                forward,
                *args,
                use_reentrant=False,
                preserve_rng_state=False,
                context_fn=lambda: (nullcontext(), _only_hooks(hooks)),
                **kwargs,
            )

        return run

    return replaced_forwards(layers, wrap)


@contextmanager
def _only_hooks(hooks: Mapping[nn.Module, dict[int, Any]]) -> Iterator[None]:
    """Inside, these modules have these forward pre-hooks and no others."""
    originals = {module: module._forward_pre_hooks for module in hooks}
    try:
        for module, module_hooks in hooks.items():
            module._forward_pre_hooks = module_hooks
        yield
    finally:
        for module, module_hooks in originals.items():
            module._forward_pre_hooks = module_hooks
