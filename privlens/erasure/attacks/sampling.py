"""Attacks that let the model write: sampled continuations, and greedy ones behind other prompts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from privlens.erasure.attacks.setup import Array, AttackSetup, Hits, Scores
from privlens.lm.model import LanguageModel
from privlens.types import Secret


def sampling(siege: AttackSetup) -> Scores:
    """Sampled continuations at temperature 1: is any of them the value?"""

    def drawn(lm: LanguageModel, values: Sequence[Secret]) -> Array:
        written = _written(siege, lm, values, [values[0].prompt] * siege.samples, siege.seed)
        return np.asarray(np.max(written, 0, keepdims=True).T, dtype=np.float64)

    before = [drawn(siege.before, values[:1]) for values in siege.contenders]
    after = [drawn(siege.after, values) for values in siege.contenders]
    return Scores(before, after, f"share of values that one of {siege.samples} sampled continuations is")


def rewording(siege: AttackSetup) -> Scores:
    """Greedy decoding behind other prompts for the same value: the share of prompts that write it."""
    asked = [(values, prompts) for values, prompts in zip(siege.contenders, siege.reworded, strict=True) if prompts]

    def share(lm: LanguageModel, values: Sequence[Secret], prompts: Sequence[str]) -> Array:
        written = _written(siege, lm, values, prompts, None)
        return np.asarray(np.mean(written, 0, keepdims=True).T, dtype=np.float64)

    before = [share(siege.before, values[:1], prompts) for values, prompts in asked]
    after = [share(siege.after, values, prompts) for values, prompts in asked]
    n = sum(len(prompts) for _, prompts in asked)
    return Scores(before, after, f"share of {n} reworded prompts whose greedy continuation is the value")


def _written(siege: AttackSetup, lm: LanguageModel, values: Sequence[Secret], prompts: Sequence[str], seed: int | None) -> Hits:
    """[prompts, values] bool: whether the model goes on with the value, word for word; sampled from a seed, or greedily."""
    encoded = {prompt: list(map(lm.encode, _behind(siege, prompt, values))) for prompt in dict.fromkeys(prompts)}
    longest = max(len(one.value_ids) for each in encoded.values() for one in each)
    texts = lm.generate([encoded[prompt][0].prompt_ids for prompt in prompts], longest, seed=seed, stop=siege.stop)
    hits = [
        [tuple(text[: len(one.value_ids)]) == one.value_ids for one in encoded[prompt]]
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    found: Hits = np.array(hits, dtype=bool)
    return found


def _behind(siege: AttackSetup, prompt: str, values: Sequence[Secret]) -> list[Secret]:
    """The values behind a prompt, all attached to it or behind a space as the first of them is."""
    target = values[0] if prompt == values[0].prompt else replace(values[0], prompt=prompt, attached=None)
    settled = siege.before.settled(target)
    return [settled, *(settled.with_value(value.value.strip()) for value in values[1:])]
