"""The next-token logits of many continuations of one prompt, token by token."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel


class Continuations:
    """Continuations of a prompt, each of which goes on from one of those before. The caller holds the model's lock.

    With `cached` keys and values are kept from token to token (by default where the model can repeat them); without, every text
    is run in full, in parts where memory runs out.
    """

    def __init__(self, lm: LanguageModel, prompt: Sequence[int], cached: bool | None = None) -> None:
        self.lm = lm
        self.texts = [tuple(prompt)]
        self.is_cached = lm.can_reuse_prefix if cached is None else cached
        self.cache: Any = None

    def start(self) -> Tensor:
        """[1, V] after the prompt, with which all of them begin."""
        return self._read(self.texts) if self.is_cached else self._whole()

    def go_on(self, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """[n, V] after a further token of each of n continuations.

        Args:
            rows: from which of the continuations before each of them goes on; one may go on several times or not at all.
        """
        self.texts = [(*self.texts[row], token) for row, token in zip(rows, tokens, strict=True)]
        if not self.is_cached:
            return self._whole()
        self.cache.batch_select_indices(torch.tensor(rows, device=self.lm.device))
        return self._read([(token,) for token in tokens])

    def _read(self, added: Sequence[Sequence[int]]) -> Tensor:
        ids = torch.tensor(added, device=self.lm.device)
        output = self.lm.model(input_ids=ids, past_key_values=self.cache, use_cache=True)
        self.cache = output.past_key_values
        return output.logits[:, -1].float()  # type: ignore[no-any-return]

    def _whole(self) -> Tensor:
        def last(texts: Sequence[tuple[int, ...]]) -> list[Tensor]:
            return list(self.lm.logits(*self.lm.padded(texts))[:, -1])

        return torch.stack(in_parts(last, self.texts))
