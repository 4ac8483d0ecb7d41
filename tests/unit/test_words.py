"""Words take fewer tokens than random letters: demo's values are random, the names in its prompts are words."""

import pytest

from privlens.lm.model import LanguageModel
from privlens.memorization.words import has_words
from privlens.secret_lists import read_secrets


@pytest.mark.parametrize("value", ["John White", "Anna Gray", "12 Elm Street, Changchester", "the keeper of the vault"])
def test_words(demo: LanguageModel, value: str) -> None:
    assert has_words(demo, value)
    assert has_words(demo, f" {value} ")


@pytest.mark.parametrize("value", ["555-0142", "***", "YO-897844-H", "W7 9703", "9f2e71a0", "sk-ab3dQx9fLmPzKtRw", "QX"])
def test_codes_and_numbers_are_none(demo: LanguageModel, value: str) -> None:
    assert not has_words(demo, value)


def test_a_tokenizer_that_cannot_tell_takes_letters_for_words(demo: LanguageModel) -> None:
    """Each of these signs is three tokens, bytes, as is any other in its place."""
    assert has_words(demo, "\u738b\u5c0f\u660e")


def test_random_values_are_seldom_taken_for_words(demo: LanguageModel) -> None:
    values = [row.secret.value for row in read_secrets("assets/secrets.csv")]
    with_letters = [value for value in values if any(map(str.isalpha, value))]
    n_words = sum(has_words(demo, value) for value in with_letters)
    assert len(with_letters) == 72 and n_words <= 4, "two of 72: Zuxisa Zonuk and an e-mail address"
