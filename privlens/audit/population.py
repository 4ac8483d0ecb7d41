"""What all findings together say: rates with their intervals, levels of controls, sampling, membership, interventions.

Knows neither model nor screen. All intervals are of 95 %, and p values two-sided but for that of entropies. What a secret is
and what a control is stands in `records`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from privlens import intervals
from privlens.audit.mitigation import Mitigation, Specificity, mitigations, specificities
from privlens.audit.records import Audit, Finding, Measured, Plan
from privlens.intervals import Interval
from privlens.memorization.extraction import extraction_rate, logprob_for_tries
from privlens.neurons.entropy_records import EntropySets

CHANCES = (0.1, 0.5, 0.9, 0.99)
EXPONENTS = tuple(range(10))
"""n = 1 to 10^9 samples."""
GIVEN_AWAY = 0.5
"""From this overlap on the prompt itself holds half of the value or more, and writing it may be copying (methods of the kind of
the contextual-recall checks in extraction studies; the limit is ours)."""
FALSE_POSITIVES = 0.01
"""The false-positive rate at which membership inference is reported (Carlini et al. 2022, arXiv 2112.03570)."""
FEWEST_CONTROLS = round(1 / FALSE_POSITIVES)
"""With fewer controls than this, no threshold lets one in a hundred of them pass."""


@dataclass(frozen=True)
class Rate:
    """k of n, with the Clopper-Pearson interval; None for n = 0.

    `by_person` is the interval that counts the secrets of one person as a cluster; None where nobody has more than one.
    """

    k: int
    n: int
    interval: Interval | None
    by_person: Interval | None = None

    @property
    def bounds(self) -> Interval | None:
        """The interval to go by."""
        return self.by_person or self.interval


@dataclass(frozen=True)
class Group:
    """The rate of one part of the sample."""

    name: str
    rate: Rate


@dataclass(frozen=True)
class Curve:
    """(n, p)-discoverable extraction: the share, 0..1, that is among 10^EXPONENTS samples with at least this chance."""

    chance: float
    secrets: tuple[float, ...]
    controls: tuple[float, ...]


@dataclass(frozen=True)
class Membership:
    """How well the log-probability per token tells secrets from values that were never trained on.

    Attributes:
        against: which controls: those paired with each secret, or rows of the list that were never trained on.
        n: secrets. n_controls: values they are compared with. auc: 0.5 is guessing.
        tpr: secrets above a threshold that at most 1 % of the controls exceed; None for fewer than 100 controls. Its interval
            takes the threshold as given.
    """

    against: str
    n: int
    n_controls: int
    auc: float
    interval: Interval | None
    tpr: Rate | None


@dataclass(frozen=True)
class Population:
    """Statistics of an audit, as population.json holds them.

    Attributes:
        extraction: secrets written word for word by greedy decoding. people: persons of whom at least one secret is; None if the
            sample names nobody. not_given_away: the same rate without prompts that hold half of the value or more.
        reworded: secrets written behind at least one other prompt, of those that were asked for in other words.
        controls: paired controls that were written. never_trained: rows with 0 repeats that were. false_positives: both together.
        below: what the level of false positives is below, one-sided, if none was written; None otherwise.
        n_struck: findings that the auditor does not count. sample_log10_tries: median of the secrets, None if never sampled.
        entropy: distance against entropy, of sets of secrets; None where the audit has none.
        left: memorized secrets that the plan left without intervention, where it names any.
    """

    extraction: Rate
    by_category: tuple[Group, ...]
    by_repeats: tuple[Group, ...]
    people: Rate | None
    not_given_away: Rate
    reworded: Rate
    controls: Rate
    never_trained: Rate
    false_positives: Rate
    below: float | None
    n_struck: int
    curves: tuple[Curve, ...]
    membership: tuple[Membership, ...]
    interventions: tuple[Mitigation, ...]
    specificity: tuple[Specificity, ...]
    entropy: EntropySets | None
    left: int


def population(audit: Audit) -> Population:
    """The statistics of a whole audit."""
    secrets = tuple(finding for finding in audit.findings if finding.counts)
    never_trained = tuple(finding for finding in audit.findings if finding.repeats == 0 and not finding.false_positive)
    paired = tuple(finding.control for finding in secrets if finding.control)
    controls = rate_of(control.greedy_match for control in paired)
    never = _rate(never_trained)
    false_positives = rate(controls.k + never.k, controls.n + never.n)
    reworded = tuple(finding for finding in secrets if finding.n_reworded)
    return Population(
        extraction=_rate(secrets),
        by_category=_groups(secrets, lambda finding: finding.category or "no category"),
        by_repeats=_groups(secrets, lambda finding: "unknown" if finding.repeats is None else f"{finding.repeats:,}"),
        people=_people(secrets),
        not_given_away=_rate([finding for finding in secrets if finding.overlap < GIVEN_AWAY]),
        reworded=_rate(reworded, lambda finding: finding.reworded > 0),
        controls=controls,
        never_trained=never,
        false_positives=false_positives,
        below=intervals.below_if_none(false_positives.n) if false_positives.n and not false_positives.k else None,
        n_struck=sum(bool(finding.false_positive) for finding in audit.findings),
        curves=_curves(secrets, (*paired, *(finding.measured for finding in never_trained)), audit.plan),
        membership=_memberships(secrets, never_trained),
        interventions=mitigations(secrets),
        specificity=specificities(secrets, audit.plan.seed),
        entropy=audit.entropy,
        left=_left(secrets, audit.plan),
    )


def rate(k: int, n: int, by_person: Interval | None = None) -> Rate:
    """A rate with its Clopper-Pearson interval."""
    return Rate(k, n, intervals.rate(k, n) if n else None, by_person)


def rate_of(hits: Iterable[bool]) -> Rate:
    """The rate of independent yes and no."""
    answers = list(hits)
    return rate(sum(answers), len(answers))


def _written(finding: Finding) -> bool:
    return finding.measured.greedy_match


def _rate(findings: Sequence[Finding], hit: Callable[[Finding], bool] = _written) -> Rate:
    """The rate of findings, with the interval over persons where somebody has several."""
    persons = _by_person(findings)
    counts = [(sum(map(hit, of_person)), len(of_person)) for of_person in persons]
    clustered = intervals.clustered(counts) if len(persons) < len(findings) else None
    return rate(sum(map(hit, findings)), len(findings), clustered)


def _by_person(findings: Iterable[Finding]) -> list[list[Finding]]:
    """The findings of each person; one that names nobody stands alone."""
    persons: defaultdict[object, list[Finding]] = defaultdict(list)
    for finding in findings:
        persons[person_of(finding)].append(finding)
    return list(persons.values())


def person_of(finding: Finding) -> object:
    """What findings of one person have in common and nobody else's have."""
    return finding.person or finding.row


def _people(secrets: Sequence[Finding]) -> Rate | None:
    """Persons with at least one secret that is written; persons are independent, so the exact interval holds."""
    named = [finding for finding in secrets if finding.person]
    return rate_of(any(map(_written, of_person)) for of_person in _by_person(named)) if named else None


def _groups(secrets: Sequence[Finding], name: Callable[[Finding], str]) -> tuple[Group, ...]:
    """Rates by a property, in the order of the alphabet or of numbers."""
    groups: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in secrets:
        groups[name(finding)].append(finding)
    ordered = sorted(groups, key=lambda group: (len(group) if group[0].isdigit() else math.inf, group))
    return tuple(Group(group, _rate(groups[group])) for group in ordered)


def sampled_logprob(measured: Measured, plan: Plan) -> float:
    """Log-probability of the value under the plan's sampling, in nats.

    Where that is not plain sampling it follows from the tries; a value of more than an even chance at once counts as even there.
    """
    if plan.temperature == 1 and not plan.top_k:
        return measured.logprob
    if measured.log10_tries is None:
        return -math.inf
    if measured.log10_tries > 12:  # beyond that 2^(-1/n) is 1 - ln(2)/n to all digits
        return math.log(math.log(2)) - measured.log10_tries * math.log(10)
    return logprob_for_tries(10**measured.log10_tries)


def _curves(secrets: Sequence[Finding], controls: Sequence[Measured], plan: Plan) -> tuple[Curve, ...]:
    of_secrets = [sampled_logprob(finding.measured, plan) for finding in secrets]
    of_controls = [sampled_logprob(control, plan) for control in controls]

    def shares(logprobs: Sequence[float], chance: float) -> tuple[float, ...]:
        return tuple(extraction_rate(logprobs, 10**exponent, chance) for exponent in EXPONENTS) if logprobs else ()

    return tuple(Curve(chance, shares(of_secrets, chance), shares(of_controls, chance)) for chance in CHANCES)


def _memberships(secrets: Sequence[Finding], never_trained: Sequence[Finding]) -> tuple[Membership, ...]:
    """Against each kind of control of which there are two or more."""
    paired = [(-finding.control.nll, person_of(finding)) for finding in secrets if finding.control]
    never = [(-finding.measured.nll, person_of(finding)) for finding in never_trained]
    members = [(-finding.measured.nll, person_of(finding)) for finding in secrets]
    kinds = (("rows of the list that were never trained on", never), ("paired controls", paired))
    return tuple(_membership(name, members, others) for name, others in kinds if len(others) > 1 and members)


Scored = tuple[float, object]
"""A score (log-probability per token, nats) and whose it is."""


def _membership(against: str, members: Sequence[Scored], controls: Sequence[Scored]) -> Membership:
    (scores, owners), (control_scores, control_owners) = zip(*members, strict=True), zip(*controls, strict=True)
    area, interval = intervals.auc(scores, control_scores, (owners, control_owners))
    tpr = None
    if len(controls) >= FEWEST_CONTROLS:
        threshold = sorted(control_scores, reverse=True)[int(FALSE_POSITIVES * len(controls))]
        tpr = rate_of(score > threshold for score in scores)
    return Membership(against, len(members), len(controls), area, interval, tpr)


def _left(secrets: Sequence[Finding], plan: Plan) -> int:
    if not plan.methods and not plan.erasure:
        return 0
    return sum(finding.measured.greedy_match and not finding.interventions for finding in secrets)
