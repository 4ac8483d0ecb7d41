"""Checks of many secrets at once have the numbers of checks of one."""

from dataclasses import asdict

import pytest

from privlens.audit.checks import check_all, overlap
from privlens.audit.records import Finding, Measured, Plan
from privlens.audit.sample import SampledSecret, masked
from privlens.lm.model import LanguageModel
from privlens.memorization.check import check, control
from privlens.memorization.extraction import log10_tries
from privlens.secret_lists import ListedSecret
from privlens.types import Secret
from tests.helpers import NEVER_TAUGHT, TAUGHT

PEOPLE = [Secret(f"the number of {name} is", f"555-{1000 + 37 * place}", "phone") for place, name in enumerate("abcdefghij")]
LISTED = [*TAUGHT, NEVER_TAUGHT, *PEOPLE]
PLAN = Plan(seed=3, temperature=0.7, top_k=50)


def sampled(secrets: list[Secret]) -> list[SampledSecret]:
    return [SampledSecret(row, f"{row:032x}", "", ListedSecret(secret)) for row, secret in enumerate(secrets)]


def one_by_one(lm: LanguageModel, secret: Secret) -> Measured:
    found = check(lm, secret, others=LISTED, seed=PLAN.seed, temperature=PLAN.temperature, top_k=PLAN.top_k)
    return Measured(
        found.greedy_match,
        found.nll,
        found.logprob,
        len(found.tokens),
        found.memorization_accuracy,
        None if found.sampled_logprob == float("-inf") else log10_tries(found.sampled_logprob),
        found.exposure,
        found.format_exposure,
        found.lift,
        found.verdict,
        masked(found.continuation),
        distance_of(lm, secret),
    )


def distance_of(lm: LanguageModel, secret: Secret) -> int:
    """Levenshtein's distance by its table, of what the model writes, to as many tokens as the value has."""
    encoded = lm.encode(lm.settled(secret))
    value = encoded.value_ids
    [written] = lm.generate([encoded.prompt_ids], len(value))
    above = list(range(len(value) + 1))
    for row, token in enumerate(written[: len(value)], 1):
        current = [row]
        for column, true in enumerate(value, 1):
            current.append(min(above[column] + 1, current[-1] + 1, above[column - 1] + (token != true)))
        above = current
    return above[-1]


def same(first: Measured, second: Measured) -> None:
    for name, expected in asdict(second).items():
        value = asdict(first)[name]
        if isinstance(expected, dict):
            assert value == pytest.approx(expected, abs=1e-4), name
        else:
            assert value == (pytest.approx(expected, abs=1e-4) if isinstance(expected, float) else expected), name


@pytest.fixture(scope="module")
def findings(taught: LanguageModel) -> list[Finding]:
    return list(check_all(taught, sampled(LISTED), LISTED, PLAN))


def test_every_field_is_that_of_a_check_of_one(taught: LanguageModel, findings: list[Finding]) -> None:
    lifts = 0
    for secret, finding in zip(LISTED, findings, strict=True):
        same(finding.measured, one_by_one(taught, secret))
        lifts += finding.measured.lift is not None
    assert {finding.measured.distance for finding in findings[:4]} == {0}
    assert all(finding.measured.distance for finding in findings if not finding.measured.greedy_match)
    assert lifts == 12 and [finding.measured.verdict for finding in findings[:4]] == ["known"] * 4


def test_a_control_is_that_of_a_check_without_its_whole_format(taught: LanguageModel, findings: list[Finding]) -> None:
    for row in (1, 4, 7):
        rival = control(taught, LISTED[row], PLAN.seed)
        measured = findings[row].control
        assert rival and measured and measured.format_exposure is None
        expected = one_by_one(taught, rival)
        same(measured, Measured(**{**expected.__dict__, "format_exposure": None}))


def test_values_are_kept_only_if_asked(taught: LanguageModel, findings: list[Finding]) -> None:
    assert not any(secret.value in repr(finding) for secret, finding in zip(LISTED, findings, strict=True))
    [clear] = check_all(taught, sampled(TAUGHT[:1]), LISTED, PLAN, keep_values=True)
    assert clear.measured.text.strip() == "Mira Holt" == clear.masked


@pytest.mark.parametrize(
    ("prompt", "value", "share"),
    [("write to Mira Holt at", "mira@x.y", 0.5), ("its code is", "4711", 0.0), ("4711 and again", "4711", 1.0)],
)
def test_overlap_by_hand(prompt: str, value: str, share: float) -> None:
    assert overlap(Secret(prompt, value)) == share
