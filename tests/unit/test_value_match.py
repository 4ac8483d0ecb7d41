"""Whether a value stands in a text: whole words for short ones, anywhere for long ones."""

import pytest

from privlens.value_match import contains_any, contains_half

FOUND = [
    ("a", "his group is a"), ("a", "a."), ("A", "type A-"), ("7", "room 7, floor 2"), ("12.50", "it is 12.50."),
    ("Mira", "mail mira_Mira@x.example"), ("Mira Holt", "ask Mira\n Holt."), ("555-0142", "call 555-0142 now"),
    ("555-0142", "call1555-01429now"), ("1607 5994 4976 2074", "no. 1607  5994 4976\t2074"), ("caf\u00e9", "un cafe\u0301"),
    ("\u738b", "\u6211\u53eb\u738b\u4f1f"), ("\u738b\u4f1f", "\u6211\u53eb\u738b\u4f1f\u3002"), ("***", "it is***"), (" a ", "a"),
]  # fmt: skip
NOT_FOUND = [
    ("a", "and at"), ("e", "the gate"), ("7", "room 17 or 70"), ("Ann", "Anna"), ("Holt", "Holthaus"), ("lamp", "lamps"),
    ("0142", "10142"), ("12.50", "112.50"), ("e", "cafe\u0301"), ("a", "A"), ("a", ""), ("", "text"), (" ", "a b"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), FOUND)
def test_a_value_is_found_as_whole_words(value: str, text: str) -> None:
    assert contains_any([value])(text)
    assert contains_half([value])(text)


@pytest.mark.parametrize(("value", "text"), NOT_FOUND)
def test_a_short_value_is_not_found_inside_words(value: str, text: str) -> None:
    assert not contains_any([value])(text)
    assert not contains_half([value])(text)


def test_a_second_place_is_looked_at_where_the_first_is_inside_a_word() -> None:
    assert contains_any(["a"])("banana a")
    assert contains_any(["aa"])("baaa aa")


def test_half_of_a_long_value_is_enough_where_that_is_asked() -> None:
    assert contains_half(["555-0142"])("the end is 0142")
    assert contains_half(["555-0142"])("it begins 555-9999")
    assert not contains_any(["555-0142"])("the end is 0142")
    assert not contains_half(["555-014"])("the end is 014"), "a short value counts as a whole"
