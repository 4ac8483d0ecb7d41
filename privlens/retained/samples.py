"""Texts that a model generates itself: samples, the likeliest continuations, memorized texts, neighbours of a secret.

Half of the samples start from the beginning-of-text token, half from prefixes of the targets' prompts, where texts similar to the
secrets are found. Beam search finds more memorized texts than sampling does: every beginning is tried once, the likeliest first.
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
from privlens.value_match import contains_half

SAMPLES_AT_ONCE = 64
"""Samples per batch. Each batch has a seed of its own, so another size draws other samples."""
PAST_VALUE = 4
"""Neighbours run this many tokens past the end of the target's value, so values longer by more than this are cut."""
NAME_TOKENS = 5
"""Beams branch for this many tokens, about the length of a name; then the model continues greedily."""
BOS_BEAMS = 4
"""Factor by which there are more beams from the beginning-of-text token than from a prompt: every text starts there."""
MOST_OF_A_PROMPT = 0.8
"""The share of a prompt that samples may begin with; where more of it stands, the model predicts the value."""
MOST_CONFIDENT = 0.25
"""The share of the generated texts that counts as memorized. A larger one retains more of what the model only made up."""


def own_samples(
    lm: LanguageModel, targets: Sequence[Encoded], n_samples: int, n_tokens: int, seed: int, stop: Stop = never_stop
) -> list[list[int]]:
    """Texts sampled at temperature 1, as token ids with their beginnings; the targets' prompts are used in turn.

    Half of them begin with a prefix of a prompt, at least one token and at most MOST_OF_A_PROMPT.
    """
    prompts = [targets[index // 2 % len(targets)].prompt_ids for index in range(n_samples)]
    generator = torch.Generator().manual_seed(seed)
    longest = [max(1, int(MOST_OF_A_PROMPT * len(prompt))) for prompt in prompts]
    lengths = [int(torch.randint(1, most + 1, (1,), generator=generator)) for most in longest]
    prefixes = [list(prompt[:length]) for prompt, length in zip(prompts, lengths, strict=True)]
    bos = bos_ids(lm, targets)
    beginnings = [bos if index % 2 else prefix for index, prefix in enumerate(prefixes)]
    return [list(text.ids) for text in continue_from(lm, beginnings, [n_tokens] * n_samples, seed, stop=stop)]


def continue_from(
    lm: LanguageModel,
    beginnings: Sequence[Sequence[int]],
    lengths: Sequence[int],
    seed: int | None = None,
    temperature: float = 1.0,
    stop: Stop = never_stop,
) -> list[Encoded]:
    """Continues each beginning, which is the prompt of the text returned; SAMPLES_AT_ONCE in a batch.

    Args:
        lengths: maximum new tokens of each; all of a batch are continued for as long as its longest.
        seed: None for greedy decoding.

    Raises:
        Cancelled: when `stop` returns true.
    """
    continuations: list[list[int]] = []
    for start in range(0, len(beginnings), SAMPLES_AT_ONCE):
        batch = slice(start, start + SAMPLES_AT_ONCE)
        batch_seed = None if seed is None else seed + start
        continuations += lm.generate(beginnings[batch], max(lengths[batch]), seed=batch_seed, temperature=temperature, stop=stop)
    return [
        Encoded((*beginning, *continuation)[: lm.room], len(beginning))
        for beginning, continuation in zip(beginnings, continuations, strict=True)
    ]


def bos_ids(lm: LanguageModel, targets: Sequence[Encoded]) -> list[int]:
    """What an unprompted text starts with: the beginning-of-text token, or a prompt's first token if the tokenizer has none."""
    start = lm.tokenizer.bos_token_id if lm.tokenizer.bos_token_id is not None else lm.tokenizer.eos_token_id
    return [targets[0].prompt_ids[0] if start is None else int(start)]


def unconditional_samples(
    lm: LanguageModel, targets: Sequence[Encoded], n_texts: int, n_tokens: int, seed: int, stop: Stop = never_stop
) -> list[list[int]]:
    """Texts sampled at temperature 1 without a prompt, as token ids that include the first one."""
    beginnings = [bos_ids(lm, targets)] * n_texts
    return [list(text.ids) for text in continue_from(lm, beginnings, [n_tokens] * n_texts, seed, stop=stop)]


def beams(lm: LanguageModel, beginning: Sequence[int], n_tokens: int, width: int, stop: Stop = never_stop) -> list[list[int]]:
    """The `width` likeliest continuations of n_tokens found by beam search, likeliest first; token ids with the beginning.

    Raises:
        Cancelled: when `stop` returns true.
    """
    rows = [list(beginning)]
    logprobs = torch.zeros(1, device=lm.device, dtype=torch.float32)

    def next_logprobs(batch: Sequence[list[int]]) -> list[Tensor]:
        return list(lm.logits(*lm.padded(batch))[:, -1].float().log_softmax(-1))

    for _ in range(min(n_tokens, lm.room - len(beginning))):
        if stop():
            raise Cancelled("Stopped while reading the retained text; nothing was changed.")
        with torch.no_grad():
            batches = [rows[start : start + SAMPLES_AT_ONCE] for start in range(0, len(rows), SAMPLES_AT_ONCE)]
            extended = torch.stack([row for batch in batches for row in in_parts(next_logprobs, batch)])
            total = logprobs[:, None] + extended
        logprobs, indices = total.flatten().topk(min(width, total.numel()))
        rows = [[*rows[index // total.shape[1]], index % total.shape[1]] for index in indices.tolist()]
    return rows


def memorized_texts(lm: LanguageModel, targets: Sequence[Encoded], width: int, stop: Stop = never_stop) -> list[list[int]]:
    """Memorized texts of the targets' kind: the likeliest beginnings by beam search, continued greedily, the most confident kept.

    The searches start from each target's prompt up to its most uncertain position (equal prefixes only once), and from the
    beginning-of-text token. Sampling would draw a name that was learnt often again and again, and others hardly ever. The model
    is less confident of what it makes up than of what it has learnt, so the most confident texts are kept. Token ids with their
    beginnings; none for a width of 0, and none that contain a target's value, or half of a long one: that is the target itself,
    reached from another beginning.

    Raises:
        Cancelled: when `stop` returns true.
    """
    if not width:
        return []
    lengths = {tuple(bos_ids(lm, targets)): max(len(target.ids) for target in targets)}
    for target in targets:
        prefix = target.prompt_ids[: 1 + int(_entropies(lm, target.prompt_ids).argmax())]
        lengths[prefix] = max(lengths.get(prefix, 0), len(target.ids) - len(prefix))
    texts: list[Encoded] = []
    for index, (prefix, length) in enumerate(lengths.items()):
        n_beams = width * (1 if index else BOS_BEAMS)  # the first prefix is the beginning-of-text token
        beginnings = beams(lm, prefix, min(NAME_TOKENS, length), n_beams, stop)
        n_remaining = max(0, length - NAME_TOKENS) + PAST_VALUE
        continued = continue_from(lm, beginnings, [n_remaining] * len(beginnings), stop=stop)
        texts += [text for text in continued if text.value_ids]
    contains_target = contains_half(text_of(lm, target.value_ids) for target in targets)
    return most_confident(lm, [text for text in texts if not contains_target(text_of(lm, text.ids))], stop)


def most_confident(lm: LanguageModel, texts: Sequence[Encoded], stop: Stop = never_stop) -> list[list[int]]:
    """The share MOST_CONFIDENT of the texts with the highest mean log-probability after their beginnings, highest first; ids."""
    mean_logprobs = [sum(text_score.logprobs) / len(text_score.logprobs) for text_score in score(lm, texts, stop=stop)]
    ranked = sorted(range(len(texts)), key=lambda index: -mean_logprobs[index])
    return [list(texts[index].ids) for index in ranked[: math.ceil(MOST_CONFIDENT * len(texts))]]


def text_of(lm: LanguageModel, ids: Sequence[int]) -> str:
    """Token ids as text; special tokens, whose names are not part of the text, become line breaks."""
    special = set(lm.tokenizer.all_special_ids)
    parts: list[list[int]] = [[]]
    for token in ids:
        if token in special:
            parts.append([])
        else:
            parts[-1].append(token)
    return "\n".join(str(lm.tokenizer.decode(part)) for part in parts)


def neighbours(lm: LanguageModel, targets: Sequence[Encoded], n_each: int, seed: int, stop: Stop = never_stop) -> list[list[int]]:
    """Texts of the targets' kind: their prompts, cut where the model is uncertain about the next token, and continued by it.

    A prompt's most uncertain position is where its name or number begins, so the model continues with other names or numbers,
    memorized ones among them, and their values. Half of the texts are sampled at temperature 1, half at a lower one, which draws
    likelier texts. Token ids; n_each per target, which may be 0.

    Raises:
        Cancelled: when `stop` returns true.
    """
    if not n_each:
        return []
    generator = torch.Generator().manual_seed(seed)
    beginnings: list[tuple[list[int], int]] = []
    for target in targets:
        weights = _entropies(lm, target.prompt_ids).square() + 1e-6  # multinomial needs a positive sum
        for cut in torch.multinomial(weights, n_each, replacement=True, generator=generator).tolist():
            beginnings.append((list(target.prompt_ids[: cut + 1]), len(target.ids) - cut + PAST_VALUE))
    texts: list[list[int]] = []
    for half, temperature in enumerate((1.0, 0.85)):
        by_length = sorted(beginnings[half::2], key=lambda item: (len(item[0]), item[1]))
        prompts = [prompt for prompt, _ in by_length]
        lengths = [length for _, length in by_length]
        texts += [list(text.ids) for text in continue_from(lm, prompts, lengths, seed + half, temperature, stop)]
    return texts


def _entropies(lm: LanguageModel, prompt: Sequence[int]) -> Tensor:
    """Entropy of the next token after each token of a prompt but the last, nats, on the CPU; [1.0] for a single token."""
    if len(prompt) < 2:
        return torch.ones(1, dtype=torch.float32)
    with torch.no_grad():
        logprobs = lm.logits(*lm.padded([prompt[:-1]]))[0].log_softmax(-1)
    return -(logprobs.exp() * logprobs).nan_to_num().sum(-1).cpu()
