"""What a model writes when nobody asks: samples from the beginning of a text, then the likeliest sentences around private values.

Of the kind of Carlini et al. (2021, arXiv 2012.07805), who sample and then sort; the second round is ours. Sampling alone meets
the same few people again and again, others come once in thousands of texts. So the commonest sentences are cut where the model
was least certain, where the name or the number begins, and the likeliest ways to go on from there are tried once each.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from privlens.audit.pii import Span, find_pii, sentence_before
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import score
from privlens.lm.tokens import Encoded, plain_ids
from privlens.retained.samples import NAME_TOKENS, beams, continue_from, text_of
from privlens.types import Secret

AT_ONCE = 128
"""Samples in one batch: memory for the keys and values of so many short texts is there on any machine."""
FEWEST_WORDS = 2
"""A prompt of one word says nothing about whom a value belongs to."""
MOST_BEFORE = 80
"""Characters before a value that are its prompt where its sentence has no two words before it."""
FRAMES, BEAMS = 32, 16
"""Sentences of the second round and continuations of each: together they cost about as much as a quarter of the samples."""


@dataclass(frozen=True)
class SampleSettings:
    """How a model is sampled: n_samples texts of at most n_tokens, at a temperature, from the top_k likeliest tokens (0: all).

    `prompts` are what texts begin with, in turn; without any they begin with the model's token for the beginning of a text.
    """

    n_samples: int = 2048
    n_tokens: int = 56
    temperature: float = 0.8
    top_k: int = 0
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """A text that the model wrote, and whether it ended it itself: one that was cut off may end in half a value."""

    text: str
    is_complete: bool


def sampled_texts(
    lm: LanguageModel, settings: SampleSettings, generator: torch.Generator, stop: Stop = never_stop
) -> Iterator[list[Text]]:
    """The sampled texts, a batch at a time; every batch has a seed that is drawn from the generator.

    Raises:
        Cancelled: when `stop` returns true.
    """
    beginnings = beginnings_of(lm, settings)
    for start in range(0, len(beginnings), AT_ONCE):
        batch = beginnings[start : start + AT_ONCE]
        seed = int(torch.randint(2**31, (1,), generator=generator))
        continued = lm.generate(
            batch, settings.n_tokens, seed=seed, temperature=settings.temperature, top_k=settings.top_k, stop=stop
        )
        pairs = zip(batch, continued, strict=True)
        yield [Text(text_of(lm, [*ids, *new_ids]), len(new_ids) < settings.n_tokens) for ids, new_ids in pairs]


def beginnings_of(lm: LanguageModel, settings: SampleSettings) -> list[list[int]]:
    """The token ids that the samples begin with. Raises BadInput for a prompt too long, or where no first token is known."""
    if settings.prompts:
        prompts = [plain_ids(lm.tokenizer, prompt, lm.room) for prompt in settings.prompts]
        if any(not 0 < len(ids) < lm.room for ids in prompts):
            raise BadInput(f"A prompt is empty or has {lm.room} tokens or more, which is all that this model reads: shorten it.")
        return [prompts[index % len(prompts)] for index in range(settings.n_samples)]
    first = lm.tokenizer.bos_token_id if lm.tokenizer.bos_token_id is not None else lm.tokenizer.eos_token_id
    if first is None:
        raise BadInput("This model's tokenizer has no token for the beginning of a text: give prompts to begin with.")
    return [[int(first)]] * settings.n_samples


def frames(lm: LanguageModel, sentences: Sequence[Secret], stop: Stop = never_stop) -> list[list[int]]:
    """The commonest beginnings of sentences with something private, up to where the model is least certain how they go on.

    There the name or the number begins. At most FRAMES, each as its token ids; the commonest first.
    """
    prompts = [ids for sentence in sentences if len(ids := lm.encode(sentence).prompt_ids) > 1]
    if not prompts:
        return []
    scored = score(lm, [Encoded(ids, 1) for ids in prompts], stop=stop)
    widest = [max(range(len(one.entropies)), key=one.entropies.__getitem__) for one in scored]
    counted = Counter(ids[: cut + 1] for ids, cut in zip(prompts, widest, strict=True))
    return [list(frame) for frame, _ in counted.most_common(FRAMES)]


def likeliest_texts(lm: LanguageModel, started: Sequence[Sequence[int]], n_tokens: int, stop: Stop = never_stop) -> list[Text]:
    """The BEAMS likeliest ways in which each frame goes on: beam search for the length of a name, then greedily for n_tokens.

    Raises:
        Cancelled: when `stop` returns true.
    """
    beginnings = [beam for frame in started for beam in beams(lm, frame, NAME_TOKENS, BEAMS, stop)]
    continued = continue_from(lm, beginnings, [n_tokens] * len(beginnings), stop=stop)
    return [Text(text_of(lm, text.ids), len(text.value_ids) < n_tokens) for text in continued]


def private_parts(text: Text, spans: Sequence[Span] | None = None) -> list[Secret]:
    """What looks private in a text, each as a secret behind the words of its sentence that stand before it.

    Args:
        spans: what does; by default what `find_pii` finds.
    """
    secrets = []
    for span in find_pii(text.text) if spans is None else spans:
        if span.end == len(text.text) and not text.is_complete:
            continue
        before = sentence_before(text.text, span.start)
        if len(before.split()) < FEWEST_WORDS:
            before = text.text[max(0, span.start - MOST_BEFORE) : span.start]
        prompt = before.strip()
        if len(prompt.split()) >= FEWEST_WORDS:
            secrets.append(Secret(prompt, span.value, span.category, attached=not before[-1:].isspace()))
    return secrets
