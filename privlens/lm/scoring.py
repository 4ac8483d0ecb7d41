"""Teacher-forced log-probabilities of values; a prefix that all prompts share is run only once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from privlens.errors import Cancelled, UnsupportedModel
from privlens.lm.gating import check_rows
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.tokens import Encoded
from privlens.types import Site

TOKENS_AT_ONCE = 4096
"""The most tokens (rows times length) in one forward pass: more would need more memory, fewer would need more passes."""
LOGITS_AT_ONCE = 2**26
"""The most logits (rows times length times vocabulary) of one forward pass: 256 MiB as float32."""

NAN_PREDICTIONS = (
    "This model's predictions are not numbers (NaN): an edit or its weights hold numbers that are too large for its type. Switch "
    "the edit off, or load the model as float32 or bfloat16."
)


@dataclass(frozen=True)
class ValueScore:
    """One value under teacher forcing, with an entry for each of its tokens.

    Attributes:
        logprobs: natural log-probabilities. ranks: 1 is the model's first choice. argmax: the model's first choices (ids).
        entropies: of the model's predictions, in nats.
    """

    logprobs: tuple[float, ...]
    ranks: tuple[int, ...]
    argmax: tuple[int, ...]
    entropies: tuple[float, ...]


def score(
    lm: LanguageModel,
    encoded: Sequence[Encoded],
    gates: Tensor | None = None,
    *,
    site: Site = "mlp",
    stop: Stop = never_stop,
    temperature: float = 1.0,
    top_k: int = 0,
) -> list[ValueScore]:
    """Scores every value after its prompt.

    Args:
        encoded: prompts and values; a prefix that all of them share is run once and its keys and values are reused.
        gates: [1, n_layers, width] for all, or one row for each of `encoded`.
        temperature, top_k: of the sampling by which log-probabilities and entropies are meant; top_k 0 is all tokens. A token
            that is not among the top_k likeliest has -inf.

    Raises:
        BadInput: if the gates have another number of rows. UnsupportedModel: if a prediction is not a number.
        Cancelled: if `stop` returned True between two batches.
    """
    check_rows(gates, len(encoded))
    scores: dict[int, ValueScore] = {}
    gates_by_row = gates is not None and gates.shape[0] > 1
    n_shared = 0 if gates_by_row or len(encoded) < 2 or not lm.can_reuse_prefix else _shared_prefix_length(encoded)

    def score_rows(batch: Sequence[int]) -> list[ValueScore]:
        rows = [encoded[row] for row in batch]
        with lm.gated(gates[batch] if gates_by_row and gates is not None else gates, site):
            logits = _logits(lm, rows, n_shared)
        if not bool((~logits.isnan() & ~logits.isposinf()).all()):
            raise UnsupportedModel(NAN_PREDICTIONS)
        logits = _sampled(logits, temperature, top_k)
        return [_value_score(row_logits, row, n_shared) for row_logits, row in zip(logits, rows, strict=True)]

    with torch.no_grad():
        for batch in _batches(encoded, n_shared, lm.n_vocabulary):
            if stop():
                raise Cancelled("Stopped while measuring; nothing was changed.")
            scores |= zip(batch, in_parts(score_rows, batch), strict=True)
    return [scores[row] for row in range(len(encoded))]


def text_nll(
    lm: LanguageModel,
    texts: Sequence[Sequence[int]],
    gates: Tensor | None = None,
    *,
    site: Site = "mlp",
    stop: Stop = never_stop,
) -> float:
    """Mean NLL in nats/token of ordinary texts (token ids), over all tokens but each text's first; gates have one row."""
    scores = score(lm, [Encoded(tuple(ids), 1) for ids in texts if len(ids) > 1], gates, site=site, stop=stop)
    logprobs = [logprob for text_score in scores for logprob in text_score.logprobs]
    return -sum(logprobs) / len(logprobs)


def _shared_prefix_length(encoded: Sequence[Encoded]) -> int:
    """How many leading ids all rows have in common, leaving every row at least one prompt token to predict from."""
    longest = min(row.n_prompt for row in encoded) - 1
    first = encoded[0].ids
    differs = (index for index in range(longest) if any(row.ids[index] != first[index] for row in encoded))
    return next(differs, max(0, longest))


def _batches(encoded: Sequence[Encoded], n_shared: int, vocabulary: int) -> Iterator[list[int]]:
    """Positions in `encoded`, sorted by length to keep padding small."""
    most_tokens = min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // vocabulary)
    by_length = sorted(range(len(encoded)), key=lambda row: len(encoded[row].ids))
    batch: list[int] = []
    for row in by_length:
        if batch and (len(batch) + 1) * (len(encoded[row].ids) - n_shared) > most_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _logits(lm: LanguageModel, rows: Sequence[Encoded], n_shared: int) -> Tensor:
    """[rows, tokens after the shared ones, vocabulary]."""
    ids, mask = lm.padded([row.ids[n_shared:] for row in rows])
    if not n_shared:
        return lm.logits(ids, mask)
    prefix = torch.tensor([rows[0].ids[:n_shared]], device=lm.device)
    cache = lm.model(input_ids=prefix, use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(rows))
    mask = torch.cat([mask.new_ones(len(rows), n_shared), mask], dim=1)
    return lm.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True).logits.float()  # type: ignore[no-any-return]


def _sampled(logits: Tensor, temperature: float, top_k: int) -> Tensor:
    """The logits [..., V] of the distribution that is sampled from."""
    if 0 < top_k < logits.shape[-1]:
        threshold = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < threshold, float("-inf"))
    return logits if temperature == 1 else logits / temperature


def _value_score(logits: Tensor, row: Encoded, n_shared: int) -> ValueScore:
    """The score of one row's value from its logits [tokens after the shared ones, vocabulary]."""
    first = row.n_prompt - n_shared - 1
    logprobs = logits[first : len(row.ids) - n_shared - 1].log_softmax(-1)
    value_ids = torch.tensor(row.value_ids, device=logits.device)
    value_logprobs = logprobs.gather(1, value_ids[:, None])
    return ValueScore(
        logprobs=tuple(value_logprobs[:, 0].tolist()),
        ranks=tuple(((logprobs > value_logprobs).sum(1) + 1).tolist()),
        argmax=tuple(logprobs.argmax(1).tolist()),
        entropies=tuple((-(logprobs.exp() * logprobs).nan_to_num().sum(1)).tolist()),
    )
