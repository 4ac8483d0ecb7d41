"""Retained text: what must stay as it is while secrets are switched off or erased.

By default the prompts' ordinary tokens, the other listed secrets, and samples that the model itself wrote. A person may add text
of their own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from privlens.errors import BadInput
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.tokens import plain_ids
from privlens.retained.samples import own_samples, text_of
from privlens.types import Secret
from privlens.value_match import holds_any

TEXT_TOKENS = 64
"""A paragraph of the person's own is cut after so many tokens."""
TOP = 64
"""Next-token distributions are kept as their TOP most likely tokens and one bucket for the rest."""


def free_of(lm: LanguageModel, rows: Iterable[Sequence[int]], targets: Sequence[Secret]) -> list[list[int]]:
    """The rows of two tokens or more without repeats, and without those in which a target's value stands."""
    values = [target.value for target in targets] + [text_of(lm, lm.encode(target).value_ids) for target in targets]
    holds = holds_any(values)
    return [list(row) for row in dict.fromkeys(map(tuple, rows)) if len(row) > 1 and not holds(text_of(lm, row))]


def without_values(lm: LanguageModel, rows: Sequence[Sequence[int]], targets: Sequence[Secret]) -> list[list[int]]:
    """The rows without repeats, cut where a target's prompt ends in them, and without those in which a target's value stands.

    A prompt is recognized by all of its tokens but the first, which changes with what stands before it. By its last few alone it
    would be taken for others of the same template: "... and my card number is".
    """
    prompts = [lm.encode(target).prompt_ids for target in targets]
    ends = {prompt[1:] or prompt for prompt in prompts}

    def cut(row: Sequence[int]) -> Sequence[int]:
        stops = (at + len(end) for end in ends for at in range(len(row) - len(end) + 1) if tuple(row[at : at + len(end)]) == end)
        return row[: min(stops, default=len(row))]

    return free_of(lm, map(cut, rows), targets)


def check_left(rows: Sequence[Sequence[int]], without: str) -> None:
    """Raises BadInput where no row is left to hold on to; `without` says how to do without any."""
    if not rows:
        raise BadInput(
            "Nothing is left to hold on to: the private value stands in every text that was to stay as it is. Give a text "
            f"of your own that does not hold it, or {without}."
        )


def paragraph_ids(lm: LanguageModel, text: str) -> list[int]:
    """A paragraph of the person's own, as much of it as is retained and as the model reads."""
    return plain_ids(lm.tokenizer, text, min(TEXT_TOKENS, lm.room))


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

    Args:
        targets: what is to go; at least one. others, texts: what a person lists to be kept.
        n_samples, n_tokens: how many samples of the model's own, and their tokens at most.

    Raises:
        Cancelled: when `stop` said so.
    """
    encoded = [lm.encode(target) for target in targets]
    rows = [list(target.prompt_ids) for target in encoded]
    rows += [list(lm.encode(other).ids) for other in others]
    rows += [paragraph_ids(lm, text) for text in texts]
    rows += own_samples(lm, encoded, n_samples, n_tokens, seed, stop)
    return free_of(lm, rows, targets)


def extent(
    lm: LanguageModel, targets: Sequence[Secret], others: Sequence[Secret], texts: Sequence[str], n_samples: int, n_tokens: int
) -> tuple[int, int]:
    """How many rows `retained_rows` gives at most, and the tokens of the longest, before any is written; arguments as there."""
    prompts = [len(lm.encode(target).prompt_ids) for target in targets]
    listed = [len(lm.encode(other).ids) for other in others]
    own = [len(paragraph_ids(lm, text)) for text in texts]
    samples = [min(max(prompts) + n_tokens, lm.room)] * min(n_samples, 1)
    return len(prompts) + len(listed) + len(own) + n_samples, max([*prompts, *listed, *own, *samples])


def stored_bytes(n_rows: int, n_tokens: int) -> int:
    """Bytes of `ReferenceDistributions` for rows of so many tokens: ids, mask, and for each token TOP ids and their logprobs."""
    return n_rows * n_tokens * (16 + 8 * TOP + 4 * (TOP + 1))


@dataclass(frozen=True)
class ReferenceDistributions:
    """Next-token distributions of some rows with all neurons on.

    Attributes:
        ids, mask: [rows, tokens]. top: [rows, tokens, TOP] ids. logprobs: [rows, tokens, TOP + 1], the last for all others.
    """

    ids: Tensor
    mask: Tensor
    top: Tensor
    logprobs: Tensor

    def batch(self, rows: Tensor) -> "ReferenceDistributions":
        """Some of the rows, cut to the longest of them; there may be none."""
        longest = max(self.mask[rows].sum(1).tolist(), default=0)
        return ReferenceDistributions(*(part[rows, :longest] for part in (self.ids, self.mask, self.top, self.logprobs)))

    def rows(self) -> list[list[int]]:
        """The ids without padding."""
        return [row[:length] for row, length in zip(self.ids.tolist(), self.mask.sum(1).tolist(), strict=True)]

    def divergence(self, logits: Tensor) -> Tensor:
        """KL(all neurons on || these logits) in nats/token, [rows], each the mean over its row; logits [rows, tokens, V]."""
        now = _bucketed(logits.log_softmax(-1), self.top)
        per_token = (self.logprobs.exp() * (self.logprobs - now)).sum(-1)
        return (per_token * self.mask).sum(1) / self.mask.sum(1)


def reference_distributions(lm: LanguageModel, rows: Sequence[Sequence[int]], at_once: int = 32) -> ReferenceDistributions:
    """Runs the rows once with all neurons on and remembers what the model predicts."""
    ids, mask = lm.padded(rows)
    found: list[tuple[Tensor, Tensor]] = []

    def likeliest(batch: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        full = lm.logits(ids[batch], mask[batch]).log_softmax(-1)
        top = full.topk(min(TOP, full.shape[-1] - 1)).indices
        return list(zip(top, _bucketed(full, top), strict=True))

    with torch.no_grad():
        for at in range(0, len(rows), at_once):
            found += in_parts(likeliest, list(range(at, min(at + at_once, len(rows)))))
    tops, logprobs = (torch.stack(parts) for parts in zip(*found, strict=True))
    return ReferenceDistributions(ids, mask, tops, logprobs)


def _bucketed(logprobs: Tensor, top: Tensor) -> Tensor:
    """[..., V] -> [..., TOP + 1]: log-probabilities of the chosen tokens, and of all others together."""
    chosen = logprobs.gather(-1, top)
    rest = (1 - chosen.exp().sum(-1, keepdim=True)).clamp_min(1e-6).log()
    return torch.cat([chosen, rest], -1)
