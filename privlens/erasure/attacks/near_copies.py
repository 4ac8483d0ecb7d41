"""Near copies: how much of the model's probability lies on texts that are almost the value.

A value that is no longer written may be written with one digit changed, which gives it away just as well. The mass is a lower
bound, by `memorization.near_verbatim`.
"""

from privlens.erasure.attacks.readout import encoded, read, tries_needed, within_tries
from privlens.erasure.attacks.setup import AttackSetup, Scores, counts_of
from privlens.lm.model import LanguageModel
from privlens.memorization.extraction import EVEN
from privlens.memorization.near_verbatim import Vocabulary, near_verbatim


def search(setup: AttackSetup) -> Scores:
    """The chance that a near copy of the value is among n samples."""
    pools = [encoded(setup, values) for values in setup.contenders]
    vocabulary = Vocabulary(setup.before)

    def masses(lm: LanguageModel, n_values: int | None) -> list[list[float]]:
        return [
            near_verbatim(lm, [text for _, text in pool[:n_values]], setup.edits, vocabulary=vocabulary, stop=setup.stop)
            for pool in pools
        ]

    after_masses = masses(setup.after, None)
    before, after = ([within_tries(setup, mass)[:, None] for mass in part] for part in (masses(setup.before, 1), after_masses))
    verbatim = [float(read(setup, setup.after, pool[:1]).logprobs[0]) for pool in pools]
    near = tries_needed([mass[0] for mass in after_masses])
    how = f"within {setup.tries} tries"
    return Scores(
        before,
        after,
        detail=f"chance that a text within {setup.edits} character of the value is among {setup.tries} samples, at least",
        note=f"tries for an even chance: of the value {tries_needed(verbatim)}, of a near copy at most {near}",
        counts=counts_of(how, [chance[:, 0] >= EVEN for chance in before], [chance[:, 0] >= EVEN for chance in after]),
    )
