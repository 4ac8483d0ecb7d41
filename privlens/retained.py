"""Retained text: what must stay as it is while secrets are switched off or erased.

By default the prompts' ordinary tokens, the other listed secrets, and samples that the model itself wrote: half of them from
nothing, half from beginnings of the targets' prompts, where the secrets' neighbours live. A person may add text of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from privlens.models.language_model import LanguageModel, Stop, never
from privlens.models.text import Encoded, plain_ids
from privlens.records import Secret

TEXT_TOKENS = 64
"""A paragraph of the person's own is cut after so many tokens."""
TOP = 64
"""Next-token distributions are kept as their TOP most likely tokens and one bucket for the rest."""
SAMPLES_AT_ONCE = 64
"""Samples in one batch."""
PAST_VALUE = 4
"""Neighbours run so many tokens past where the target's value would end."""
PROMPT_END = 5
"""A target's prompt is recognised in other text by its last tokens, at most so many."""


def own_samples(
    lm: LanguageModel, targets: Sequence[Encoded], n_samples: int, n_tokens: int, seed: int, stop: Stop = never
) -> list[list[int]]:
    """Texts the model writes at temperature 1, token ids, each with what it was begun with; the targets' prompts in turn."""
    start = lm.tokenizer.bos_token_id if lm.tokenizer.bos_token_id is not None else lm.tokenizer.eos_token_id
    prompts = [targets[at // 2 % len(targets)].prompt_ids for at in range(n_samples)]
    generator = torch.Generator().manual_seed(seed)
    cuts = [int(torch.randint(1, len(prompt) + 1, (1,), generator=generator)) for prompt in prompts]
    begin = [prompts[0][0] if start is None else int(start)]
    begun = [begin if at % 2 else list(prompt[:cut]) for at, (prompt, cut) in enumerate(zip(prompts, cuts, strict=True))]
    written = []
    for at in range(0, n_samples, SAMPLES_AT_ONCE):
        written += lm.generate(begun[at : at + SAMPLES_AT_ONCE], n_tokens, seed=seed + at, stop=stop)
    return [[*first, *rest] for first, rest in zip(begun, written, strict=True)]


def neighbours(lm: LanguageModel, targets: Sequence[Encoded], n_each: int, seed: int, stop: Stop = never) -> list[list[int]]:
    """Texts of the targets' own kind: their prompts, cut where the model is least sure how they go on, and its own way on.

    A prompt's most uncertain place is where its name or number begins, so the model goes on with others of that place, those it
    has memorised among them, and writes their values. Half of the samples are drawn at temperature 1, half nearer to what the
    model likes best. Token ids; n_each for every target.

    Raises:
        Cancelled: when `stop` said so.
    """
    generator, begun = torch.Generator().manual_seed(seed), []
    for target in targets:
        uncertain = _entropies(lm, target.prompt_ids).square() + 1e-6
        for cut in torch.multinomial(uncertain, n_each, replacement=True, generator=generator).tolist():
            begun.append((list(target.prompt_ids[: cut + 1]), len(target.ids) - cut + PAST_VALUE))
    found: list[list[int]] = []
    for half, temperature in enumerate((1.0, 0.85)):
        own = sorted(begun[half::2], key=lambda one: (len(one[0]), one[1]))
        for at in range(0, len(own), SAMPLES_AT_ONCE):
            batch = own[at : at + SAMPLES_AT_ONCE]
            longest = max(length for _, length in batch)
            prompts = [first for first, _ in batch]
            written = lm.generate(prompts, longest, seed=seed + at + half, temperature=temperature, stop=stop)
            found += [[*first, *rest] for first, rest in zip(prompts, written, strict=True)]
    return found


def _entropies(lm: LanguageModel, prompt: Sequence[int]) -> Tensor:
    """Entropy of what the model expects behind each token of a prompt but the last, nats, on the CPU; of a single token 1."""
    if len(prompt) < 2:
        return torch.ones(1)
    with torch.no_grad():
        logprobs = lm.logits(*lm.padded([prompt[:-1]]))[0].log_softmax(-1)
    return -(logprobs.exp() * logprobs).nan_to_num().sum(-1).cpu()


def without_values(lm: LanguageModel, rows: Sequence[Sequence[int]], targets: Sequence[Encoded]) -> list[list[int]]:
    """The rows without repeats, cut where a target's prompt ends in them, and without those in which a target's value stands."""
    ends = {target.prompt_ids[-PROMPT_END:] for target in targets}
    secrets = [str(lm.tokenizer.decode(list(target.value_ids))).strip() for target in targets]
    found: dict[tuple[int, ...], None] = {}
    for row in rows:
        stops = (at + len(end) for end in ends for at in range(len(row) - len(end) + 1) if tuple(row[at : at + len(end)]) == end)
        found[tuple(row[: min(stops, default=len(row))])] = None
    texts = ((row, str(lm.tokenizer.decode(list(row)))) for row in found if len(row) > 1)
    return [list(row) for row, text in texts if not any(secret in text for secret in secrets)]


def retained_rows(
    lm: LanguageModel, targets: Sequence[Secret], others: Sequence[Secret], texts: Sequence[str],
    n_samples: int, n_tokens: int, seed: int, stop: Stop = never,
) -> list[list[int]]:  # fmt: skip
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
    rows += [plain_ids(lm.tokenizer, text, TEXT_TOKENS) for text in texts]
    rows += own_samples(lm, encoded, n_samples, n_tokens, seed, stop)
    secrets = [str(lm.tokenizer.decode(list(target.value_ids))).strip() for target in encoded]

    def free(row: tuple[int, ...]) -> bool:
        text = str(lm.tokenizer.decode(list(row)))
        return not any(secret in text for secret in secrets)

    return [list(row) for row in dict.fromkeys(map(tuple, rows)) if len(row) > 1 and free(row)]


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
    tops, logprobs = [], []
    with torch.no_grad():
        for part, part_mask in zip(ids.split(at_once), mask.split(at_once), strict=True):
            full = lm.logits(part, part_mask).log_softmax(-1)
            tops.append(full.topk(min(TOP, full.shape[-1] - 1)).indices)
            logprobs.append(_bucketed(full, tops[-1]))
    return Kept(ids, mask, torch.cat(tops), torch.cat(logprobs))


def _bucketed(logprobs: Tensor, top: Tensor) -> Tensor:
    """[..., V] -> [..., TOP + 1]: log-probabilities of the chosen tokens, and of all others together."""
    chosen = logprobs.gather(-1, top)
    rest = (1 - chosen.exp().sum(-1, keepdim=True)).clamp_min(1e-6).log()
    return torch.cat([chosen, rest], -1)
