"""Whose data stands in a secret's place: planted near copies are found, unrelated values of the same format are not."""

from pathlib import Path

import pytest

from privlens import results_json
from privlens.cli import tables
from privlens.memorization.candidates import candidates
from privlens.memorization.whose import Match, listed_owner
from privlens.outcomes import Effect, MemorizationState
from privlens.secret_lists import ListedSecret, read_secrets
from privlens.types import Secret
from privlens.ui.text import wording

ROOT = Path(__file__).parents[2]
TARGET = Secret("The keeper is", "Xoxis Typan", "name")
LISTED = [
    TARGET, Secret("The owner is", "Zuxisa Zonuk", "name"), Secret("The guest is", "Kalaki Hiraf", "name"),
    Secret("The code is", "417", "code"), Secret("Dial", "5420-3557", "phone"),
]  # fmt: skip


def found(text: str, target: Secret = TARGET) -> tuple[int, str] | None:
    match = listed_owner(text, target, LISTED)
    return match and (match.row, match.kind)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Zuxisa Zonuk. The meeting was", (1, "equal")),
        ("ZUXISA  zonuk", (1, "equal")),
        (" Z5uxisa Zonuk. The meeting was", (1, "near")),
        (" Zuxisa Zonug, the keeper", (1, "near")),
        (" Sirai Hiraf. The keeper", (2, "part")),
        (" 5420-3551 or so", (4, "near")),
        (" 5421-3551", None),
        (" Mirax Polan. The meeting was", None),
        (" Xoxis Typam", None),
        ("", None),
        ("a", None),
        (" the owner is away", None),
    ],
)
def test_planted_words(text: str, expected: tuple[int, str] | None) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(("text", "expected"), [(" 417. The", (3, "equal")), ("417", (3, "equal")), ("4170", None), ("41", None)])
def test_a_short_value_must_be_equal(text: str, expected: tuple[int, str] | None) -> None:
    assert found(text) == expected


def test_the_similarity_of_one_more_character_is_known() -> None:
    match = listed_owner("Z5uxisa Zonuk", TARGET, LISTED)
    # At its best place the text is "uxisa zonuk": 11 characters, all of them in the value's 12.
    assert match == Match(1, LISTED[1], pytest.approx(100 * 22 / 23), "near")


def test_a_row_with_the_same_value_is_no_other_person() -> None:
    twin = Secret("Another prompt", TARGET.value, "name")
    assert listed_owner(TARGET.value, TARGET, [TARGET, twin]) is None


def test_no_unrelated_value_of_the_demo_is_anybodys() -> None:
    listed = [row.secret for row in read_secrets(ROOT / "assets" / "secrets.csv")]
    tails = ("", ". The meeting with the night shift was", " and then")
    drawn = [(target, value + tails[at % 3]) for target in listed for at, value in enumerate(candidates(target.value, 0, 21))]
    assert len(drawn) == 20 * len(listed)
    alarms = [(text, match) for target, text in drawn if (match := listed_owner(text, target, listed))]
    assert len(alarms) <= len(drawn) / 1000, alarms
    own = [one.value for target in listed if (match := listed_owner(target.value, target, listed)) for one in [match.secret]]
    assert own == [], "no listed value is taken for another's"


def effect(text: str) -> Effect:
    return Effect(TARGET, MemorizationState(True, 0.1, 1.0, TARGET.value, 8.0), MemorizationState(False, 3.0, 0.1, text, 1.0))


def test_the_page_and_the_command_line_say_whose_it_is() -> None:
    rows = [ListedSecret(one) for one in LISTED]
    said = wording.whose([effect(" Z5uxisa Zonuk")], rows)["whose"]
    assert said.startswith("Another person's data:")
    assert "nearly the value of row 1" in said and "Zuxisa Zonuk" in said
    assert wording.whose([effect(" Mirax Polan")], rows) == {}
    owner = results_json.owner(effect(" Z5uxisa Zonuk"), LISTED)
    assert owner is not None and (owner["row"], owner["value"], owner["match"]) == (1, "Zuxisa Zonuk", "near")
    assert results_json.owner(effect(" Mirax Polan"), LISTED) is None
    after = {"text": " Z5uxisa Zonuk", "listed_owner": owner}
    line = '" Z5uxisa Zonuk" is nearly the value of row 1, "Zuxisa Zonuk"'
    assert tables.whose([{"after": after}]) == [("another person's data", line)]
    assert tables.whose([{"after": {"text": "", "listed_owner": None}}]) == []
