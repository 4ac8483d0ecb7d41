"""Generation: greedy, or sampled from a seed in such a way that no row's text depends on how its batch is split.

transformers' loop does the work. Of a model's own generation config only the end-of-text tokens are used, not a repetition
penalty for example, because here the text should show what the model predicts.
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
    """How a batch is sampled: the seed, the temperature, the rows of the whole batch, and from how many tokens (0: all)."""

    seed: int
    temperature: float
    n_rows: int
    top_k: int = 0


class _StopOnRequest(StoppingCriteria):
    """Ends a generation as soon as the user asks."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self.stop = stop

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        return torch.full((input_ids.shape[0],), self.stop(), device=input_ids.device, dtype=torch.bool)


class _Sample(LogitsProcessor):
    """Turns scores into ones whose maximum is a sample: probabilities divided by exponential noise, as in torch.multinomial.

    At every step noise is drawn for all rows of the whole batch, and the rows of this part take theirs. So a row gets the same
    text in a part as in the whole. The generator is private, so that other threads' draws do not matter, and on the CPU, so that
    a seed means the same on every device.
    """

    def __init__(self, sampling: Sampling, rows: Sequence[int]) -> None:
        self.sampling, self.rows = sampling, list(rows)
        self.generator = torch.Generator().manual_seed(sampling.seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if 0 < self.sampling.top_k < scores.shape[-1]:
            scores = scores.masked_fill(scores < scores.topk(self.sampling.top_k).values[:, -1:], float("-inf"))
        probabilities = (scores / self.sampling.temperature).softmax(-1)
        noise = torch.empty(self.sampling.n_rows, scores.shape[-1], dtype=torch.float32).exponential_(generator=self.generator)
        return probabilities / noise[self.rows].to(probabilities)


@contextmanager
def _only_config(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    """Inside, this replaces the model's own config, from which transformers fills in whatever a call leaves open.

    All threads see the change, so the caller holds the model's lock.
    """
    original = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = original


def generate_batch(
    model: PreTrainedModel,
    ids: Tensor,
    mask: Tensor,
    n_tokens: int,
    pad_id: int,
    stop: Callable[[], bool],
    sampling: Sampling | None = None,
    rows: Sequence[int] = (),
    use_cache: bool = True,
) -> list[list[int]]:
    """The new token ids of every row, up to where the model ends the text. The caller holds the model's lock.

    Args:
        ids, mask: [rows, tokens], padded on the left with `pad_id`. n_tokens: the maximum number of new tokens.
        stop: called at every step; True ends all rows at once.
        sampling: None for greedy decoding. rows: which rows of the whole batch these are. use_cache: whether keys and values
            are kept from step to step.
    """
    eos = model.generation_config.eos_token_id
    eos_ids = [] if eos is None else [eos] if isinstance(eos, int) else list(eos)
    config = GenerationConfig(max_new_tokens=n_tokens, pad_token_id=pad_id, eos_token_id=eos_ids or None, use_cache=use_cache)
    with torch.no_grad(), _only_config(model, config):
        output_ids = model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([_StopOnRequest(stop)]),
            logits_processor=LogitsProcessorList([_Sample(sampling, rows)] if sampling else []),
        )
    return [_before_end(new_ids, eos_ids) for new_ids in output_ids[:, ids.shape[1] :].tolist()]


def _before_end(ids: list[int], eos_ids: Sequence[int]) -> list[int]:
    end = next((index for index, token in enumerate(ids) if token in eos_ids), len(ids))
    return ids[:end]
