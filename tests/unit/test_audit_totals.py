"""Values and samples that run together have the numbers of those that run alone."""

import math

import pytest

from privlens.audit import checks, pairs
from privlens.audit.records import Plan
from privlens.audit.sample import SampledSecret
from privlens.audit.totals import Asked, totals
from privlens.errors import BadInput, Cancelled
from privlens.lm import continuations
from privlens.lm.constrained_sampling import Wanted, sample_patterns
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.memorization.check import rivals
from privlens.memorization.format_exposure import pattern_of
from privlens.secret_lists import ListedSecret
from privlens.types import Secret
from tests.helpers import NEVER_TAUGHT, TAUGHT, Maker

SECRETS = [Secret("her number is", "555-1234"), Secret("my number is", "555-98"), Secret("the password here is", "blue-77")]


def asked(lm: LanguageModel, secret: Secret, floor: float = -math.inf) -> Asked:
    encoded = [text for _, text in rivals(lm, secret, 0, 20)]
    return Asked(encoded[0].prompt_ids, tuple(text.value_ids for text in encoded), floor)


def alone(lm: LanguageModel, secret: Secret) -> list[float]:
    return [sum(score(lm, [text])[0].logprobs) for _, text in rivals(lm, secret, 0, 20)]


@pytest.mark.parametrize("at_once", [1024, 25])
@pytest.mark.parametrize("is_cached", [True, False])
def test_totals_are_those_of_each_value_alone(
    taught: LanguageModel, monkeypatch: pytest.MonkeyPatch, at_once: int, is_cached: bool
) -> None:
    monkeypatch.setattr(continuations, "ROWS_AT_ONCE", at_once)
    monkeypatch.setattr(taught, "can_reuse_prefix", is_cached)
    together = [*SECRETS, SECRETS[0]]
    assert len({len(asked(taught, secret).prompt) for secret in together}) > 1, "prompts of several lengths"
    found = totals(taught, [asked(taught, secret) for secret in together], lambda: False)
    for secret, values in zip(together, found, strict=True):
        assert values == pytest.approx(alone(taught, secret), abs=1e-4)


def test_each_prompt_has_a_floor_of_its_own(taught: LanguageModel) -> None:
    exact = [sorted(alone(taught, secret)) for secret in SECRETS]
    floors = [exact[0][5] - 1e-3, exact[1][12] - 1e-3, exact[2][18] - 1e-3]
    found = totals(taught, [asked(taught, *pair) for pair in zip(SECRETS, floors, strict=True)], lambda: False)
    assert [sum(math.isfinite(value) for value in values) for values in found] == [14, 7, 1]
    for values, secret in zip(found, SECRETS, strict=True):
        kept = [(value, true) for value, true in zip(values, alone(taught, secret), strict=True) if math.isfinite(value)]
        assert kept and all(value == pytest.approx(true, abs=1e-4) for value, true in kept)
    with pytest.raises(Cancelled):
        totals(taught, [asked(taught, SECRETS[0])], lambda: True)


@pytest.mark.parametrize("at_once", [1024, 40])
def test_samples_do_not_depend_on_those_beside_them(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    texts = [" 4-71", " 123", " ab-9"]
    wanted = [
        Wanted(taught.encode(secret).prompt_ids, pattern_of(taught, text), floor)
        for secret, text, floor in zip(SECRETS, texts, (-math.inf, -14.0, -math.inf), strict=True)
    ]
    monkeypatch.setattr(continuations, "ROWS_AT_ONCE", at_once)
    together = sample_patterns(taught, wanted, 32, seed=4)
    for one, samples in zip(wanted, together, strict=True):
        [by_itself] = sample_patterns(taught, [one], 32, seed=4)
        assert [sample.ids for sample in samples] == [sample.ids for sample in by_itself]
        assert [sample.logprob for sample in samples] == pytest.approx([sample.logprob for sample in by_itself], abs=1e-4)
        assert [sample.drawn for sample in samples] == pytest.approx([sample.drawn for sample in by_itself], abs=1e-4)
    assert any(sample.ids is None for sample in together[1]) and len({sample.ids for sample in together[0]}) > 10


def test_texts_are_encoded_at_once_as_they_are_alone(tiny: Maker) -> None:
    lm = tiny("gpt_neox")
    secrets = [
        *SECRETS,
        Secret("mail ", " zoë@x.y  "),
        Secret("a", "b" * 900),
        Secret("open is", "Ж"),
        Secret("x", "1", attached=True),
    ]

    def encoded(secret: Secret) -> object:
        try:
            return lm.encode(secret)
        except BadInput:
            return None

    found = lm.encode_all(secrets)
    assert found == [encoded(secret) for secret in secrets]
    assert found[4] is None and found[5] is not None


def test_what_the_list_shares_is_run_once_and_changes_no_number(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [
        Secret(f"the number of {name} is", f"555-{1000 + 37 * place}", "phone") for place, name in enumerate("abcdefghijkl")
    ]
    sampled = [SampledSecret(row, f"{row:032x}", "", ListedSecret(secret)) for row, secret in enumerate(people)]
    run: list[tuple[str, int]] = []
    exact = pairs.logprobs_behind
    monkeypatch.setattr(
        pairs,
        "logprobs_behind",
        lambda lm, prompt, values, **more: run.append((prompt.prompt, len(values))) or exact(lm, prompt, values, **more),
    )
    monkeypatch.setattr(checks, "AT_ONCE", 4)
    together = list(checks.check_all(taught, sampled, people, Plan()))
    assert [asked_for for asked_for in run if asked_for[1] == 12] == [(secret.prompt, 12) for secret in people[:9]], (
        "once for all"
    )
    last = list(checks.check_all(taught, sampled[8:], people, Plan()))
    assert together[8:] == last, "to the last digit"
    assert all(finding.measured.lift for finding in together)


def test_a_list_without_categories_shares_nothing_beyond_its_chunk(taught: LanguageModel) -> None:
    shared = pairs.ListedPairs(taught, (*TAUGHT, NEVER_TAUGHT))
    assert shared.of("", lambda: False) == {} and shared.of("rare", lambda: False) == {}
