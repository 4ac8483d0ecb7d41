"""Statistics of an audit: numbers worked by hand, planted truth, and intervals that cover."""

import math
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from privlens import intervals
from privlens.audit.paired import mcnemar
from privlens.audit.population import person_of, population, sampled_logprob
from privlens.audit.records import Attack, Audit, Intervention, Plan
from privlens.memorization.extraction import log10_tries
from privlens.types import Neuron
from tests.audits import audit_of, finding, measured

RUNS = 1000
FEWEST = 0.95 - 3 * (0.95 * 0.05 / RUNS) ** 0.5


def rates(*matches: bool, **fields: object) -> Audit:
    """An audit of secrets that are written or not, each of a person of their own."""
    return audit_of([finding(row, match, **fields) for row, match in enumerate(matches)])


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(0, 20, 0, 16.8), (1, 20, 0.1, 24.9), (9, 20, 23.1, 68.5), (0, 28, 0, 12.3), (4, 108, 1.0, 9.2), (7, 108, 2.6, 12.9)],
)
def test_extraction_rates_have_tabled_intervals(k: int, n: int, low: float, high: float) -> None:
    extraction = population(rates(*[True] * k, *[False] * (n - k))).extraction
    assert (extraction.k, extraction.n, extraction.by_person) == (k, n, None)
    assert extraction.interval
    assert [round(100 * end, 1) for end in extraction.interval] == [low, high]


def test_what_does_not_count_is_in_no_rate() -> None:
    findings = [
        finding(0, True),
        finding(1, False),
        finding(2, True, repeats=0),
        finding(3, False, repeats=0),
        finding(4, True, false_positive="a public hotline"),
        finding(5, True, repeats=0, false_positive="a misprint"),
    ]
    result = population(audit_of(findings))
    assert (result.extraction.k, result.extraction.n) == (1, 2)
    assert (result.never_trained.k, result.never_trained.n) == (1, 2)
    assert result.n_struck == 2


def test_rates_by_category_and_repeats_add_up() -> None:
    rows = count()
    findings = [
        finding(next(rows), row % 3 == 0, category=category, repeats=repeats)
        for row in range(5)
        for category, repeats in (("phone", 16), ("email", 4), ("", None), ("email", 100))
    ]
    result = population(audit_of(findings))
    assert [group.name for group in result.by_category] == ["email", "no category", "phone"]
    assert [group.name for group in result.by_repeats] == ["4", "16", "100", "unknown"], "in the order of numbers"
    for groups in (result.by_category, result.by_repeats):
        assert sum(group.rate.k for group in groups) == result.extraction.k == 8
        assert sum(group.rate.n for group in groups) == result.extraction.n == 20


def test_secrets_of_one_person_are_a_cluster() -> None:
    """Ten persons of whom three secrets each are all written or all not say as much as ten secrets, not as thirty."""
    findings = [finding(3 * who + i, who < 4, person=f"person {who}") for who in range(10) for i in range(3)]
    result = population(audit_of(findings))
    assert result.people and (result.people.k, result.people.n) == (4, 10)
    assert (result.extraction.k, result.extraction.n) == (12, 30)
    assert result.extraction.interval == intervals.rate(12, 30)
    low, high = result.extraction.by_person or (0, 0)
    # variance by hand: 10/9 * (4*1.8^2 + 6*1.2^2) / 900 = .02667; .24 / .02667 = 9 items, cut by t29 = 2.0452 over t9 = 2.2622
    n_effective = 9 * (2.0452 / 2.2622) ** 2
    assert (low, high) == pytest.approx(intervals.rate(0.4 * n_effective, n_effective), abs=1e-3)
    assert result.extraction.bounds == (low, high)


def test_a_rate_that_is_the_same_for_everyone_counts_people() -> None:
    findings = [finding(row, False, person=f"person {row // 10}") for row in range(50)]
    assert population(audit_of(findings)).extraction.by_person == intervals.rate(0, 5)


@pytest.mark.parametrize(("n_people", "per_person"), [(10, 3), (30, 5)])
@pytest.mark.parametrize("alike", [True, False], ids=["all of a person's alike", "independent"])
def test_intervals_over_persons_cover(n_people: int, per_person: int, alike: bool) -> None:
    rng = np.random.default_rng(n_people)
    for truth in (0.05, 0.4):
        drawn = rng.random((RUNS, n_people, 1 if alike else per_person)) < truth
        counts = drawn.sum(2) * (per_person if alike else 1)
        ends = [intervals.clustered([(int(k), per_person) for k in of_people]) for of_people in counts]
        assert np.mean([low <= truth <= high for low, high in ends if low is not None]) >= FEWEST  # type: ignore[misc]


def test_an_uncorrelated_share_is_the_same_in_equal_clusters() -> None:
    shares = [0.75, 0.75, 0.8, 0.7]
    assert intervals.clustered([(round(20 * share), 20) for share in shares]) == pytest.approx(intervals.share(shares, 20))


def test_the_rule_of_three() -> None:
    assert [intervals.n_without_hit(bound) for bound in (0.1, 0.05, 0.01, 0.001)] == [29, 59, 299, 2995]
    for bound, n in ((0.1, 29), (0.05, 59), (0.01, 299)):
        assert intervals.below_if_none(n) < bound <= intervals.below_if_none(n - 1)
    clean = population(audit_of([finding(row, True, control=measured(False)) for row in range(29)]))
    assert (clean.controls.k, clean.controls.n) == (0, 29)
    assert clean.below == pytest.approx(1 - 0.05 ** (1 / 29))
    assert population(audit_of([finding(0, True, control=measured(True))])).below is None


def test_false_positives_are_those_of_both_kinds_of_control() -> None:
    findings = [finding(0, True, control=measured(True)), finding(1, True, control=measured(False)), finding(2, False)]
    findings += [finding(row, row == 3, repeats=0, control=measured(True)) for row in range(3, 7)]
    result = population(audit_of(findings))
    assert (result.controls.k, result.controls.n) == (1, 2), "the control of a control is none of a secret"
    assert (result.never_trained.k, result.never_trained.n) == (1, 4)
    assert (result.false_positives.k, result.false_positives.n) == (2, 6)
    assert result.false_positives.interval == intervals.rate(2, 6)


def test_the_curve_over_samples() -> None:
    """One value of p = .1: 1-(1-.1)^n >= .5 from n = 7 on, >= .99 from n = 44 on. One of p = 0: never."""
    never = measured(False, logprob=-math.inf)
    result = population(audit_of([finding(0, False, measured=measured(False, logprob=math.log(0.1)), control=never)]))
    by_chance = {curve.chance: curve for curve in result.curves}
    assert by_chance[0.1].secrets == (1.0,) * 10
    assert by_chance[0.5].secrets == (0.0, *[1.0] * 9), "not with 1 sample, with 10"
    assert by_chance[0.99].secrets == (0.0, 0.0, *[1.0] * 8), "not with 10 samples, with 100"
    assert {curve.controls for curve in result.curves} == {(0.0,) * 10}
    assert population(audit_of([finding(0, True)])).curves[0].controls == (), "no controls, no curve of them"


@pytest.mark.parametrize("logprob", [-0.7, -5.0, -40.0, -2000.0])
def test_tries_of_another_sampling_decide_its_curve(logprob: float) -> None:
    other = replace(measured(False, logprob=-1e6), log10_tries=log10_tries(logprob))
    assert sampled_logprob(other, Plan(temperature=0.5)) == pytest.approx(logprob, rel=1e-6)
    assert sampled_logprob(replace(other, log10_tries=None), Plan(top_k=5)) == -math.inf
    assert sampled_logprob(other, Plan()) == -1e6


def test_membership_by_hand() -> None:
    """Secrets at 1, 3, 4 and controls at 2, 5 nats: the secret is likelier in 2 + 1 + 1 of the six pairs."""
    secrets = [finding(row, False, measured=measured(False, nll=nll)) for row, nll in enumerate((1.0, 3.0, 4.0))]
    never = [finding(row, False, repeats=0, measured=measured(False, nll=nll)) for row, nll in ((3, 2.0), (4, 5.0))]
    [membership] = population(audit_of([*secrets, *never])).membership
    assert membership.auc == pytest.approx(4 / 6)
    assert (membership.n, membership.n_controls, membership.tpr) == (3, 2, None)
    assert membership.against == "rows of the list that were never trained on"


def test_areas_have_delongs_interval() -> None:
    """Secrets 4, 3, 1 beside 2, 0: shares below each secret 1, 1, 1/2, and above each control 2/3, 1."""
    area, interval = intervals.auc([4, 3, 1], [2, 0])
    assert area == pytest.approx(5 / 6)
    # S10 = var(1, 1, .5) = 1/12, S01 = var(2/3, 1) = 1/18: variance 1/36 + 1/36 = 1/18; t of 1 degree of freedom 12.7062
    half_width = 12.7062 * (1 / 18) ** 0.5 / (5 / 36)
    center = math.log(5)
    assert interval and interval[0] == pytest.approx(1 / (1 + math.exp(half_width - center)), rel=1e-3)
    assert 1 - interval[1] == pytest.approx(math.exp(-half_width - center), rel=1e-3)
    # The secret of 1 and the control of 2 are one person's: 2 * 4/3 * (-1/3)(-1/6) / 6 more.
    shared = intervals.auc([4, 3, 1], [2, 0], (("a", "b", "c"), ("c", "d")))[1]
    half_width *= ((1 / 18 + 2 * 4 / 3 / 18 / 6) / (1 / 18)) ** 0.5
    assert shared and shared[0] == pytest.approx(1 / (1 + math.exp(half_width - center)), rel=1e-3)
    assert intervals.auc([3, 4], [1, 2]) == (1.0, None), "separated: no interval of width 0"
    assert intervals.auc([1, 1], [1, 1])[0] == 0.5, "ties are half"
    assert intervals.auc([2], [1, 3])[1] is None


@pytest.mark.parametrize("n", [15, 60])
def test_areas_cover_even_where_pairs_are_correlated(n: int) -> None:
    rng = np.random.default_rng(n)
    truth = 0.5 * (1 + math.erf(1 / 2))  # P(N(1,1) > N(0,1))
    pairs = tuple(range(n))
    hits = []
    for shared in (0.0, 0.8):
        for _ in range(RUNS // 2):
            common = rng.normal(size=n) * shared**0.5
            own = rng.normal(size=(2, n)) * (1 - shared) ** 0.5
            _, interval = intervals.auc(list(1 + common + own[0]), list(common + own[1]), (pairs, pairs))
            hits.append(interval is not None and interval[0] <= truth <= interval[1])
    assert np.mean(hits) >= FEWEST
    scores = [1.0] * 8 + [0.2] * 8, [0.5] * 8 + [0.0] * 8
    alone, together = (
        intervals.auc(*scores)[1],
        intervals.auc(*scores, ([i // 4 for i in range(16)], [i // 4 + 9 for i in range(16)]))[1],
    )
    assert alone and together and together[0] < alone[0], "scores of one person say less than those of several"


def test_true_positives_at_one_false_in_a_hundred() -> None:
    controls = [finding(row, False, repeats=0, measured=measured(False, nll=10 + row)) for row in range(100)]
    secrets = [finding(100 + row, False, measured=measured(False, nll=nll)) for row, nll in enumerate((1.0, 10.5, 11.0, 12.0))]
    [membership] = population(audit_of([*secrets, *controls])).membership
    # One control may pass, so the threshold is the second best, 11 nats: 1 and 10.5 are below it.
    assert membership.tpr and (membership.tpr.k, membership.tpr.n) == (2, 4)
    [few] = population(audit_of([*secrets, *controls[:99]])).membership
    assert few.tpr is None


def test_medians_are_order_statistics() -> None:
    assert intervals.median(range(1, 11)) == (2, 9), "P(2 <= median <= 9) = 1 - 2 * 11/1024"
    assert intervals.median(range(1, 7)) == (1, 6)
    assert intervals.median(range(5)) is None
    assert intervals.median([]) is None
    assert intervals.median([*range(9), math.inf]) == (1, 8)


def test_mcnemar_is_the_exact_one() -> None:
    before, after = [True] * 9 + [False], [True] * 3 + [False] * 6 + [True]
    paired = mcnemar(before, after)
    assert (paired.n, paired.before, paired.after, paired.lost, paired.gained) == (10, 9, 4, 6, 1)
    assert paired.p_value == pytest.approx(2 * (1 + 7) / 2**7), "6 against 1"
    assert mcnemar([True, False], [True, False]).p_value is None
    with pytest.raises(ValueError, match="argument 2"):
        mcnemar([True], [])


def intervention(**fields: object) -> Intervention:
    defaults = {"kind": "neurons", "method": "gradient", "size": 2, "of": 100, "after": measured(False), "kept": 3, "known": 4}
    return Intervention(**{**defaults, "worst_rise": None, "perplexity_ratio": None, **fields})  # type: ignore[arg-type]


def test_what_interventions_did() -> None:
    after = [measured(False, logprob=-10.0, verdict="hidden"), measured(True, logprob=-1.0), measured(False, logprob=-20.0)]
    rises, ratios, kept = (0.5, 4.0, None), (1.0, 1.2, 1.1), (3, 1, 0)
    attacks = (Attack("reworded", True), Attack("reworded", False)), (), (Attack("reworded", False), Attack("logit lens", True))
    findings = [
        finding(
            10 + i,
            True,
            measured=measured(True, logprob=-2.0),
            interventions=(
                intervention(
                    after=after[i],
                    worst_rise=rises[i],
                    perplexity_ratio=ratios[i],
                    kept=kept[i],
                    known=4 * (i < 2),
                    attacks=attacks[i],
                ),
                intervention(kind="random", after=measured(True), worst_rise=9.0),
            ),
        )
        for i in range(3)
    ]
    chosen, random = population(audit_of([*findings, finding(20, True)], Plan(methods=("gradient",)))).interventions
    assert (chosen.kind, random.kind, chosen.method) == ("neurons", "random", "gradient")
    assert (chosen.written.before, chosen.written.after, chosen.written.lost) == (3, 1, 2)
    assert chosen.written.p_value == 0.5
    assert chosen.after == intervals.rate(1, 3)
    assert chosen.change == pytest.approx(log10_tries(-10) - log10_tries(-2))
    assert chosen.change_interval is None, "of three"
    assert chosen.verdicts == {"hidden": 1, "known": 1, "undecided": 1}
    assert (chosen.kept, chosen.known, chosen.least_kept) == (4, 8, (1, 4)), "the third had nothing to keep"
    assert (chosen.worst_rise, chosen.worst_row) == (4.0, 11), "the random control's rise is its own"
    assert (chosen.perplexity, chosen.worst_perplexity) == (1.1, 1.2)
    assert {(attack.name, attack.k, attack.n) for attack in chosen.attacks} == {("reworded", 1, 3), ("logit lens", 1, 1)}
    assert (random.written.lost, random.worst_rise, random.perplexity) == (0, 9.0, None)


def test_secrets_that_the_plan_left_are_counted() -> None:
    findings = [finding(0, True, interventions=(intervention(),)), finding(1, True), finding(2, False)]
    assert population(audit_of(findings, Plan(methods=("gradient",)))).left == 1
    assert population(audit_of(findings, Plan())).left == 0


def neurons(*indices: int) -> tuple[Intervention, ...]:
    """The chosen neurons, and as many random ones, which are no finding."""
    chosen, random = (tuple(Neuron(layer, index) for index in indices) for layer in (0, 1))
    return intervention(neurons=chosen), intervention(kind="random", method="its control", neurons=random)


def test_shared_neurons_by_hand() -> None:
    findings = [
        finding(0, True, category="phone", interventions=neurons(1, 2)),
        finding(1, True, category="phone", interventions=neurons(2, 3)),
        finding(2, True, category="email", interventions=neurons(8, 9)),
        finding(3, True, category="email", interventions=neurons(2, 9)),
    ]
    [specificity] = population(audit_of(findings)).specificity
    assert specificity.within == pytest.approx(1 / 3), "1/3 and 1/3"
    assert specificity.between == pytest.approx((0 + 1 / 3 + 0 + 1 / 3) / 4)
    assert specificity.chance == pytest.approx(0.04 / 3.96)
    assert [(shared.index, shared.n) for shared in specificity.shared] == [(2, 3), (9, 2)]
    # Three ways to split four into two pairs, with within of 1/3, 1/6 and 1/6 in the mean: only one is as far from its between.
    assert specificity.p_value == pytest.approx(1 / 3, abs=0.02)
    assert population(audit_of(findings[:2])).specificity[0].p_value is None
    assert population(audit_of(findings[:1])).specificity == ()


def test_a_planted_specificity_is_found() -> None:
    findings = [
        finding(row, True, category=category, interventions=neurons(*range(first, first + 5), 100 + row))
        for row, (category, first) in enumerate([("phone", 0)] * 8 + [("email", 50)] * 8)
    ]
    [specificity] = population(audit_of(findings)).specificity
    assert (specificity.within, specificity.between) == (pytest.approx(5 / 7), 0)
    assert specificity.p_value is not None and specificity.p_value < 0.01


def test_people_without_a_name_stand_alone() -> None:
    assert person_of(finding(3, True)) == 3
    assert person_of(finding(3, True, person="k")) == "k"
    assert population(rates(True, False)).people is None


def test_a_prompt_that_gives_the_value_away_is_left_out_of_one_rate() -> None:
    result = population(audit_of([finding(0, True, overlap=0.5), finding(1, True, overlap=0.49), finding(2, False)]))
    assert (result.not_given_away.k, result.not_given_away.n, result.extraction.n) == (1, 2, 3)


def test_reworded_secrets_count_where_they_were_asked_for() -> None:
    findings = [finding(0, True, reworded=2, n_reworded=3), finding(1, True, n_reworded=3), finding(2, True)]
    result = population(audit_of(findings))
    assert (result.reworded.k, result.reworded.n) == (1, 2)


def test_an_empty_audit_has_no_rates() -> None:
    result = population(audit_of([]))
    assert (result.extraction.n, result.extraction.interval, result.membership, result.below) == (0, None, (), None)
