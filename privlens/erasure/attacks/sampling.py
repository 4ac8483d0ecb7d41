"""Attacks that let the model write: sampled continuations, and greedy ones after other prompts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from privlens.erasure.attacks.setup import Array, AttackSetup, Hits, Scores, counts_of
from privlens.lm.model import LanguageModel
from privlens.types import Secret


def sample(setup: AttackSetup) -> Scores:
    """Sampled continuations at temperature 1: is any of them the value?"""

    def any_sample(lm: LanguageModel, values: Sequence[Secret]) -> Array:
        hits = _hits(setup, lm, values, [values[0].prompt] * setup.samples, setup.seed)
        return np.asarray(np.max(hits, 0, keepdims=True).T, dtype=np.float64)

    before = [any_sample(setup.before, values[:1]) for values in setup.contenders]
    after = [any_sample(setup.after, values) for values in setup.contenders]
    how = f"one of {setup.samples} samples"
    counts = counts_of(how, [scores[:, 0] > 0 for scores in before], [scores[:, 0] > 0 for scores in after])
    return Scores(before, after, f"share of values that one of {setup.samples} sampled continuations is", counts=counts)


def rewording(setup: AttackSetup) -> Scores:
    """Greedy decoding after other prompts for the same value: the share of prompts that write it."""
    pools = [(values, prompts) for values, prompts in zip(setup.contenders, setup.reworded, strict=True) if prompts]

    def share(lm: LanguageModel, values: Sequence[Secret], prompts: Sequence[str]) -> Array:
        hits = _hits(setup, lm, values, prompts, None)
        return np.asarray(np.mean(hits, 0, keepdims=True).T, dtype=np.float64)

    before = [share(setup.before, values[:1], prompts) for values, prompts in pools]
    after = [share(setup.after, values, prompts) for values, prompts in pools]
    n = sum(len(prompts) for _, prompts in pools)
    return Scores(before, after, f"share of {n} reworded prompts whose greedy continuation is the value")


def _hits(setup: AttackSetup, lm: LanguageModel, values: Sequence[Secret], prompts: Sequence[str], seed: int | None) -> Hits:
    """[prompts, values] bool: whether the model continues with the value, word for word; sampled from a seed, or greedily."""
    encoded = {prompt: list(map(lm.encode, _after_prompt(setup, prompt, values))) for prompt in dict.fromkeys(prompts)}
    max_tokens = max(len(text.value_ids) for texts in encoded.values() for text in texts)
    continuations = lm.generate([encoded[prompt][0].prompt_ids for prompt in prompts], max_tokens, seed=seed, stop=setup.stop)
    rows = [
        [tuple(continuation[: len(text.value_ids)]) == text.value_ids for text in encoded[prompt]]
        for prompt, continuation in zip(prompts, continuations, strict=True)
    ]
    hits: Hits = np.array(rows, dtype=bool)
    return hits


def _after_prompt(setup: AttackSetup, prompt: str, values: Sequence[Secret]) -> list[Secret]:
    """The values after a prompt, all attached to it or after a space, as the first of them is."""
    target = values[0] if prompt == values[0].prompt else replace(values[0], prompt=prompt, attached=None)
    settled = setup.before.settled(target)
    return [settled, *(settled.with_value(secret.value.strip()) for secret in values[1:])]
