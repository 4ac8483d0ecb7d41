"""How well a model knows a list of secrets, by how often it was trained on each; controls are the rows with 0 repeats."""

import statistics
from collections.abc import Iterator, Sequence

from privlens import intervals
from privlens.deactivation import EvalContext, recalls
from privlens.lm.model import LanguageModel
from privlens.memorization.check import exposure_of
from privlens.secret_lists import ListedSecret


def by_repeats(lm: LanguageModel, listed: Sequence[ListedSecret], seed: int) -> Iterator[dict[str, object]]:
    """A row for every number of repeats: shares of greedy matches, MA, mean NLL in nats/token, mean exposure in bits.

    Values without another of their format have no exposure and are left out of its mean. `greedy_match_interval` is 95 %.
    `reworded_match` counts the first reworded prompt, None where the list has none.
    """
    for repeats in sorted({row.repeats or 0 for row in listed}):
        own = [row for row in listed if (row.repeats or 0) == repeats]
        states = recalls(lm, [row.secret for row in own], (), EvalContext(seed=seed))
        reworded = [type(row.secret)(row.reworded[0], row.secret.value) for row in own if row.reworded]
        exposures = [exposure_of(lm, row.secret, seed=seed) for row in own]
        bits = [exposure.bits for exposure in exposures if exposure.bits is not None]
        again = recalls(lm, reworded, (), EvalContext(seed=seed))
        yield {
            "repeats": repeats,
            "n": len(own),
            "greedy_match": statistics.mean(state.greedy_match for state in states),
            "greedy_match_interval": intervals.rate(sum(state.greedy_match for state in states), len(own)),
            "memorization_accuracy": statistics.mean(state.memorization_accuracy for state in states),
            "nll": statistics.mean(state.nll for state in states),
            "exposure_bits": statistics.mean(bits) if bits else None,
            "reworded_match": statistics.mean(state.greedy_match for state in again) if again else None,
        }
