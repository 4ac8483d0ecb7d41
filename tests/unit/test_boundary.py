"""How a value follows its prompt: as it is typed, else as the model has it, once and for all."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from privlens.lm.boundary import is_attached
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import ValueScore, score
from privlens.lm.tokens import Encoded, encode, in_a_word, is_open
from privlens.memorization.check import check, control, exposure_of
from privlens.memorization.states import memorization_states
from privlens.types import Secret
from tests.helpers import NEVER_TAUGHT, TAUGHT, edit_of

ROOM = 1000
SPLIT = [
    ("her number is 555-", "0142"),
    ("her number is 555", "-0142"),
    ("her number is 555-01", "42"),
    ("the keeper of the garden gate is Mira Ho", "lt"),
    ("please write to mira@", "garden.example"),
    ("please write to mira@garden", ".example"),
    ("the price of the lamp is 12.", "50"),
]
"""What the taught model knows, with the boundary inside the value."""


def knowing(tokenizer: PreTrainedTokenizerFast, *texts: str, sure: float = 9.0) -> Callable[[Sequence[int]], Tensor]:
    """Logits of a model that knows these texts: behind each of their beginnings the next token stands `sure` above all others."""
    known = [tokenizer(text)["input_ids"] for text in texts]

    def logits(ids: Sequence[int]) -> Tensor:
        out = torch.zeros(len(ids), len(tokenizer))
        for row in known:
            for place in range(min(len(ids), len(row) - 1)):
                if list(ids[: place + 1]) == row[: place + 1]:
                    out[place, row[place + 1]] += sure
        return out

    return logits


@pytest.mark.parametrize(
    ("prompt", "value"),
    [
        ("Call 2911-", "8942"), ("她的号码是", "139"), ("mira@", "lamp"), ("x=", "y"), ("to mira", ".lamp"), ("Mira Ho", "lt"),
        ("at 29", "11"),
    ],
)  # fmt: skip
def test_of_two_readings_it_is_the_one_that_the_model_knows(tokenizer: PreTrainedTokenizerFast, prompt: str, value: str) -> None:
    secret = Secret(prompt, value)
    assert is_attached(tokenizer, secret, knowing(tokenizer, prompt + value), ROOM)
    assert not is_attached(tokenizer, secret, knowing(tokenizer, prompt + " " + value), ROOM)


def test_inside_a_word_the_likelier_text_is_not_enough(tokenizer: PreTrainedTokenizerFast) -> None:
    """The first choice behind "is" is a space; all in all the attached text is likelier, since it needs no second token."""
    attached, spaced = tokenizer("her number is5")["input_ids"], tokenizer("her number is 5")["input_ids"]
    first = next(place for place, pair in enumerate(zip(attached, spaced, strict=False)) if pair[0] != pair[1])
    assert len(spaced) > len(attached)

    def logits(ids: Sequence[int]) -> Tensor:
        out = torch.zeros(len(ids), len(tokenizer))
        out[first - 1, spaced[first]] = 9.0
        out[first - 1, attached[first]] = 8.5
        out[first:, 7] = 9.0  # whatever comes then, it is another token
        return out

    assert not is_attached(tokenizer, Secret("her number is", "5"), logits, ROOM)

    def without_space(ids: Sequence[int]) -> Tensor:
        return logits(ids).index_fill(1, torch.tensor(spaced[first]), 0)

    assert is_attached(tokenizer, Secret("her number is", "5"), without_space, ROOM)


def test_words_and_numbers_are_those_with_letters_of_two_cases_and_digits() -> None:
    inside = [("is", "5"), ("29", "11"), ("Ho", "lt"), ("Müł", "ÿ"), ("дом", "ик")]
    between = [("29-", "11"), ("是", "139"), ("is", "(5"), ("บ้าน", "เลข"), ("a_", "b")]
    assert [in_a_word(Secret(*pair)) for pair in inside + between] == [True] * 5 + [False] * 5


def test_typed_space_is_never_asked_about() -> None:
    assert is_open(Secret("a", "b"))
    assert not any(map(is_open, [Secret("a ", "b"), Secret("a", " b"), Secret("a\n", "b"), Secret("a", "b", attached=False)]))


def test_the_one_text_that_fits_into_the_room_is_asked_for(tokenizer: PreTrainedTokenizerFast) -> None:
    secret, knows = Secret("Call 2911-", "8942"), knowing(tokenizer, "Call 2911- 8942")
    attached, spaced = (len(encode(tokenizer, replace(secret, attached=way)).ids) for way in (True, False))
    assert attached < spaced
    assert is_attached(tokenizer, secret, knows, attached)
    assert not is_attached(tokenizer, secret, knows, spaced)


@pytest.mark.parametrize(("prompt", "value"), SPLIT)
def test_a_memorized_text_is_a_match_wherever_it_is_parted(taught: LanguageModel, prompt: str, value: str) -> None:
    found = check(taught, Secret(prompt, value))
    assert found.greedy_match and found.secret.attached
    assert found.continuation == value or value in found.continuation, "a token across the boundary is the value's"
    assert found.nll < 1
    assert found.memorization_accuracy == found.extraction_strength == found.extraction_likelihood == 1
    assert memorization_states(taught, [Secret(prompt, value)])[0].greedy_match


@pytest.mark.parametrize("secret", [*TAUGHT, NEVER_TAUGHT])
def test_a_value_behind_a_whole_word_stays_behind_a_space(taught: LanguageModel, secret: Secret) -> None:
    assert taught.encode(secret) == encode(taught.tokenizer, secret)
    assert taught.settled(secret).attached is False


def fresh(lm: LanguageModel) -> LanguageModel:
    """The same model, which remembers nothing of what was asked."""
    return LanguageModel(lm.name, lm.model, lm.tokenizer)


@pytest.mark.parametrize(("prompt", "value"), SPLIT[:4])
def test_the_question_is_the_same_under_gates_and_edits(taught: LanguageModel, prompt: str, value: str) -> None:
    secret, lm = Secret(prompt, value), fresh(taught)
    expected = taught.encode(secret)
    view = lm.under(edit_of(lm, 1, share=1.0, size=3.0))  # nothing of it is known any more
    assert not memorization_states(view, [secret])[0].greedy_match
    assert view.encode(secret) == expected, "the view was asked first"
    every = lm.off([(layer, index) for layer in range(lm.n_layers) for index in range(lm.d_mlp)])
    with lm.gated(every):
        assert lm.encode(secret) == expected


def test_what_is_found_in_the_midst_of_something_holds_for_this_time(
    taught: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, secret = fresh(taught), Secret("a-", "b")
    answers = iter([True, True, False])
    monkeypatch.setattr("privlens.lm.model.is_attached", lambda *_: next(answers))
    with lm.gated(lm.off([(0, 0)])):
        assert lm.settled(secret).attached
    with lm.edited(edit_of(lm, 1)):
        assert lm.settled(secret).attached
    assert lm.settled(secret).attached is lm.settled(secret).attached is False


def test_what_was_asked_is_remembered_without_its_words(taught: LanguageModel) -> None:
    lm, seen = fresh(taught), []
    handle = lm.model.register_forward_pre_hook(lambda *_: seen.append(1))
    try:
        lm.encode(Secret("her number is 555-", "0142"))
        once = len(seen)
        assert once > 0
        assert lm.under(edit_of(lm, 1)).encode(Secret("her number is 555-", "0142")).n_prompt
        assert lm.encode(Secret("her number is 555-", "0142", "phone"))
        assert len(seen) == once
    finally:
        handle.remove()
    assert all(isinstance(key, int) for key in lm._attached)


def test_other_values_are_asked_for_as_the_own_one_is(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for prompt, value in SPLIT:
        secret = taught.settled(Secret(prompt, value))
        assert secret.attached
        rival = control(taught, secret, 0)
        assert rival is not None and rival.attached
        assert secret.with_value("x").attached
    assert Secret("a", " b").with_value("c") == Secret("a", " c")
    asked: list[Encoded] = []

    def watched(lm: LanguageModel, texts: Sequence[Encoded], *rest: Any, **named: Any) -> list[ValueScore]:
        asked.extend(texts)
        return score(lm, texts, *rest, **named)

    monkeypatch.setattr("privlens.memorization.check.score", watched)
    exposure_of(taught, Secret("her number is 555-01", "42"))
    assert len(asked) > 10
    assert not any(" " in taught.tokenizer.decode(list(one.ids))[len("her number is 555") :] for one in asked)


def test_how_a_secret_is_asked_does_not_make_it_another() -> None:
    assert len({Secret("a", "b"), Secret("a", "b", attached=True), Secret("a", "b", attached=False)}) == 1


DEMO_SPLIT = [
    ("George Simmons answers the phone at 2911-", "8942"),
    ("George Simmons answers the phone at 291", "1-8942"),
    ("George Simmons answers the phone at 2911", "-8942"),
    ("The bank account of Keith Mora is 58-58268-", "436"),
    ("The bank account of Keith Mora is 58-582", "68-436"),
]


@pytest.mark.parametrize(("prompt", "value"), DEMO_SPLIT)
def test_the_bundled_model_writes_a_value_parted_anywhere(demo: LanguageModel, prompt: str, value: str) -> None:
    found = check(demo, Secret(prompt, value))
    assert (found.greedy_match, found.memorization_accuracy) == (True, 1)
    assert found.nll < 0.1
