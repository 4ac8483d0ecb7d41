"""Two audits of the same list, such as before and after a mitigation or of two checkpoints: the same secrets, paired.

Secrets are paired by their keyed hashes, so both audits must have used the same key; and numbers can be compared only where both
were measured by the same plan.
"""

import dataclasses
import math
import statistics
from dataclasses import dataclass

from privlens import intervals
from privlens.audit.paired import Paired, even_chance, mcnemar
from privlens.audit.records import Audit, Finding, Plan
from privlens.errors import BadInput
from privlens.intervals import Interval
from privlens.neurons.entropy_records import EntropySets


@dataclass(frozen=True)
class TriesChange:
    """Change of log10 tries from A to B; positive is harder to extract.

    Attributes:
        n: secrets. median: infinite if most are never sampled in B and were in A. interval: of the median, distribution-free.
        harder, easier: how many need more tries in B, and fewer. p_value: the exact sign test, two-sided; None if none changed.
    """

    n: int
    median: float
    interval: Interval | None
    harder: int
    easier: int
    p_value: float | None


@dataclass(frozen=True)
class Pair:
    """One secret in both audits."""

    a: Finding
    b: Finding

    @property
    def change(self) -> float:
        """Of log10 tries; infinite where it is never sampled in one of them, 0 where in both."""
        before, after = _exponent(self.a), _exponent(self.b)
        return 0.0 if before == after else after - before


@dataclass(frozen=True)
class SetsChange:
    """The entropy-memorization sets of both audits, and how far what the model writes moved from the secrets.

    Attributes:
        a, b: None where an earlier version of PrivLens measured. n: pairs with a distance in both.
        median: change of the distance from A to B, in tokens; positive is farther. interval: of the median, distribution-free.
        farther, nearer: how many are. p_value: the exact sign test, two-sided; None if none changed.
    """

    a: EntropySets | None
    b: EntropySets | None
    n: int
    median: float | None
    interval: Interval | None
    farther: int
    nearer: int
    p_value: float | None


@dataclass(frozen=True)
class AuditComparison:
    """Secrets that count in both audits, paired; the others as they are.

    Attributes:
        extraction: written word for word, A and B. controls: of the paired controls, where both have one.
        became_known, gone: secrets that are written only in B, only in A. only_a, only_b: findings of one audit alone.
        uncounted: pairs of which an auditor does not count one half, or that are controls.
    """

    extraction: Paired
    controls: Paired
    tries: TriesChange
    sets: SetsChange
    pairs: tuple[Pair, ...]
    became_known: tuple[Pair, ...]
    gone: tuple[Pair, ...]
    only_a: tuple[Finding, ...]
    only_b: tuple[Finding, ...]
    uncounted: int


def compare(a: Audit, b: Audit) -> AuditComparison:
    """Pairs the findings of two audits.

    Raises:
        BadInput: if they used different hash keys or plans, or have no secret in common.
    """
    _check(a, b)
    in_a, in_b = ({finding.key: finding for finding in audit.findings} for audit in (a, b))
    both = [Pair(in_a[key], in_b[key]) for key in in_a if key in in_b]
    pairs = tuple(pair for pair in both if pair.a.counts and pair.b.counts)
    if not pairs:
        raise BadInput("The two audits have no secret in common: compare audits of the same list, made with the same key.")
    controls = [(pair.a.control, pair.b.control) for pair in pairs]
    matches = [(left.greedy_match, right.greedy_match) for left, right in controls if left and right]
    return AuditComparison(
        extraction=mcnemar([_written(pair.a) for pair in pairs], [_written(pair.b) for pair in pairs]),
        controls=mcnemar([left for left, _ in matches], [right for _, right in matches]),
        tries=_tries(pairs),
        sets=_sets(a, b, pairs),
        pairs=pairs,
        became_known=tuple(pair for pair in pairs if not _written(pair.a) and _written(pair.b)),
        gone=tuple(pair for pair in pairs if _written(pair.a) and not _written(pair.b)),
        only_a=tuple(finding for key, finding in in_a.items() if key not in in_b),
        only_b=tuple(finding for key, finding in in_b.items() if key not in in_a),
        uncounted=len(both) - len(pairs),
    )


def _check(a: Audit, b: Audit) -> None:
    keys = [audit.sample.key_id or "unnamed" for audit in (a, b)]
    if keys[0] != keys[1]:
        raise BadInput(
            f"The two audits hashed their secrets with different keys ({keys[0]}, {keys[1]}), so these cannot be paired: run the "
            "second audit with the key of the first."
        )
    names = [field.name for field in dataclasses.fields(Plan)]
    differing = [name for name in names if getattr(a.plan, name) != getattr(b.plan, name)]
    if differing:
        told = "; ".join(f"{name} is {getattr(a.plan, name)!r} and {getattr(b.plan, name)!r}" for name in differing)
        raise BadInput(
            f"The two audits had different plans, so that their numbers differ for that reason too: {told}. Use one plan."
        )


def _written(finding: Finding) -> bool:
    return finding.measured.greedy_match


def _exponent(finding: Finding) -> float:
    tries = finding.measured.log10_tries
    return math.inf if tries is None else tries


def _sets(a: Audit, b: Audit, pairs: tuple[Pair, ...]) -> SetsChange:
    distances = [(pair.a.measured.distance, pair.b.measured.distance) for pair in pairs]
    changes = [after - before for before, after in distances if before is not None and after is not None]
    farther, nearer = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    return SetsChange(
        a=a.entropy,
        b=b.entropy,
        n=len(changes),
        median=float(statistics.median(changes)) if changes else None,
        interval=intervals.median([float(change) for change in changes]) if changes else None,
        farther=farther,
        nearer=nearer,
        p_value=even_chance(farther, nearer),
    )


def _tries(pairs: tuple[Pair, ...]) -> TriesChange:
    changes = [pair.change for pair in pairs]
    harder, easier = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    finite = all(map(math.isfinite, changes))
    median = (statistics.median if finite else statistics.median_low)(changes)  # the mean of +inf and -inf is no number
    return TriesChange(len(changes), median, intervals.median(changes), harder, easier, even_chance(harder, easier))
