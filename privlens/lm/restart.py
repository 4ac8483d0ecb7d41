"""Runs a model on from one of its layers, for many copies of the tokens of one text at once.

One plain pass over the text keeps every layer's keys, values and output. After it a copy of a token needs to run alone:
it reads the keys and values of the tokens before it, and its own. All copies stand side by side in ONE row under a mask that
lets none see another, so that the text's keys and values are not copied for each. Layers below the one where the copies
begin to differ are not run: while a pass goes on they hand out what they gave in the plain pass. The model's own forward
does all the rest, so embeddings, rotary angles, final norm and head are those of the architecture.

Knows nothing of methods. An architecture whose mask goes by the place of a key and not by its position (ALiBi, a sliding window
that is full) comes out wrong here: whoever calls must compare with the plain pass, for which `Past.logits` is there.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from privlens.lm.gradient_checkpointing import replaced_forwards
from privlens.lm.model import LanguageModel


@dataclass(frozen=True, eq=False)
class Past:
    """One plain pass over a text of n tokens: its ids [n], the model's cache (None where it keeps none that can be used), each
    layer's output as the layer gave it, and the next-token logits [n, V]."""

    ids: Tensor
    cache: Any
    outputs: tuple[Any, ...]
    logits: Tensor


def plain_pass(lm: LanguageModel, ids: Sequence[int]) -> Past:
    """Runs the text once with all neurons on and remembers what later passes need."""
    outputs: list[Any] = []

    def remember(_: nn.Module, __: Any, output: Any) -> None:
        outputs.append(output)

    text = torch.tensor(ids, device=lm.device)
    with lm.held(), torch.no_grad():
        handles = [layer.register_forward_hook(remember) for layer in lm.layout.layers]
        try:
            found = lm.model(input_ids=text[None], use_cache=lm.has_repeatable_cache)
        finally:
            for handle in handles:
                handle.remove()
    return Past(text, getattr(found, "past_key_values", None), tuple(outputs), found.logits[0].float())


def run_on(lm: LanguageModel, past: Past, at: Tensor, layer: int) -> Tensor:
    """Next-token logits [copies, V] of copies of tokens, run from `layer` on; differentiable with respect to gates there.

    Args:
        at: [copies], the position in the text that each copy stands at. To the gate door this is a batch of one row with as
            many tokens as copies.

    Raises:
        Whatever an architecture raises that does not take a cache, positions and a four-dimensional mask.
    """
    n, copies = len(past.ids), len(at)
    before = torch.arange(n, device=at.device) < at[:, None]
    itself = torch.eye(copies, dtype=torch.bool, device=at.device)
    hidden = torch.finfo(lm.dtype).min * (~torch.cat([before, itself], 1)).to(lm.dtype)
    given = _taken(past.outputs[layer - 1], at) if layer else None
    with lm.held(), replaced_forwards(lm.layout.layers[:layer], lambda *_: lambda *_, **__: given):
        found = lm.model(
            input_ids=past.ids[at][None],
            position_ids=at[None],
            attention_mask=hidden[None, None],
            past_key_values=_copied(past.cache),
            use_cache=True,
        )
    return found.logits[0].float()  # type: ignore[no-any-return]


def _taken(output: Any, at: Tensor) -> Any:
    """A layer's output at some positions; some layers give a tuple whose first part is the residual stream."""
    if isinstance(output, tuple):
        return (output[0][:, at], *output[1:])
    return output[:, at]


def _copied(cache: Any) -> Any:
    """A cache of the same keys and values that can grow without the first one changing."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    return copied
