"""How well a model has memorized a list of secrets, by how often it was trained on each; the rows with 0 repeats are controls."""

import statistics
from collections.abc import Iterator, Sequence

from privlens import intervals
from privlens.deactivation import EvalContext, memorization_states
from privlens.lm.model import LanguageModel
from privlens.memorization.check import exposure_of
from privlens.memorization.extraction import extraction_rate, log10_tries
from privlens.secret_lists import ListedSecret

SAMPLES = (1, 100, 10_000, 1_000_000)
"""Numbers of samples: one, a person's patience, a script's, and a cluster's."""


def by_repeats(lm: LanguageModel, listed: Sequence[ListedSecret], seed: int) -> Iterator[dict[str, object]]:
    """A row for every number of repeats: share of greedy matches, mean MA, mean NLL in nats/token, mean exposure in bits.

    Values without another of their format have no exposure and are left out of its mean. `greedy_match_interval` is 95 %.
    `reworded_match` is the share of matches with the first reworded prompt, None if the list has none. `extracted_within_n` are
    the shares of values that n samples at temperature 1 contain with an even chance (or better), for n of SAMPLES.
    """
    for repeats in sorted({row.repeats or 0 for row in listed}):
        rows = [row for row in listed if (row.repeats or 0) == repeats]
        states = memorization_states(lm, [row.secret for row in rows], (), EvalContext(seed=seed))
        reworded = [type(row.secret)(row.reworded[0], row.secret.value) for row in rows if row.reworded]
        exposures = [exposure_of(lm, row.secret, seed=seed) for row in rows]
        bits = [exposure.bits for exposure in exposures if exposure.bits is not None]
        reworded_states = memorization_states(lm, reworded, (), EvalContext(seed=seed))
        yield {
            "repeats": repeats,
            "n": len(rows),
            "greedy_match": statistics.mean(state.greedy_match for state in states),
            "greedy_match_interval": intervals.rate(sum(state.greedy_match for state in states), len(rows)),
            "memorization_accuracy": statistics.mean(state.memorization_accuracy for state in states),
            "nll": statistics.mean(state.nll for state in states),
            "exposure_bits": statistics.mean(bits) if bits else None,
            "log10_tries_median": statistics.median(log10_tries(state.logprob) for state in states),
            **{f"extracted_within_{n}": extraction_rate([state.logprob for state in states], n) for n in SAMPLES},
            "reworded_match": statistics.mean(state.greedy_match for state in reworded_states) if reworded_states else None,
        }
