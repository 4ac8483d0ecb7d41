"""What a model writes by itself: samples, the likeliest ways on, what it knows by heart, neighbours of a secret.

Half of the samples begin from nothing, half from beginnings of the targets' prompts, where the secrets' neighbours live. Beam
search finds more of what the model knows by heart than sampling does: every beginning is tried once, the likeliest first.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from privlens.errors import Cancelled
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded
from privlens.value_match import holds_half

SAMPLES_AT_ONCE = 64
"""Samples in one batch."""
PAST_VALUE = 4
"""Neighbours run so many tokens past where the target's value would end."""
NAME_TOKENS = 5
"""Beams branch for so many tokens, as many as a name takes; then the model goes on greedily."""
FROM_NOTHING = 4
"""From nothing there are so many times as many beams: every text begins there."""
SUREST = 0.25
"""The share of what the model wrote that it is taken to know by heart."""


def own_samples(
    lm: LanguageModel, targets: Sequence[Encoded], n_samples: int, n_tokens: int, seed: int, stop: Stop = never_stop
) -> list[list[int]]:
    """Texts the model writes at temperature 1, token ids, each with what it was begun with; the targets' prompts in turn."""
    prompts = [targets[at // 2 % len(targets)].prompt_ids for at in range(n_samples)]
    generator = torch.Generator().manual_seed(seed)
    cuts = [int(torch.randint(1, len(prompt) + 1, (1,), generator=generator)) for prompt in prompts]
    begin = bos_ids(lm, targets)
    begun = [begin if at % 2 else list(prompt[:cut]) for at, (prompt, cut) in enumerate(zip(prompts, cuts, strict=True))]
    return [list(one.ids) for one in continue_from(lm, begun, [n_tokens] * n_samples, seed, stop=stop)]


def continue_from(
    lm: LanguageModel,
    begun: Sequence[Sequence[int]],
    lengths: Sequence[int],
    seed: int | None = None,
    temperature: float = 1.0,
    stop: Stop = never_stop,
) -> list[Encoded]:
    """How the model goes on behind each beginning, which is the prompt of what comes back; SAMPLES_AT_ONCE in a batch.

    Args:
        lengths: new tokens of each, at most; a batch is written as far as its longest.
        seed: None for greedy decoding.

    Raises:
        Cancelled: when `stop` said so.
    """
    written: list[list[int]] = []
    for at in range(0, len(begun), SAMPLES_AT_ONCE):
        part, own = slice(at, at + SAMPLES_AT_ONCE), None if seed is None else seed + at
        written += lm.generate(begun[part], max(lengths[part]), seed=own, temperature=temperature, stop=stop)
    return [Encoded((*first, *rest)[: lm.room], len(first)) for first, rest in zip(begun, written, strict=True)]


def bos_ids(lm: LanguageModel, targets: Sequence[Encoded]) -> list[int]:
    """What a text begins with when it begins with nothing; a prompt's first token where the tokenizer has no such token."""
    start = lm.tokenizer.bos_token_id if lm.tokenizer.bos_token_id is not None else lm.tokenizer.eos_token_id
    return [targets[0].prompt_ids[0] if start is None else int(start)]


def unconditional_samples(
    lm: LanguageModel, targets: Sequence[Encoded], n_texts: int, n_tokens: int, seed: int, stop: Stop = never_stop
) -> list[list[int]]:
    """Texts the model writes at temperature 1 without a prompt, token ids, each with what it was begun with."""
    begun = [bos_ids(lm, targets)] * n_texts
    return [list(one.ids) for one in continue_from(lm, begun, [n_tokens] * n_texts, seed, stop=stop)]


def beams(lm: LanguageModel, begun: Sequence[int], n_tokens: int, width: int, stop: Stop = never_stop) -> list[list[int]]:
    """The `width` likeliest ways to go on for n_tokens that a beam search finds, likeliest first; token ids, with the beginning.

    Raises:
        Cancelled: when `stop` said so.
    """
    rows, logprobs = [list(begun)], torch.zeros(1, device=lm.device, dtype=torch.float32)

    def ahead(part: Sequence[list[int]]) -> list[Tensor]:
        return list(lm.logits(*lm.padded(part))[:, -1].float().log_softmax(-1))

    for _ in range(min(n_tokens, lm.room - len(begun))):
        if stop():
            raise Cancelled("Stopped while reading the retained text; nothing was changed.")
        with torch.no_grad():
            parts = [rows[at : at + SAMPLES_AT_ONCE] for at in range(0, len(rows), SAMPLES_AT_ONCE)]
            total = logprobs[:, None] + torch.stack([one for part in parts for one in in_parts(ahead, part)])
        logprobs, places = total.flatten().topk(min(width, total.numel()))
        rows = [[*rows[place // total.shape[1]], place % total.shape[1]] for place in places.tolist()]
    return rows


def memorized_texts(lm: LanguageModel, targets: Sequence[Encoded], width: int, stop: Stop = never_stop) -> list[list[int]]:
    """What the model knows by heart of the targets' kind: it begins as it likes best, every way once, and goes on greedily.

    What it makes up it is less sure of than of what it has learnt, so the surest are kept. Begun with each target's prompt up to
    its most uncertain place (the same beginning only once), and with nothing. Sampling draws a name that was learnt often again
    and again, and another hardly ever. Token ids, with their beginnings; none for a width of 0, and none in which a target's
    value stands, or half of a long one: that is the target, reached from elsewhere.

    Raises:
        Cancelled: when `stop` said so.
    """
    if not width:
        return []
    lengths = {tuple(bos_ids(lm, targets)): max(len(target.ids) for target in targets)}
    for target in targets:
        first = target.prompt_ids[: 1 + int(_entropies(lm, target.prompt_ids).argmax())]
        lengths[first] = max(lengths.get(first, 0), len(target.ids) - len(first))
    found: list[Encoded] = []
    for at, (first, length) in enumerate(lengths.items()):
        begun = beams(lm, first, min(NAME_TOKENS, length), width * (1 if at else FROM_NOTHING), stop)
        rest = max(0, length - NAME_TOKENS) + PAST_VALUE
        found += [one for one in continue_from(lm, begun, [rest] * len(begun), stop=stop) if one.value_ids]
    holds = holds_half(text_of(lm, target.value_ids) for target in targets)
    return most_confident(lm, [row for row in found if not holds(text_of(lm, row.ids))], stop)


def most_confident(lm: LanguageModel, written: Sequence[Encoded], stop: Stop = never_stop) -> list[list[int]]:
    """The SUREST of the texts by the mean log-probability of what was written behind their beginnings, the surest first; ids."""
    sure = [sum(one.logprobs) / len(one.logprobs) for one in score(lm, written, stop=stop)]
    order = sorted(range(len(written)), key=lambda at: -sure[at])[: math.ceil(SUREST * len(written))]
    return [list(written[at].ids) for at in order]


def text_of(lm: LanguageModel, ids: Sequence[int]) -> str:
    """What token ids say without special tokens, whose names are no words of the text: a line break stands for each."""
    special, parts = set(lm.tokenizer.all_special_ids), [list[int]()]
    for token in ids:
        if token in special:
            parts.append([])
        else:
            parts[-1].append(token)
    return "\n".join(str(lm.tokenizer.decode(part)) for part in parts)


def neighbours(lm: LanguageModel, targets: Sequence[Encoded], n_each: int, seed: int, stop: Stop = never_stop) -> list[list[int]]:
    """Texts of the targets' own kind: their prompts, cut where the model is least sure how they go on, and its own way on.

    A prompt's most uncertain place is where its name or number begins, so the model goes on with others of that place, those it
    has memorized among them, and writes their values. Half of the samples are drawn at temperature 1, half nearer to what the
    model likes best. Token ids; n_each for every target, which may be 0.

    Raises:
        Cancelled: when `stop` said so.
    """
    if not n_each:
        return []
    generator, begun = torch.Generator().manual_seed(seed), []
    for target in targets:
        uncertain = _entropies(lm, target.prompt_ids).square() + 1e-6
        for cut in torch.multinomial(uncertain, n_each, replacement=True, generator=generator).tolist():
            begun.append((list(target.prompt_ids[: cut + 1]), len(target.ids) - cut + PAST_VALUE))
    found: list[list[int]] = []
    for half, temperature in enumerate((1.0, 0.85)):
        own = sorted(begun[half::2], key=lambda one: (len(one[0]), one[1]))
        prompts, lengths = [first for first, _ in own], [length for _, length in own]
        found += [list(one.ids) for one in continue_from(lm, prompts, lengths, seed + half, temperature, stop)]
    return found


def _entropies(lm: LanguageModel, prompt: Sequence[int]) -> Tensor:
    """Entropy of what the model expects behind each token of a prompt but the last, nats, on the CPU; of a single token 1."""
    if len(prompt) < 2:
        return torch.ones(1, dtype=torch.float32)
    with torch.no_grad():
        logprobs = lm.logits(*lm.padded([prompt[:-1]]))[0].log_softmax(-1)
    return -(logprobs.exp() * logprobs).nan_to_num().sum(-1).cpu()
