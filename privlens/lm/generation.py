"""How a model writes on: greedily, or sampled from a seed, where no row's text depends on how its batch is parted.

transformers' loop does the work; what a model's own files ask of it beside an end of text (a penalty on repetition, say) is not
followed, because here the text shows what the model predicts. Knows nothing of gates.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)


@dataclass(frozen=True)
class Sampling:
    """Where the noise of a batch comes from: its seed, the temperature, and how many rows the whole batch has."""

    seed: int
    temperature: float
    n_rows: int


class _StopAsked(StoppingCriteria):
    """Ends a generation as soon as the person asks."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self.stop = stop

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        return torch.full((input_ids.shape[0],), self.stop(), device=input_ids.device, dtype=torch.bool)


class _Draw(LogitsProcessor):
    """Makes the largest score a sample: probabilities over exponential noise, as torch.multinomial draws.

    At every step noise is drawn for all rows of the batch, and those that are here take theirs. So a part of the batch writes
    what it writes in the whole. The generator is nobody else's: what other threads draw meanwhile changes nothing. It is the
    CPU's, so that a seed means the same on every device.
    """

    def __init__(self, sampling: Sampling, rows: Sequence[int]) -> None:
        self.sampling, self.rows = sampling, list(rows)
        self.generator = torch.Generator().manual_seed(sampling.seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        probabilities = (scores / self.sampling.temperature).softmax(-1)
        noise = torch.empty(self.sampling.n_rows, scores.shape[-1], dtype=torch.float32).exponential_(generator=self.generator)
        return probabilities / noise[self.rows].to(probabilities)


@contextmanager
def _following_only(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Inside, the model's own wishes are this config, since transformers fills whatever a call leaves open from them.

    Changes what all threads see, so the caller holds the model's lock.
    """
    wishes = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = wishes


def write_on(
    model: PreTrainedModel,
    ids: Tensor,
    mask: Tensor,
    n_tokens: int,
    filler: int,
    stop: Callable[[], bool],
    sampling: Sampling | None = None,
    rows: Sequence[int] = (),
    use_cache: bool = True,
) -> list[list[int]]:
    """Token ids behind every row, up to where the model ends the text. The caller holds the model's lock.

    Args:
        ids, mask: [rows, tokens], padded on the left with `filler`. n_tokens: at most so many new ones.
        stop: asked at every step; True ends all rows where they are.
        sampling: None for greedy decoding. rows: which rows of the whole batch these are. use_cache: whether keys and values
            are kept from step to step.
    """
    end = model.generation_config.eos_token_id
    ends = [] if end is None else [end] if isinstance(end, int) else list(end)
    config = GenerationConfig(max_new_tokens=n_tokens, pad_token_id=filler, eos_token_id=ends or None, use_cache=use_cache)
    with torch.no_grad(), _following_only(model, config):
        out = model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([_StopAsked(stop)]),
            logits_processor=LogitsProcessorList([_Draw(sampling, rows)] if sampling else []),
        )
    return [_until(row, ends) for row in out[:, ids.shape[1] :].tolist()]


def _until(ids: list[int], ends: Sequence[int]) -> list[int]:
    stops = [at for at, token in enumerate(ids) if token in ends]
    return ids[: stops[0]] if stops else ids
