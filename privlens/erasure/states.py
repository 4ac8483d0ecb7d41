"""Each target before and after an erasure: what is written, how likely it is, how exposed it is."""

from collections.abc import Sequence
from dataclasses import replace

from privlens.memorization.check import exposure_bits, recall
from privlens.models.language_model import LanguageModel, Stop, never
from privlens.models.scoring import score
from privlens.outcomes import Effect, Recall
from privlens.records import Secret

EXTRA_TOKENS = 8
"""Texts run so many tokens past the value, to show what follows."""


def effects(
    before: LanguageModel, after: LanguageModel, targets: Sequence[Secret], seed: int = 0, stop: Stop = never
) -> list[Effect]:
    """Greedy text, recall and exposure of every target in both models. Raises Cancelled when `stop` said so."""
    first, second = (_states(lm, targets, seed, stop) for lm in (before, after))
    return [Effect(*parts) for parts in zip(targets, first, second, strict=True)]


def _states(lm: LanguageModel, targets: Sequence[Secret], seed: int, stop: Stop) -> list[Recall]:
    encoded = [lm.encode(target) for target in targets]
    longest = max((len(one.value_ids) for one in encoded), default=0) + EXTRA_TOKENS
    found = []
    for target, one, scored in zip(targets, encoded, score(lm, encoded, stop=stop), strict=True):
        [written] = lm.generate([one.prompt_ids], longest, stop=stop)
        bits, _ = exposure_bits(lm, target, seed=seed, stop=stop)
        found.append(replace(recall(lm, one, scored), text=str(lm.tokenizer.decode(written)), exposure_bits=bits))
    return found
