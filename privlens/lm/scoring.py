"""Teacher-forced log-probabilities of values, with the part of the prompt that all share run only once.

Knows tokens and gates; what the numbers mean is the memorization room's business.
"""

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
LOGITS_AT_ONCE = 2**26
"""Rows times length of one forward pass, and times the vocabulary: at most 256 MiB of float32 logits."""

NOT_NUMBERS = (
    "This model's predictions are not numbers (NaN): an edit or its weights hold numbers that are too large for its type. Switch "
    "the edit off, or load the model as float32 or bfloat16."
)


@dataclass(frozen=True)
class ValueScore:
    """One value under teacher forcing, a number per token of the value: natural log-probability, rank (1 = first), the
    model's own first choice (an id), and the entropy of its prediction in nats."""

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
) -> list[ValueScore]:
    """Scores every value behind its prompt.

    Args:
        encoded: prompts and values; a beginning that all of them share is run once and its keys and values reused.
        gates: [1, n_layers, width] for all, or one row for each of `encoded`.

    Raises:
        BadInput: where the gates have another number of rows. UnsupportedModel: where a prediction is not a number.
        Cancelled: when `stop` said so, between two batches.
    """
    check_rows(gates, len(encoded))
    found: dict[int, ValueScore] = {}
    own_gates = gates is not None and gates.shape[0] > 1
    shared = 0 if own_gates or len(encoded) < 2 or not lm.has_repeatable_cache else _shared_prefix(encoded)

    def scored(batch: Sequence[int]) -> list[ValueScore]:
        rows = [encoded[at] for at in batch]
        with lm.gated(gates[batch] if own_gates and gates is not None else gates, site):
            logits = _logits(lm, rows, shared)
        if not bool((~logits.isnan() & ~logits.isposinf()).all()):
            raise UnsupportedModel(NOT_NUMBERS)
        return [_read(row_logits, row, shared) for row_logits, row in zip(logits, rows, strict=True)]

    with torch.no_grad():
        for batch in _batches(encoded, shared, lm.n_vocabulary):
            if stop():
                raise Cancelled("Stopped while measuring; nothing was changed.")
            found |= zip(batch, in_parts(scored, batch), strict=True)
    return [found[at] for at in range(len(encoded))]


def text_nll(
    lm: LanguageModel,
    texts: Sequence[Sequence[int]],
    gates: Tensor | None = None,
    *,
    site: Site = "mlp",
    stop: Stop = never_stop,
) -> float:
    """Mean NLL in nats/token of ordinary texts (token ids), over all tokens but each text's first; gates have one row."""
    scored = score(lm, [Encoded(tuple(ids), 1) for ids in texts if len(ids) > 1], gates, site=site, stop=stop)
    values = [logprob for one in scored for logprob in one.logprobs]
    return -sum(values) / len(values)


def _shared_prefix(encoded: Sequence[Encoded]) -> int:
    """How many ids all rows have in common, leaving every row at least one prompt token to predict from."""
    most = min(row.n_prompt for row in encoded) - 1
    first = encoded[0].ids
    return next((at for at in range(most) if any(row.ids[at] != first[at] for row in encoded)), max(0, most))


def _batches(encoded: Sequence[Encoded], shared: int, vocabulary: int) -> Iterator[list[int]]:
    """Positions in `encoded`, like lengths together, so that little is padding."""
    at_most = min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // vocabulary)
    order = sorted(range(len(encoded)), key=lambda at: len(encoded[at].ids))
    batch: list[int] = []
    for at in order:
        if batch and (len(batch) + 1) * (len(encoded[at].ids) - shared) > at_most:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


def _logits(lm: LanguageModel, rows: Sequence[Encoded], shared: int) -> Tensor:
    """[rows, tokens after the shared ones, vocabulary]."""
    ids, mask = lm.padded([row.ids[shared:] for row in rows])
    if not shared:
        return lm.logits(ids, mask)
    start = torch.tensor([rows[0].ids[:shared]], device=lm.device)
    cache = lm.model(input_ids=start, use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(rows))
    mask = torch.cat([mask.new_ones(len(rows), shared), mask], dim=1)
    return lm.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True).logits.float()  # type: ignore[no-any-return]


def _read(logits: Tensor, row: Encoded, shared: int) -> ValueScore:
    first = row.n_prompt - shared - 1
    logprobs = logits[first : len(row.ids) - shared - 1].log_softmax(-1)
    values = torch.tensor(row.value_ids, device=logits.device)
    own = logprobs.gather(1, values[:, None])
    return ValueScore(
        logprobs=tuple(own[:, 0].tolist()),
        ranks=tuple(((logprobs > own).sum(1) + 1).tolist()),
        argmax=tuple(logprobs.argmax(1).tolist()),
        entropies=tuple((-(logprobs.exp() * logprobs).nan_to_num().sum(1)).tolist()),
    )
