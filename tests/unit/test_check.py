"""The check of one secret: a memorized one and one never seen, and what the model cannot read."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from privlens.erasure.evaluate import unseen_level
from privlens.errors import BadInput, Cancelled
from privlens.lm.editing import weight_change
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import ValueScore, score
from privlens.lm.tokens import Encoded
from privlens.memorization import metrics
from privlens.memorization.candidates import candidates
from privlens.memorization.check import check, control, exposure_of
from privlens.memorization.metrics import exposure_at
from privlens.memorization.states import memorization_states
from privlens.provenance import provenance
from privlens.types import Edit, Secret
from tests.helpers import NEVER_TAUGHT, TAUGHT


@pytest.mark.parametrize("secret", TAUGHT)
def test_a_memorized_secret(taught: LanguageModel, secret: Secret) -> None:
    found = check(taught, secret)
    assert found.greedy_match
    assert found.continuation.strip() == secret.value
    assert found.nll < 1
    assert found.memorization_accuracy == found.extraction_strength == found.extraction_likelihood == 1
    assert found.exposure.bits is not None and found.exposure.bits > 6
    assert (found.exposure.max_bits, found.exposure.n) == (8, 256)
    assert "255 others" in found.candidate_space
    assert "".join(one.token for one in found.tokens).strip() == secret.value
    assert {one.rank for one in found.tokens} == {1}
    assert found.nll == pytest.approx(-sum(one.logprob for one in found.tokens) / len(found.tokens))


@pytest.mark.parametrize("secret", [TAUGHT[1], NEVER_TAUGHT])
def test_check_and_recall_agree_where_decoding_step_by_step_takes_another_token(
    taught: LanguageModel, secret: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it may in bfloat16, where two tokens are nearly equal. The first choices under teacher forcing decide."""
    encoded = taught.encode(secret)
    [again], [scored] = memorization_states(taught, [secret]), score(taught, [encoded])
    other = [5] * len(encoded.value_ids) if again.greedy_match else list(encoded.value_ids)
    monkeypatch.setattr(LanguageModel, "generate", lambda _, prompts, *rest, **named: [other] * len(prompts))
    found = check(taught, secret)
    assert found.greedy_match == again.greedy_match
    assert (found.continuation.strip() == secret.value) == found.greedy_match
    right = next((at for at, pair in enumerate(zip(scored.argmax, encoded.value_ids, strict=True)) if pair[0] != pair[1]), None)
    if right is not None:
        assert found.continuation == taught.tokenizer.decode([*encoded.value_ids[:right], scored.argmax[right]])


def test_a_secret_never_seen(taught: LanguageModel) -> None:
    found = check(taught, NEVER_TAUGHT)
    assert not found.greedy_match
    assert found.memorization_accuracy < 1
    assert found.nll > check(taught, TAUGHT[1]).nll


def test_spaces_around_the_value_give_the_same_answer(taught: LanguageModel) -> None:
    plain, spaced = check(taught, TAUGHT[1]), check(taught, Secret(TAUGHT[1].prompt + " ", " 555-0142 "))
    assert (spaced.nll, spaced.exposure, spaced.tokens) == (plain.nll, plain.exposure, plain.tokens)


def test_exposure_is_that_of_the_gated_model(taught: LanguageModel) -> None:
    every = [(layer, index) for layer in range(taught.n_layers) for index in range(taught.d_mlp)]
    on, off = exposure_of(taught, NEVER_TAUGHT), exposure_of(taught, NEVER_TAUGHT, gates=taught.off(every))
    assert (on.n, off.n) == (256, 256)
    assert 1 <= on.rank < off.rank


def made_of_words(secret: Secret) -> bool:
    return len(secret.value) > 1 and any(map(str.isalpha, secret.value))


@pytest.mark.parametrize("secret", [*TAUGHT, NEVER_TAUGHT, Secret("her number is", "5"), Secret("her number is", "--")])
def test_exposure_ranks_as_if_every_candidate_had_been_run_to_its_end(taught: LanguageModel, secret: Secret) -> None:
    for k in (0, 8, 32, 128):
        gates = taught.off([(at % 2, at // 2) for at in range(k)])
        everyone = [secret, *(replace(secret, value=value) for value in candidates(secret.value, 3))]
        own, *rest = [sum(one.logprobs) for one in score(taught, [taught.encode(one) for one in everyone], gates)]
        assert exposure_of(taught, secret, gates=gates, seed=3) == metrics.exposure(own, rest, fair=not made_of_words(secret))


def test_of_a_memorized_value_hardly_anything_else_is_run(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[int] = []

    def watched(lm: LanguageModel, texts: Sequence[Encoded], *rest: Any, **named: Any) -> list[ValueScore]:
        run.extend(len(text.value_ids) for text in texts)
        return score(lm, texts, *rest, **named)

    monkeypatch.setattr("privlens.memorization.check.score", watched)
    assert exposure_of(taught, TAUGHT[1]).bits == 8
    assert run[0] == len(taught.encode(TAUGHT[1]).value_ids) > 2
    assert sum(run) < 255, "tokens; fewer than there are candidates"


def test_a_smaller_candidate_space_is_the_beginning_of_the_larger(taught: LanguageModel) -> None:
    assert exposure_of(taught, TAUGHT[1], size=64) == exposure_at(1, 64)
    assert candidates("555-0142", 0, 64) == candidates("555-0142", 0)[:63]


def test_a_control_has_the_prompt_and_another_value_of_the_format(taught: LanguageModel) -> None:
    other = control(taught, TAUGHT[1], 0)
    assert other is not None
    assert other.prompt == TAUGHT[1].prompt
    assert other.value != TAUGHT[1].value
    assert other.value not in candidates(TAUGHT[1].value, 0)[:1]
    assert [character.isdigit() for character in other.value] == [character.isdigit() for character in TAUGHT[1].value]
    assert control(taught, Secret("a", "--"), 0) is None


@pytest.mark.parametrize("secret", [*TAUGHT, NEVER_TAUGHT, Secret("her number is", "5"), Secret("her number is", "x")])
def test_a_model_that_knows_nothing_ranks_by_the_number_of_tokens_alone(taught: LanguageModel, secret: Secret) -> None:
    """Every token has p = 1/V: values of as many tokens tie, however they are batched, and share the middle of their ranks."""
    weight = taught.model.get_parameter("lm_head.weight")
    blank = taught.under(
        Edit({"lm_head.weight": weight_change(weight, torch.zeros_like(weight))}, provenance(taught, 0, {}, 0.0))
    )
    secret = blank.settled(secret)
    own = len(blank.encode(secret).value_ids)
    others = [len(blank.encode(secret.with_value(value)).value_ids) for value in candidates(secret.value, 0)]
    expected = 1 + sum(n < own for n in others) + sum(n == own for n in others) / 2
    assert exposure_of(blank, secret) == exposure_at(expected, len(others) + 1, fair=not made_of_words(secret))
    if set(others) == {own}:
        assert expected == 1 + len(others) / 2


def test_candidates_that_the_model_has_no_room_for_are_left_out(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = taught.encode(TAUGHT[0])
    lengths = [len(taught.encode(replace(TAUGHT[0], value=value)).ids) for value in candidates(TAUGHT[0].value, 0)]
    room = max(lengths) - 1
    assert len(encoded.ids) <= room >= min(lengths), "or this test could not fail"
    monkeypatch.setattr(LanguageModel, "room", property(lambda lm: room))
    found = check(taught, TAUGHT[0])
    fit = sum(length <= room for length in lengths)
    assert (found.exposure.n, found.exposure.bits) == (fit + 1, math.log2(fit + 1))
    assert f"{fit} others" in found.candidate_space
    for seed in range(8):
        other = control(taught, TAUGHT[0], seed)
        assert other is not None and len(taught.encode(other).ids) <= room
    assert unseen_level(taught, [TAUGHT[0]], 0).memorization_accuracy < 1
    monkeypatch.setattr(LanguageModel, "room", property(lambda lm: len(encoded.ids)))
    assert min(lengths) > len(encoded.ids), "or this test could not fail"
    alone = check(taught, TAUGHT[0])
    assert (alone.exposure.bits, alone.exposure.n, control(taught, TAUGHT[0], 0)) == (None, 1, None)
    assert "no other value of its format" in alone.candidate_space


def test_one_token_values_and_long_ones(taught: LanguageModel) -> None:
    assert len(check(taught, Secret("her number is", "5")).tokens) <= 2
    with pytest.raises(BadInput, match="tokens, but this model reads at most 128: shorten"):
        check(taught, Secret("garden gate " * 60, "555"))


def test_stop(taught: LanguageModel) -> None:
    with pytest.raises(Cancelled):
        check(taught, TAUGHT[0], stop=lambda: True)
