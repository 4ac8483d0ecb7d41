"""Runs a model from one of its layers on, for many copies of the tokens of one text at once.

One plain pass over the text keeps every layer's keys, values and output. After that a copy of a token can be run on its own: it
attends to the keys and values of the tokens before it, and to its own. All copies are tokens of ONE row, with a mask that keeps
them from attending to each other, so the keys and values of the text need not be copied for each. Layers below the one where the
copies begin to differ are not run: during the pass they return their output of the plain pass. The rest is done by the model's
own forward, so embeddings, rotary angles, final norm and head are those of the architecture.

An architecture whose mask depends on the index of a key and not on its position (ALiBi, or a full sliding window) gives wrong
results here, so callers must compare with `PlainPass.logits` of the plain pass.
"""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from privlens.lm.gradient_checkpointing import replaced_forwards
from privlens.lm.model import LanguageModel


@dataclass(frozen=True, eq=False)
class PlainPass:
    """One plain pass over a text of n tokens.

    Attributes:
        ids: [n]. cache: the model's cache; None if it has none that can be repeated. outputs: each layer's unchanged output.
        logits: the next-token logits [n, V].
    """

    ids: Tensor
    cache: Any
    outputs: tuple[Any, ...]
    logits: Tensor


def plain_pass(lm: LanguageModel, ids: Sequence[int]) -> PlainPass:
    """Runs the text once with all neurons on and keeps what later passes need."""
    outputs: list[Any] = []

    def remember(_: nn.Module, __: Any, output: Any) -> None:
        outputs.append(output)

    text = torch.tensor(ids, device=lm.device)
    with lm.held(), torch.no_grad():
        handles = [layer.register_forward_hook(remember) for layer in lm.layout.layers]
        try:
            model_output = lm.model(input_ids=text[None], use_cache=lm.can_reuse_prefix)
        finally:
            for handle in handles:
                handle.remove()
    return PlainPass(text, getattr(model_output, "past_key_values", None), tuple(outputs), model_output.logits[0].float())


def run_from_layer(lm: LanguageModel, past: PlainPass, positions: Tensor, layer: int) -> Tensor:
    """Next-token logits [copies, V] of copies of tokens, run from `layer` on; differentiable with respect to gates there.

    Args:
        positions: [copies], the position of each copy in the text. For gates this is a batch of one row with one token per copy.

    Raises:
        Whatever an architecture raises that does not accept a cache, positions and a four-dimensional mask.
    """
    n_tokens = len(past.ids)
    n_copies = len(positions)
    is_before = torch.arange(n_tokens, device=positions.device) < positions[:, None]
    is_itself = torch.eye(n_copies, dtype=torch.bool, device=positions.device)
    attention_bias = torch.finfo(lm.dtype).min * (~torch.cat([is_before, is_itself], 1)).to(lm.dtype)
    output = _output_at(past.outputs[layer - 1], positions) if layer else None
    with lm.held(), replaced_forwards(lm.layout.layers[:layer], lambda *_: lambda *_, **__: output):
        outputs = lm.model(
            input_ids=past.ids[positions][None],
            position_ids=positions[None],
            attention_mask=attention_bias[None, None],
            past_key_values=_copied_cache(past.cache),
            use_cache=True,
        )
    return outputs.logits[0].float()  # type: ignore[no-any-return]


def run_rows_from_layer(lm: LanguageModel, past: PlainPass, n_rows: int, layer: int, n_last: int) -> Tensor:
    """Next-token logits [rows, n_last, V] at the last n_last tokens of copies of the whole text, run from `layer` on.

    For gates this is a batch of n_rows rows. Layers below return their output of the plain pass, of which no row has a copy.
    """
    output = _repeated(past.outputs[layer - 1], n_rows) if layer else None
    only_last = {"logits_to_keep": n_last} if "logits_to_keep" in inspect.signature(lm.model.forward).parameters else {}
    with lm.held(), replaced_forwards(lm.layout.layers[:layer], lambda *_: lambda *_, **__: output):
        logits: Tensor = lm.model(input_ids=past.ids.expand(n_rows, -1), use_cache=False, **only_last).logits
    return logits[:, -n_last:].float()


def _repeated(output: Any, n_rows: int) -> Any:
    """A layer's output for one row as that of many; some layers return a tuple whose first item is the residual stream."""
    if isinstance(output, tuple):
        return (output[0].expand(n_rows, -1, -1), *output[1:])
    return output.expand(n_rows, -1, -1)


def _output_at(output: Any, positions: Tensor) -> Any:
    """A layer's output at some positions; some layers return a tuple whose first item is the residual stream."""
    if isinstance(output, tuple):
        return (output[0][:, positions], *output[1:])
    return output[:, positions]


def _copied_cache(cache: Any) -> Any:
    """A cache with the same keys and values that can grow without changing the original."""
    copied_cache = copy.copy(cache)
    copied_cache.layers = [copy.copy(layer) for layer in cache.layers]
    return copied_cache
