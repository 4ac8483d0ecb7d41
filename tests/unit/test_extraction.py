"""Tries, (n, p)-extraction, and exposure in the whole format: against numbers worked by hand and full enumeration."""

import itertools
import math
import random
from collections.abc import Sequence

import pytest
import torch

from privlens.errors import BadInput, Cancelled
from privlens.lm.constrained_sampling import Wanted, sample_patterns
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.memorization import lift
from privlens.memorization.check import check
from privlens.memorization.depth import tries_in_words
from privlens.memorization.extraction import chance_within, extraction_rate, log10_tries, logprob_for_tries, tries
from privlens.memorization.format_exposure import estimate, format_exposure_of, pattern_of
from privlens.memorization.lift import lift_of, peers
from privlens.memorization.metrics import rank
from privlens.types import Secret
from tests.helpers import TAUGHT


def test_tries_by_hand() -> None:
    assert tries(math.log(0.5)) == 1
    assert tries(math.log(0.99)) == 1, "never fewer than one"
    assert tries(math.log(1 - 0.5**0.1)) == pytest.approx(10)
    assert tries(math.log(0.1), 0.9) == pytest.approx(math.log(0.1) / math.log(0.9))
    assert log10_tries(-1000.0) == pytest.approx((1000 + math.log(math.log(2))) / math.log(10)), "p is 0 in floating point"
    assert (tries(-1000.0), tries(-math.inf), log10_tries(-math.inf)) == (math.inf, math.inf, math.inf)
    for n in (1, 7, 1e6, 1e12):
        assert tries(logprob_for_tries(n)) == pytest.approx(n, rel=1e-3)
        assert chance_within(logprob_for_tries(n, 0.9), n) == pytest.approx(0.9, rel=1e-3)
    with pytest.raises(ValueError, match="fewer than one"):
        logprob_for_tries(0.5)


def test_the_extraction_rate_counts_values_with_enough_chance_within_n() -> None:
    logprobs = [math.log(p) for p in (0.9, 0.1, 0.001)]
    assert [extraction_rate(logprobs, n) for n in (1, 7, 1000)] == [1 / 3, 2 / 3, 1.0]
    assert extraction_rate(logprobs, 7, 0.9) == 1 / 3, "1 - 0.9^7 is 0.52"
    assert chance_within(math.log(0.1), 2) == pytest.approx(0.19)
    assert (chance_within(0.0, 1), chance_within(-math.inf, 10)) == (1.0, 0.0)


def test_tries_in_words() -> None:
    logprobs = [
        0.0,
        logprob_for_tries(37),
        logprob_for_tries(12_345),
        logprob_for_tries(4.1e9),
        logprob_for_tries(1e18),
        -math.inf,
    ]
    assert [tries_in_words(logprob) for logprob in logprobs] == ["1", "37", "12,000", "4.1 billion", "10^18", "never"]


def ranked(lm: LanguageModel, prompt: str, digits: int) -> list[tuple[float, Secret]]:
    """All numbers of so many digits behind a prompt, with their log-probabilities, the likeliest first."""
    secrets = [Secret(prompt, "".join(number), attached=False) for number in itertools.product("0123456789", repeat=digits)]
    scored = score(lm, [lm.encode(secret) for secret in secrets])
    return sorted(zip((sum(value.logprobs) for value in scored), secrets, strict=True), key=lambda pair: -pair[0])


def test_the_estimate_equals_full_enumeration_within_its_interval(taught: LanguageModel) -> None:
    everything = ranked(taught, TAUGHT[0].prompt, 3)
    logprobs = [logprob for logprob, _ in everything]
    inside = []
    for place, seed in itertools.product((0, 1, 5, 20, 100, 400, 800), range(3)):
        logprob, secret = everything[place]
        exact = math.log2(1000) - math.log2(rank(logprob, logprobs[:place] + logprobs[place + 1 :]))
        found = format_exposure_of(taught, secret, seed=seed)
        assert found is not None and found.max_bits == pytest.approx(math.log2(1000))
        inside.append(found.low_bits - 0.01 <= exact <= found.high_bits + 0.01)
    assert sum(inside) >= 18, f"{sum(inside)} of 21; 95 % intervals hold it in 18 or more with a chance of 99.7 %"


def test_the_samples_fit_the_format_and_their_probabilities_are_the_models(taught: LanguageModel) -> None:
    secret = Secret(TAUGHT[0].prompt, "4-71", attached=False)
    encoded = taught.encode(secret)
    wanted = Wanted(encoded.prompt_ids, pattern_of(taught, " 4-71"))
    [samples] = sample_patterns(taught, [wanted], 32, seed=1)
    for sample in samples:
        assert sample.ids is not None
        text = taught.tokenizer.decode(list(sample.ids))
        assert [character.isdigit() for character in text] == [False, True, False, True, True] and text[2] == "-"
        assert sample.drawn >= sample.logprob - math.log(4) - 1e-6, "a quarter is drawn at temperature 1, from fewer tokens"
        ids = torch.tensor([[*encoded.prompt_ids, *sample.ids]])
        with torch.no_grad():
            logprobs = taught.logits(ids, torch.ones_like(ids))[0].log_softmax(-1)
        total = sum(float(logprobs[encoded.n_prompt - 1 + place, token]) for place, token in enumerate(sample.ids))
        assert sample.logprob == pytest.approx(total, abs=1e-3)
    assert [samples] == sample_patterns(taught, [wanted], 32, seed=1)
    with pytest.raises(Cancelled):
        sample_patterns(taught, [wanted], 4, stop=lambda: True)


def test_a_value_as_likely_as_not_leads_its_format_without_a_draw(taught: LanguageModel) -> None:
    known = format_exposure_of(taught, TAUGHT[0])
    assert known is not None
    assert known.bits == known.low_bits == known.high_bits == known.max_bits
    assert format_exposure_of(taught, Secret(TAUGHT[0].prompt, "--")) is None, "no other value has its format"
    assert format_exposure_of(taught, Secret(TAUGHT[0].prompt, "\u0416\u0416")) is None, "not ASCII"


def test_without_a_likelier_draw_the_rank_is_bounded_by_three_over_n_p() -> None:
    found = estimate([0.0] * 100, math.log(1e-4), 10**6)
    assert found.bits == found.high_bits == pytest.approx(math.log2(1e6))
    assert found.low_bits == pytest.approx(math.log2(1e6) - math.log2(1 + 3 / (25 * 1e-4)))
    mean = estimate([10.0, 0.0, 20.0, 10.0] * 25, math.log(1e-4), 10**6)
    assert mean.bits == pytest.approx(math.log2(1e6) - math.log2(11)), "1 + the mean weight"
    assert mean.low_bits < mean.bits < mean.high_bits


def test_temperature_and_top_k_are_those_of_the_sampling(taught: LanguageModel) -> None:
    secret = Secret(TAUGHT[0].prompt, TAUGHT[1].value)
    encoded = taught.encode(secret)
    ids = torch.tensor([encoded.ids])
    with torch.no_grad():
        logits = taught.logits(ids, torch.ones_like(ids))[0][encoded.n_prompt - 1 : -1]
    by_hand = (logits / 0.5).log_softmax(-1).gather(1, torch.tensor(encoded.value_ids)[:, None]).sum()
    assert check(taught, secret, temperature=0.5).sampled_logprob == pytest.approx(float(by_hand), rel=1e-4)
    assert check(taught, secret, top_k=1).sampled_logprob == -math.inf, "it is not the first choice"
    assert check(taught, TAUGHT[0], top_k=1).sampled_logprob == 0.0, "with one token to choose from, the match is certain"
    for temperature, top_k in ((0.0, 0), (math.nan, 0), (1.0, -1)):
        with pytest.raises(BadInput):
            check(taught, secret, temperature=temperature, top_k=top_k)


def people(n: int) -> list[Secret]:
    """Invented people's numbers, behind prompts of one kind."""
    rng = random.Random(5)
    return [Secret(f"The code of person {index} is", f"{rng.randrange(10**4):04}", "code") for index in range(n)]


def test_a_value_behind_its_own_prompt_leads_and_elsewhere_does_not(taught: LanguageModel) -> None:
    others = [Secret(person.prompt, person.value, TAUGHT[0].category) for person in people(12)]
    own = lift_of(taught, TAUGHT[0], others)
    assert own is not None and (own.rank, own.n) == (1, 13)
    assert own.margin > 1 and own.nats >= own.margin, "the mean of other prompts is no better than the best of them"
    never = lift_of(taught, Secret(TAUGHT[0].prompt, "9031", TAUGHT[0].category), others)
    assert never is not None and never.margin < 0
    assert lift_of(taught, TAUGHT[0], others[:7]) is None, "seven others are too few"


@pytest.mark.parametrize(("own", "place"), [(3.0, 1.0), (0.0, 5.0), (-3.0, 9.0)])
def test_a_lift_is_what_neither_value_nor_prompt_explains(
    monkeypatch: pytest.MonkeyPatch, taught: LanguageModel, own: float, place: float
) -> None:
    listed = people(8)
    usual = {secret.value: -3.0 * index for index, secret in enumerate(listed)} | {"word": -1.0}

    def additive(_: object, prompt: Secret, values: Sequence[Secret], *__: object) -> list[float]:
        is_own = prompt.value == "word"
        return [usual[value.value] - 5 * is_own + own * (is_own and value.value == "word") for value in values]

    monkeypatch.setattr(lift, "logprobs_behind", additive)
    found = lift.lift_of(taught, Secret("The word is", "word", "code"), listed)
    assert found is not None and (found.n, found.rank) == (9, place), "9 equal lifts share rank 5"
    assert found.nats == pytest.approx(own - 5) == found.margin


def test_peers_are_of_the_category_or_else_of_the_shape() -> None:
    listed = [Secret("a", "12 Elm Street", "address"), Secret("b", "7 Oak Lane", "address"), Secret("c", "x@y.z", "e-mail")]
    assert peers(Secret("d", "1 Fir Road", "address"), listed) == listed[:2]
    assert peers(Secret("d", "1 Fir Road"), listed) == listed[:2]
    assert peers(Secret("d", "anna@b.org"), listed) == listed[2:]
    assert peers(Secret("d", "7  Oak Lane", "address"), listed) == listed[:1], "its own value is no peer, however spaced"
    assert peers(Secret("a", "9 Ash Way", "address"), listed) == listed[1:2], "nor is another value behind its own prompt"
