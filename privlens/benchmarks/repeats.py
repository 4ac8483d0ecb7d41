"""How well a model knows a list of secrets, by how often it was trained on each; controls are the rows with 0 repeats."""

import statistics
from collections.abc import Iterator, Sequence

from privlens.deactivation import Surroundings, recalls
from privlens.memorization.check import exposure_bits
from privlens.models.language_model import LanguageModel
from privlens.secrets import ListedSecret


def by_repeats(lm: LanguageModel, listed: Sequence[ListedSecret], seed: int) -> Iterator[dict[str, float | int | None]]:
    """A row for every number of repeats: shares of greedy matches, MA, mean NLL in nats/token, mean exposure in bits.

    `reworded_match` counts the first reworded prompt, None where the list has none.
    """
    for repeats in sorted({row.repeats or 0 for row in listed}):
        own = [row for row in listed if (row.repeats or 0) == repeats]
        states = recalls(lm, [row.secret for row in own], (), Surroundings(seed=seed))
        reworded = [type(row.secret)(row.reworded[0], row.secret.value) for row in own if row.reworded]
        again = recalls(lm, reworded, (), Surroundings(seed=seed))
        yield {
            "repeats": repeats, "n": len(own),
            "greedy_match": statistics.mean(state.greedy_match for state in states),
            "memorization_accuracy": statistics.mean(state.memorization_accuracy for state in states),
            "nll": statistics.mean(state.nll for state in states),
            "exposure_bits": statistics.mean(exposure_bits(lm, row.secret, seed=seed)[0] for row in own),
            "reworded_match": statistics.mean(state.greedy_match for state in again) if again else None,
        }  # fmt: skip
