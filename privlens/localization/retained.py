"""Retained text: what must stay as it is while a secret is switched off.

By default the prompt's ordinary tokens, the other listed secrets, and samples that the model itself wrote: half of them from
nothing, half from beginnings of the target's prompt, where the secret's neighbours live. A person may add text of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from privlens.localization.task import Task
from privlens.models.language_model import LanguageModel
from privlens.models.memory import in_parts
from privlens.models.text import plain_ids

TEXT_TOKENS = 64
"""A paragraph of the person's own is cut after so many tokens."""
TOP = 64
"""Next-token distributions are kept as their TOP most likely tokens and one bucket for the rest."""


def own_samples(task: Task, n_samples: int, n_tokens: int) -> list[list[int]]:
    """Texts the model writes at temperature 1 from the task's seed, token ids, each with what it was begun with."""
    lm, prompt = task.lm, task.lm.encode(task.target).prompt_ids
    start = lm.tokenizer.bos_token_id if lm.tokenizer.bos_token_id is not None else lm.tokenizer.eos_token_id
    begin = [prompt[0] if start is None else int(start)]
    cuts = torch.randint(1, len(prompt) + 1, (n_samples,), generator=torch.Generator().manual_seed(task.seed)).tolist()
    begun = [begin if at % 2 else list(prompt[:cut]) for at, cut in enumerate(cuts)]
    written = lm.generate(begun, n_tokens, seed=task.seed, stop=task.stop)
    return [[*first, *rest] for first, rest in zip(begun, written, strict=True)]


def retained_rows(task: Task, n_samples: int, n_tokens: int) -> list[list[int]]:
    """All retained texts of a task as token ids, at least two tokens each, without repeats and without the secret itself."""
    lm = task.lm
    target = lm.encode(task.target)
    rows = [list(target.prompt_ids)]
    rows += [list(lm.encode(other).ids) for other in task.others]
    rows += [plain_ids(lm.tokenizer, text, TEXT_TOKENS) for text in task.texts]
    rows += own_samples(task, n_samples, n_tokens)
    secret = str(lm.tokenizer.decode(list(target.value_ids))).strip()
    return [
        list(row) for row in dict.fromkeys(map(tuple, rows)) if len(row) > 1 and secret not in str(lm.tokenizer.decode(list(row)))
    ]


@dataclass(frozen=True)
class Kept:
    """Next-token distributions of some rows with all neurons on.

    Attributes:
        ids, mask: [rows, tokens]. top: [rows, tokens, TOP] ids. logprobs: [rows, tokens, TOP + 1], the last for all others.
    """

    ids: Tensor
    mask: Tensor
    top: Tensor
    logprobs: Tensor

    def batch(self, rows: Tensor) -> "Kept":
        """Some of the rows, cut to the longest of them."""
        longest = int(self.mask[rows].sum(1).max())
        return Kept(*(part[rows, :longest] for part in (self.ids, self.mask, self.top, self.logprobs)))

    def rows(self) -> list[list[int]]:
        """The ids without padding."""
        return [row[:length] for row, length in zip(self.ids.tolist(), self.mask.sum(1).tolist(), strict=True)]

    def divergence(self, logits: Tensor) -> Tensor:
        """KL(all neurons on || these logits) in nats/token, [rows], each the mean over its row; logits [rows, tokens, V]."""
        now = _bucketed(logits.log_softmax(-1), self.top)
        per_token = (self.logprobs.exp() * (self.logprobs - now)).sum(-1)
        return (per_token * self.mask).sum(1) / self.mask.sum(1)


def keep(lm: LanguageModel, rows: Sequence[Sequence[int]], at_once: int = 32) -> Kept:
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
    return Kept(ids, mask, tops, logprobs)


def _bucketed(logprobs: Tensor, top: Tensor) -> Tensor:
    """[..., V] -> [..., TOP + 1]: log-probabilities of the chosen tokens, and of all others together."""
    chosen = logprobs.gather(-1, top)
    rest = (1 - chosen.exp().sum(-1, keepdim=True)).clamp_min(1e-6).log()
    return torch.cat([chosen, rest], -1)
