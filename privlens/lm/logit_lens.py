"""Looks into the residual stream: what each layer would predict if it were the last (the logit lens), and the states themselves.

From a layer's states to logits the model goes its own way: its own forward runs with every layer handing out these states, so
that final norm, projections, soft caps and head are those of the architecture, whatever they are called. Whether that is so is
seen at the last layer, whose logits must be the model's own; where they are not, the lens is refused in words. Changes nothing.

Source: nostalgebraist, interpreting GPT: the logit lens (2020).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from privlens.errors import Cancelled, PrivlensError, UnsupportedModel
from privlens.lm.gradient_checkpointing import replaced_forwards
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import LOGITS_AT_ONCE, TOKENS_AT_ONCE
from privlens.lm.tokens import Encoded

CLOSE = 0.02
"""How far two passes' logits of one state may lie apart, as a share of their range: 16-bit ones differ by a few thousandths."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """What a model had in mind where it predicted the values' tokens of some texts, P of them, one text after the other.

    Attributes:
        states: [n_layers + 1, P, hidden], from the embeddings on. logits: [P, V], the model's own. values: [P] true tokens.
        last_output: what the last layer gave, as it gave it.
    """

    states: Tensor
    logits: Tensor
    values: Tensor
    last_output: Any


def _stream(lm: LanguageModel, output: Any) -> Tensor:
    """The residual stream [rows, tokens, hidden] in what a layer takes or gives."""
    stream = output[0] if isinstance(output, (tuple, list)) and output else output
    if not isinstance(stream, Tensor) or stream.ndim != 3:
        raise UnsupportedModel(f"The layers of {lm.architecture} pass on something else than one residual stream.")
    return stream


@contextmanager
def _listening(layers: tuple[nn.Module, ...], seen: list[Any]) -> Iterator[None]:
    """Inside, what enters the first layer and what leaves every layer is added to `seen`."""

    def enters(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(inputs[0] if inputs else named.get("hidden_states"))

    def leaves(_: nn.Module, __: Any, output: Any) -> None:
        seen.append(output)

    handles = [layers[0].register_forward_pre_hook(enters, with_kwargs=True)]
    handles += [layer.register_forward_hook(leaves) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def residuals(lm: LanguageModel, texts: Sequence[Encoded]) -> Residuals:
    """One pass over the texts, all in one batch.

    Raises:
        UnsupportedModel: where there is no one residual stream from layer to layer, or what is predicted are not numbers.
    """
    seen: list[Any] = []
    with lm.held(), torch.no_grad(), _listening(lm.layout.layers, seen):
        logits = lm.logits(*lm.padded([text.ids for text in texts]))
    if len(seen) != lm.n_layers + 1:
        raise UnsupportedModel(f"The layers of {lm.architecture} do not run once each, one after the other.")
    rows = torch.tensor([row for row, text in enumerate(texts) for _ in text.value_ids])
    places = torch.tensor([at - 1 for text in texts for at in range(text.n_prompt, len(text.ids))])
    states = torch.stack([_stream(lm, output)[rows, places].to(lm.device) for output in seen])
    own = logits[rows, places]
    if own.isnan().any() or states.isnan().any():
        raise UnsupportedModel(
            "What this model predicts are not numbers (NaN): load it as float32 or bfloat16, or check its weights."
        )
    values = torch.tensor([token for text in texts for token in text.value_ids], device=own.device)
    return Residuals(states, own, values, seen[-1])


def _logits_of(lm: LanguageModel, states: Tensor, last_output: Any) -> Tensor:
    """What the model makes of states [P, hidden] behind its last layer: logits [P, V]. Each state is a row of one token."""
    stream = states[:, None].to(_stream(lm, last_output))
    given = type(last_output)([stream, *last_output[1:]]) if isinstance(last_output, (tuple, list)) else stream
    ids, mask = lm.padded([[lm.pad_id]] * len(states))
    with lm.held(), torch.no_grad(), replaced_forwards(lm.layout.layers, lambda *_: lambda *_, **__: given):
        return lm.logits(ids, mask)[:, -1]


def _first_choices(lm: LanguageModel, seen: Residuals) -> Tensor:
    """[n_layers + 1, P]. Raises UnsupportedModel where the last layer's are not the model's own."""
    refused = f"{lm.architecture} cannot be run on from its last layer"
    choices, places = [], range(seen.states.shape[1])
    for states in seen.states:

        def read(part: Sequence[int], states: Tensor = states) -> list[Tensor]:
            return list(_logits_of(lm, states[part[0] : part[-1] + 1], seen.last_output))

        try:
            logits = torch.stack(in_parts(read, places))
        except (PrivlensError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever an architecture raises that wants more than a layer's output
            raise UnsupportedModel(f"{refused} ({type(error).__name__}).") from error
        choices.append(logits.argmax(-1))
    apart = (logits.to(seen.logits) - seen.logits).nan_to_num().abs().amax(-1)  # a head may rule tokens out: -inf in both
    if logits.isnan().any() or (apart > CLOSE * (seen.logits.amax(-1) - seen.logits.median(-1).values)).any():
        raise UnsupportedModel(f"{refused}: the logits are not those of a whole pass.")
    return torch.stack(choices)


def batches(lm: LanguageModel, texts: Sequence[Encoded]) -> Iterator[Sequence[Encoded]]:
    """The texts in their order, as many at once as one pass takes."""
    longest = max((len(text.ids) for text in texts), default=1)
    at_once = max(1, min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // lm.n_vocabulary) // longest)
    for first in range(0, len(texts), at_once):
        yield texts[first : first + at_once]


def lens(lm: LanguageModel, texts: Sequence[Encoded], stop: Stop = never_stop) -> list[Tensor]:
    """The first choice of every layer for each token of each value: ids [n_layers + 1, T] a text, the last row the model's own.

    Raises:
        UnsupportedModel: where states cannot be read as the model's own head reads them. Cancelled: when `stop` said so.
    """

    def read(part: Sequence[Encoded]) -> list[Tensor]:
        choices = _first_choices(lm, residuals(lm, part))
        return list(choices.split([len(text.value_ids) for text in part], dim=1))

    found = []
    for part in batches(lm, texts):
        if stop():
            raise Cancelled("Stopped while looking into the layers; nothing was changed.")
        found += in_parts(read, part)
    return found
