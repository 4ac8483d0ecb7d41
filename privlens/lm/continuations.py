"""The next-token logits of many continuations of a prompt, or of some prompts of one length, token by token."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import LOGITS_AT_ONCE

ROWS_AT_ONCE = 1024
"""Continuations in one batch: more need more memory for their keys and values, and on a CPU are hardly faster."""


class Continuations:
    """Continuations of prompts, each of which goes on from one of those before. The caller holds the model's lock.

    The prompts have one length, so that nothing is padded and no position shifts.

    With `cached` keys and values are kept from token to token (by default where the model can repeat them); without, every text
    is run in full, in parts where memory runs out.
    """

    def __init__(self, lm: LanguageModel, prompts: Sequence[Sequence[int]], cached: bool | None = None) -> None:
        self.lm = lm
        self.texts = [tuple(prompt) for prompt in prompts]
        self.is_cached = lm.can_reuse_prefix if cached is None else cached
        self.cache: Any = None
        self.n_cached = 0

    def start(self) -> Tensor:
        """[prompts, V] after the prompts, with one of which each of them begins."""
        return self._read(self.texts) if self.is_cached else self._whole()

    def go_on(self, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """[n, V] after a further token of each of n continuations.

        Args:
            rows: from which of the continuations before each of them goes on; one may go on several times or not at all.
        """
        self.texts = [(*self.texts[row], token) for row, token in zip(rows, tokens, strict=True)]
        if not self.is_cached:
            return self._whole()
        if list(rows) != list(range(self.n_cached)):
            self.cache.batch_select_indices(torch.tensor(rows, device=self.lm.device))
        return self._read([(token,) for token in tokens])

    def follow(self, rows: Sequence[int], tokens: Sequence[int]) -> tuple[list[int], Tensor]:
        """A further token of each of n continuations, where those that are the same so far are run as one.

        Returns:
            The row of each of the n in the logits, and the logits [different ones, V].
        """
        begun: dict[tuple[int, int], int] = {}
        row_of = [begun.setdefault(pair, len(begun)) for pair in zip(rows, tokens, strict=True)]
        return row_of, self.go_on([row for row, _ in begun], [token for _, token in begun])

    def _read(self, added: Sequence[Sequence[int]]) -> Tensor:
        ids = torch.tensor(added, device=self.lm.device)
        self.n_cached = len(ids)
        output = self.lm.model(input_ids=ids, past_key_values=self.cache, use_cache=True)
        self.cache = output.past_key_values
        return output.logits[:, -1].float()  # type: ignore[no-any-return]

    def _whole(self) -> Tensor:
        def last(texts: Sequence[tuple[int, ...]]) -> list[Tensor]:
            return list(self.lm.logits(*self.lm.padded(texts))[:, -1])

        return torch.stack(in_parts(last, self.texts))


def together(lm: LanguageModel, prompts: Sequence[Sequence[int]], n_rows: Sequence[int]) -> Iterator[list[int]]:
    """Which prompts are continued in one batch: those of one length, the same ones side by side, as far as memory should do.

    Args:
        n_rows: how many continuations each prompt has at most.
    """
    most = min(ROWS_AT_ONCE, LOGITS_AT_ONCE // lm.n_vocabulary)
    batch: list[int] = []
    for index in sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), tuple(prompts[index]))):
        is_full = sum(n_rows[other] for other in batch) + n_rows[index] > most
        if batch and (is_full or len(prompts[batch[0]]) != len(prompts[index])):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
