"""The residual stream: what each layer would predict if it were the last (the logit lens), and the states themselves.

Logits are computed from a layer's states by the model's own forward, in which every layer returns these states. So the final
norm, projections, soft caps and head are those of the architecture, whatever they are called. As a check, the logits from the
last layer must be the model's own; if they are not, UnsupportedModel is raised. Changes nothing.

Source: nostalgebraist, interpreting GPT: the logit lens (2020).
"""

from collections.abc import Callable, Iterator, Sequence
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
from privlens.types import Site

LOGITS_TOLERANCE = 0.02
"""How much the logits of one state may differ between two passes, as a share of their range; 16-bit ones differ by a few
thousandths."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """The model's states at the P positions from which it predicts the values' tokens of some texts, one text after the other.

    Attributes:
        states: [n_layers + 1, P, hidden], from the embeddings on. logits: [P, V], the model's own. values: [P] true tokens.
        last_output: the unchanged output of the last layer.
    """

    states: Tensor
    logits: Tensor
    values: Tensor
    last_output: Any


def _residual_stream(lm: LanguageModel, output: Any) -> Tensor:
    """The residual stream [rows, tokens, hidden] in the input or output of a layer."""
    stream = output[0] if isinstance(output, (tuple, list)) and output else output
    if not isinstance(stream, Tensor) or stream.ndim != 3:
        raise UnsupportedModel(f"The layers of {lm.architecture} do not pass on a single residual stream.")
    return stream


@contextmanager
def _recording(layers: tuple[nn.Module, ...], outputs: list[Any]) -> Iterator[None]:
    """Inside, the input of the first layer and the output of every layer are appended to `outputs`."""

    def record_input(_: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        outputs.append(inputs[0] if inputs else kwargs.get("hidden_states"))

    def record_output(_: nn.Module, __: Any, output: Any) -> None:
        outputs.append(output)

    handles = [layers[0].register_forward_pre_hook(record_input, with_kwargs=True)]
    handles += [layer.register_forward_hook(record_output) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def residuals(lm: LanguageModel, texts: Sequence[Encoded]) -> Residuals:
    """One pass over the texts, all in one batch.

    Raises:
        UnsupportedModel: if there is no single residual stream from layer to layer, or the predictions are not numbers.
    """
    outputs: list[Any] = []
    with lm.held(), torch.no_grad(), _recording(lm.layout.layers, outputs):
        logits = lm.logits(*lm.padded([text.ids for text in texts]))
    if len(outputs) != lm.n_layers + 1:
        raise UnsupportedModel(f"The layers of {lm.architecture} do not run once each, in order.")
    rows = torch.tensor([row for row, text in enumerate(texts) for _ in text.value_ids])
    positions = torch.tensor([index - 1 for text in texts for index in range(text.n_prompt, len(text.ids))])
    states = torch.stack([_residual_stream(lm, output)[rows, positions].to(lm.device) for output in outputs])
    position_logits = logits[rows, positions]
    if position_logits.isnan().any() or states.isnan().any():
        raise UnsupportedModel(
            "This model's predictions are not numbers (NaN): load it as float32 or bfloat16, or check its weights."
        )
    values = torch.tensor([token for text in texts for token in text.value_ids], device=position_logits.device)
    return Residuals(states=states, logits=position_logits, values=values, last_output=outputs[-1])


def _logits_from(lm: LanguageModel, states: Tensor, last_output: Any) -> Tensor:
    """The logits [P, V] that the model computes from states [P, hidden] after its last layer, each as a row of one token."""
    stream = states[:, None].to(_residual_stream(lm, last_output))
    output = type(last_output)([stream, *last_output[1:]]) if isinstance(last_output, (tuple, list)) else stream
    ids, mask = lm.padded([[lm.pad_id]] * len(states))
    with lm.held(), torch.no_grad(), replaced_forwards(lm.layout.layers, lambda *_: lambda *_, **__: output):
        return lm.logits(ids, mask)[:, -1]


ReadLogits = Callable[[Tensor, Tensor], Tensor]
"""Logits [n, V] of some positions and their true tokens [n] -> what is kept of them, [n, ...]."""


def read_layers(lm: LanguageModel, seen: Residuals, keep: ReadLogits) -> Tensor:
    """What every layer would predict at every position, [n_layers + 1, P, ...]: from the embeddings on, the model's own last.

    Args:
        keep: called for some positions of one layer at a time, so that logits of all need not fit into memory.

    Raises:
        UnsupportedModel: if the last layer's logits are not the model's own.
    """
    problem = f"{lm.architecture} cannot be continued from its last layer"
    n_positions = seen.states.shape[1]
    at_once = max(1, LOGITS_AT_ONCE // lm.n_vocabulary)
    readings = []
    for layer, states in enumerate(seen.states):

        def read_part(rows: Sequence[int], layer: int = layer, states: Tensor = states) -> list[Tensor]:
            part = slice(rows[0], rows[-1] + 1)
            logits = _logits_from(lm, states[part], seen.last_output)
            if layer == lm.n_layers:
                _check_same(logits, seen.logits[part], problem)
            return list(keep(logits, seen.values[part].to(logits.device)))

        kept: list[Tensor] = []
        for start in range(0, n_positions, at_once):
            try:
                kept += in_parts(read_part, range(start, min(start + at_once, n_positions)))
            except (PrivlensError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # an architecture that needs more than a layer's output can raise anything
                raise UnsupportedModel(f"{problem} ({type(error).__name__}).") from error
        readings.append(torch.stack(kept))
    return torch.stack(readings)


def _check_same(logits: Tensor, by_model: Tensor, problem: str) -> None:
    """Raises UnsupportedModel if the logits [n, V] from the last layer's states are not those of the whole pass."""
    difference = (logits.to(by_model) - by_model).nan_to_num().abs().amax(-1)  # a head may exclude tokens: -inf in both
    if logits.isnan().any() or (difference > LOGITS_TOLERANCE * (by_model.amax(-1) - by_model.median(-1).values)).any():
        raise UnsupportedModel(f"{problem}: the logits are not those of a whole pass.")


def batches(lm: LanguageModel, texts: Sequence[Encoded]) -> Iterator[Sequence[Encoded]]:
    """The texts in order, in batches of as many as fit into one pass."""
    longest = max((len(text.ids) for text in texts), default=1)
    batch_size = max(1, min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // lm.n_vocabulary) // longest)
    for start in range(0, len(texts), batch_size):
        yield texts[start : start + batch_size]


def value_states(
    lm: LanguageModel, texts: Sequence[Encoded], gates: Tensor | None = None, *, site: Site = "mlp", stop: Stop = never_stop
) -> list[Tensor]:
    """The states that predict each token of each value, of all layers: [n_layers + 1, T, hidden] float32 per text.

    Args:
        gates: [1, n_layers, width] or None.

    Raises:
        UnsupportedModel: as `residuals`. Cancelled: if `stop` returned True.
    """

    def states_of(part: Sequence[Encoded]) -> list[Tensor]:
        with lm.gated(gates, site):
            states = residuals(lm, part).states.float()
        return list(states.split([len(text.value_ids) for text in part], dim=1))

    states: list[Tensor] = []
    for part in batches(lm, texts):
        if stop():
            raise Cancelled("Stopped while reading the layers; nothing was changed.")
        states += in_parts(states_of, part)
    return states


def lens(lm: LanguageModel, texts: Sequence[Encoded], stop: Stop = never_stop) -> list[Tensor]:
    """Every layer's first choice for each token of each value: ids [n_layers + 1, T] per text, the model's own in the last row.

    Raises:
        UnsupportedModel: if logits cannot be computed from states as the model itself does. Cancelled: if `stop` returned True.
    """

    def read_choices(batch: Sequence[Encoded]) -> list[Tensor]:
        text_choices = read_layers(lm, residuals(lm, batch), lambda logits, _: logits.argmax(-1))
        return list(text_choices.split([len(text.value_ids) for text in batch], dim=1))

    choices = []
    for batch in batches(lm, texts):
        if stop():
            raise Cancelled("Stopped while reading the layers; nothing was changed.")
        choices += in_parts(read_choices, batch)
    return choices
