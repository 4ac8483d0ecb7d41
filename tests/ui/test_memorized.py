"""The tab Check on values of every kind: what is said, beside a control or without one."""

import math
from dataclasses import replace

import pytest

from privlens.lm.model import LanguageModel
from privlens.memorization.candidates import format_of
from privlens.memorization.check import check, control
from privlens.memorization.depth import tries_in_words
from privlens.types import Secret
from privlens.ui.tabs.memorized.tab import view
from privlens.ui.text.wording import verdict_of_check
from tests.helpers import NEVER_TAUGHT, TAUGHT


def test_a_value_without_a_control_is_checked_all_the_same(taught: LanguageModel) -> None:
    known = check(taught, TAUGHT[0])
    said, value, _, chips, facts, _, own_table, control_table = view(known, None)
    assert said["value"]["kind"] == "known"
    assert "no digit or letter" in said["value"]["detail"]
    assert value == TAUGHT[0].value
    assert [fact["beside"] for fact in facts["value"]] == [""] * 9
    assert [fact["place"] for fact in facts["value"]] == [""] * 3 + ["more"] * 6
    assert [(rank, round(probability, 6)) for _, probability, rank in chips["value"]] == [
        (score.rank, round(math.exp(score.logprob), 6)) for score in known.tokens
    ]
    assert (own_table["visible"], control_table["visible"]) == (True, False)
    unknown = view(check(taught, NEVER_TAUGHT), None)[0]["value"]
    assert unknown["text"] == "Not memorized: the model writes something else."


def test_beside_a_control_its_numbers_stand(taught: LanguageModel) -> None:
    other = control(taught, TAUGHT[0], 0)
    assert other is not None
    rival = check(taught, other)
    said, _, _, _, facts, _, _, control_table = view(check(taught, TAUGHT[0]), rival)
    assert f"{rival.exposure.bits:.1f} bits" in said["value"]["detail"]
    assert facts["value"][1]["beside"] == f"control: {tries_in_words(rival.logprob)}"
    assert facts["value"][5]["beside"] == f"control: {rival.nll:.3f}"
    assert control_table["visible"]


def test_of_a_format_of_few_values_nothing_is_said_of_ranks(taught: LanguageModel) -> None:
    for value, unit in (("x", "bits of 4.32"), ("a", "bits of 2.58")):
        own = check(taught, Secret(TAUGHT[0].prompt, value))
        other = control(taught, own.secret, 0)
        assert other is not None
        rival = check(taught, other)
        said, _, _, _, facts, *_ = view(own, rival)
        assert facts["value"][3]["unit"] == unit
        assert f"{own.exposure.n - 1} others of its format" in facts["value"][3]["note"]
        assert ("too few values" in said["value"]["text"]) == (value == "a")


def test_a_value_that_stands_in_the_prompt_need_not_be_known(taught: LanguageModel) -> None:
    known = check(taught, TAUGHT[0])
    assert "is in the prompt" not in verdict_of_check(known, None)["detail"]
    given = replace(known, secret=Secret(f"{TAUGHT[0].value} is the name of", TAUGHT[0].value))
    assert "is in the prompt" in verdict_of_check(given, None)["detail"]


@pytest.mark.parametrize("value", ["--", "\U0001f600\U0001f600"])
def test_values_of_signs_alone_have_no_control(taught: LanguageModel, value: str) -> None:
    assert control(taught, Secret(TAUGHT[0].prompt, value), 0) is None


def test_a_control_has_the_same_prompt_and_another_value_of_the_format(taught: LanguageModel) -> None:
    rival = control(taught, TAUGHT[0], 0)
    assert rival is not None and rival.prompt == TAUGHT[0].prompt
    assert rival.value != TAUGHT[0].value
    assert format_of(rival.value) == format_of(TAUGHT[0].value)
