"""Retained text: what must be preserved while secrets are switched off or erased.

By default the other listed secrets, and samples that the model itself generated. Users may add text. Nothing of it may hold a
target: not its value, no near copy of it, not its prompt, and not what the model predicts where a text ends, which may be just
where a prompt ends.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.tokens import plain_ids
from privlens.retained.near_copies import without_near_copies
from privlens.retained.samples import own_samples, text_of
from privlens.types import Secret
from privlens.value_match import contains_any

TEXT_TOKENS = 64
"""The user's own paragraphs are cut after this many tokens: rows are padded to the longest, so a long one slows all of them."""
TOP = 64
"""Next-token distributions are stored as their TOP most likely tokens and one bucket for the rest. More of them would make the KL
more exact and take more memory (`stored_bytes`)."""


def without_target_values(lm: LanguageModel, rows: Iterable[Sequence[int]], targets: Sequence[Secret]) -> list[list[int]]:
    """The rows of two tokens or more, without repeats and without those that contain a target's value."""
    values = [target.value for target in targets] + [text_of(lm, lm.encode(target).value_ids) for target in targets]
    holds = contains_any(values)
    return [list(row) for row in dict.fromkeys(map(tuple, rows)) if len(row) > 1 and not holds(text_of(lm, row))]


def without_values(lm: LanguageModel, rows: Sequence[Sequence[int]], targets: Sequence[Secret]) -> list[list[int]]:
    """The rows cut where a target's prompt ends in them, without repeats and without those that contain a target's value.

    A prompt is recognized by all of its tokens but the first, which depends on the text before it. The last few alone would also
    match other prompts of the same template: "... and my card number is".
    """
    prompts = [lm.encode(target).prompt_ids for target in targets]
    suffixes = {prompt[1:] or prompt for prompt in prompts}

    def prompt_ends(row: Sequence[int]) -> Iterator[int]:
        for suffix in suffixes:
            for start in range(len(row) - len(suffix) + 1):
                if tuple(row[start : start + len(suffix)]) == suffix:
                    yield start + len(suffix)

    cut_rows = [row[: min(prompt_ends(row), default=len(row))] for row in rows]
    return without_target_values(lm, cut_rows, targets)


def require_retained_rows(rows: Sequence[Sequence[int]], without: str) -> None:
    """Raises BadInput if no row is left; `without` tells the user how to proceed without retained text."""
    if not rows:
        raise BadInput(
            "No retained text is left: every text that was to be preserved contains the private value. Give a text of your "
            f"own that does not contain it, or {without}."
        )


def paragraph_ids(lm: LanguageModel, text: str) -> list[int]:
    """A paragraph of the user's own, cut to what is retained and to the model's context."""
    return plain_ids(lm.tokenizer, text, min(TEXT_TOKENS, lm.room))


def listed_rows(lm: LanguageModel, targets: Sequence[Secret], others: Sequence[Secret], texts: Sequence[str]) -> list[list[int]]:
    """What the user lists to be retained: other secrets and paragraphs, as for `retained_rows`."""
    rows = [list(lm.encode(secret).ids) for secret in others] + [paragraph_ids(lm, text) for text in texts]
    return without_target_values(lm, rows, targets)


def retained_rows(
    lm: LanguageModel,
    targets: Sequence[Secret],
    others: Sequence[Secret],
    texts: Sequence[str],
    n_samples: int,
    n_tokens: int,
    seed: int,
    stop: Stop = never_stop,
) -> list[list[int]]:
    """All retained texts as token ids, at least two tokens each, without repeats and without any target's value.

    Of the model's own samples, those that hold a near copy of a value or most of a prompt are left out (near_copies.py).

    Args:
        targets: what is to be removed; at least one. others, texts: what the user lists to be retained.
        n_samples, n_tokens: number of the model's own samples, and their maximum length.

    Raises:
        Cancelled: when `stop` returns true.
    """
    listed = listed_rows(lm, targets, others, texts)
    samples = own_samples(lm, [lm.encode(target) for target in targets], n_samples, n_tokens, seed, stop)
    return without_target_values(lm, [*listed, *without_near_copies(lm, samples, targets, listed)], targets)


def extent(
    lm: LanguageModel, targets: Sequence[Secret], others: Sequence[Secret], texts: Sequence[str], n_samples: int, n_tokens: int
) -> tuple[int, int]:
    """The maximum number of rows of `retained_rows` and of tokens in a row, before any is generated; arguments as there."""
    prompts = [len(lm.encode(target).prompt_ids) for target in targets]  # samples begin with a part of them
    listed = [len(lm.encode(secret).ids) for secret in others]
    paragraphs = [len(paragraph_ids(lm, text)) for text in texts]
    samples = [min(max(prompts) + n_tokens, lm.room)] * min(n_samples, 1)
    return len(listed) + len(paragraphs) + n_samples, max([2, *listed, *paragraphs, *samples])


def stored_bytes(n_rows: int, n_tokens: int) -> int:
    """Bytes of `ReferenceDistributions` for rows of this length: ids, mask, and for each token TOP ids and their logprobs."""
    return n_rows * n_tokens * (16 + 8 * TOP + 4 * (TOP + 1))


@dataclass(frozen=True)
class ReferenceDistributions:
    """Next-token distributions of some rows with all neurons on.

    Attributes:
        ids, mask: [rows, tokens]. top: [rows, tokens, TOP] ids. logprobs: [rows, tokens, TOP + 1], the last for all other tokens.
    """

    ids: Tensor
    mask: Tensor
    top: Tensor
    logprobs: Tensor

    def batch(self, rows: Tensor) -> "ReferenceDistributions":
        """A selection of the rows, which may be empty, cut to the longest of them."""
        longest = max(self.mask[rows].sum(1).tolist(), default=0)
        return ReferenceDistributions(*(part[rows, :longest] for part in (self.ids, self.mask, self.top, self.logprobs)))

    def rows(self) -> list[list[int]]:
        """The ids without padding."""
        return [row[:length] for row, length in zip(self.ids.tolist(), self.mask.sum(1).tolist(), strict=True)]

    def divergence(self, logits: Tensor) -> Tensor:
        """KL(all neurons on || these logits) in nats/token, [rows], each the mean over its row; logits [rows, tokens, V].

        Each position counts where the row has a next token: a row may end where a secret's prompt does, and there the model
        predicts the value. Rows have two tokens or more.
        """
        current = _bucketed(logits.log_softmax(-1), self.top)
        per_token = (self.logprobs.exp() * (self.logprobs - current)).sum(-1)
        has_next = self.mask[:, 1:]
        return (per_token[:, :-1] * has_next).sum(1) / has_next.sum(1)


def reference_distributions(lm: LanguageModel, rows: Sequence[Sequence[int]], at_once: int = 32) -> ReferenceDistributions:
    """The model's predictions in the rows, run once with all neurons on, `at_once` of them in a batch."""
    ids, mask = lm.padded(rows)
    predictions: list[tuple[Tensor, Tensor]] = []

    def predict(batch: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        all_logprobs = lm.logits(ids[batch], mask[batch]).log_softmax(-1)
        top = all_logprobs.topk(min(TOP, all_logprobs.shape[-1] - 1)).indices
        return list(zip(top, _bucketed(all_logprobs, top), strict=True))

    with torch.no_grad():
        for start in range(0, len(rows), at_once):
            predictions += in_parts(predict, list(range(start, min(start + at_once, len(rows)))))
    top, logprobs = (torch.stack(tensors) for tensors in zip(*predictions, strict=True))
    return ReferenceDistributions(ids, mask, top, logprobs)


def _bucketed(logprobs: Tensor, top: Tensor) -> Tensor:
    """[..., V] -> [..., TOP + 1]: log-probabilities of the top tokens, and of all others together."""
    top_logprobs = logprobs.gather(-1, top)
    rest = (1 - top_logprobs.exp().sum(-1, keepdim=True)).clamp_min(1e-6).log()  # rounding may leave 0 or less
    return torch.cat([top_logprobs, rest], -1)
