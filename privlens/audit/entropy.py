"""How far continuations are from the secrets, against the entropy of the secrets' tokens: of sets of secrets, of no single one.

The entropy of a set needs the tokens of its values together. An audit stores neither values nor tokens nor the entropy of one
value: that of a four-digit code which is all one digit is 0, and leaves ten codes of ten thousand. So it is computed when the
audit ends, from the list, which a run holds anyway, and the stored distances; and sets of few secrets are left out.

Source: Huang et al., the Entropy-Memorization Law (arXiv 2507.06056), by way of `neurons.entropy_memorization`.
"""

from collections.abc import Sequence

from privlens.audit.records import Finding
from privlens.audit.sample import SampledSecret
from privlens.lm.model import LanguageModel
from privlens.neurons.entropy_memorization import entropy_sets
from privlens.neurons.entropy_records import EntropySets

FEWEST_IN_SET = 5
"""Secrets that share an entropy, so that it tells of one of them only to somebody who knows all others. Statistical offices
withhold cells of a table below 3 to 10 people for the same reason (the threshold rule); which number is ours."""


def entropy_of(lm: LanguageModel, secrets: Sequence[SampledSecret], findings: Sequence[Finding], seed: int) -> EntropySets | None:
    """The sets of the findings that count.

    Args:
        secrets: of the list that was audited, with their values. seed: of the deals that the correlation is compared with.

    Returns:
        None where a finding was stored by a version that counted no distance: sets without it would be others.
    """
    counted = [finding for finding in findings if finding.counts]
    distances = [finding.measured.distance for finding in counted if finding.measured.distance is not None]
    if len(distances) < len(counted):
        return None
    secret_of = {sampled.key: sampled.secret for sampled in secrets}
    values = [lm.encode(lm.settled(secret_of[finding.key])).value_ids for finding in counted]
    return entropy_sets(distances, values, seed, FEWEST_IN_SET)
