"""Attacks on erased secrets: what is chance and what is not, a training that trains, and failures that cost nothing."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from privlens.bench import attacking
from privlens.erasure.attacks import ATTACKS, AttackSetup, attacks, hidden_states, planned, relearning
from privlens.erasure.attacks.chance import judged
from privlens.erasure.attacks.readout import encoded
from privlens.erasure.attacks.setup import Scores
from privlens.erasure.attacks.values import is_copy, similar_values
from privlens.errors import BadInput, Cancelled, ModelDamaged, UnsupportedModel
from privlens.lm.logit_lens import lens, residuals
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.secret_lists import ListedSecret
from privlens.types import Secret
from tests.helpers import ARCHITECTURES, NEVER_TAUGHT, TAUGHT, Maker, random_model

TARGET, REST = TAUGHT[1], (TAUGHT[0], *TAUGHT[2:])
QUICK: dict[str, Any] = {"samples": 3, "relearn_steps": (2, 6), "relearn_rates": (0.1,), "n_values": 159}
NUMBERS = ["555-0112", "555-1213", "555-2324", "555-3435"]
EVERY = ("sampling", "near copies", "logit lens", "reworded prompts", "quantization", "relearning", "linear probe")
NAMES = ["Ada", "Bo", "Cy", "Di"]
LISTED = tuple(Secret(f"the number of {name} is", number) for name, number in zip(NAMES, NUMBERS, strict=True))


def scores(*after: list[float]) -> Scores:
    """One way of attacking; for each target its own success and that of other values."""
    return Scores([np.array([[1.0]])] * len(after), [np.array(own)[:, None] for own in after], "x")


def test_the_limit_of_one_target_by_hand() -> None:
    """99 other values at .00 to .98: with one attack the 5 of 100 highest are above the limit, with five only the highest."""
    unseen = [at / 100 for at in range(99)]
    found = judged("a", scores([0.99, *unseen]), 5, 0)
    assert (found.after, found.limit, found.n_values, found.chance) == (0.99, 0.98, 99, pytest.approx(0.49))
    assert found.found_something
    assert not judged("a", scores([0.98, *unseen]), 5, 0).found_something, "a tie is no proof"
    alone = judged("a", scores([0.95, *unseen]), 1, 0)
    assert alone.limit == 0.94 and alone.found_something
    assert not judged("a", scores([0.94, *unseen]), 1, 0).found_something


def test_layers_are_no_extra_chances() -> None:
    """A value that is first in one of two layers is not, where every other value is first in the other."""
    rows = np.array([[0.9, 0.0]] + [[0.0, 0.9 + at / 1000] for at in range(99)])
    found = judged("a", Scores([rows[:1]], [rows], "x"), 1, 0)
    assert (found.after, found.limit, found.found_something) == (0.9, pytest.approx(0.993), False)


def test_too_few_values_are_no_chance() -> None:
    few = judged("a", scores([1.0, *[0.0] * 19]), 1, 0)
    assert (few.after, few.chance, few.limit, few.found_something, few.n_values) == (1.0, 0.0, None, False, 19)
    assert "cannot be judged" in few.note and "19" in few.note
    assert judged("a", scores([1.0, *[0.0] * 20]), 1, 0).found_something
    assert judged("a", scores([1.0, *[0.0] * 20]), 5, 0).limit is None, "21 values cannot show 1 in 100"
    assert judged("a", scores([1.0]), 1, 0).chance is None


def test_several_targets_are_set_beside_means() -> None:
    unseen = [at / 20 for at in range(20)]
    assert judged("a", scores([0.97, *unseen], [0.97, *unseen]), 5, 0).found_something, "1 in 441 ways is as high"
    assert not judged("a", scores([0.85, *unseen], [0.85, *unseen]), 5, 0).found_something
    found = judged("a", scores([0.5, *unseen], [0.3, *unseen]), 5, 0)
    assert (found.after, found.chance) == (pytest.approx(0.4), pytest.approx(0.475))


@pytest.mark.parametrize("targets", [1, 2, 6])
def test_what_nobody_trained_on_is_flagged_in_at_most_5_percent(targets: int) -> None:
    """Own and other values from one distribution, the best of three layers, five attacks: at most 5 of 100 runs cry."""
    rng, alarms, n = np.random.default_rng(0), 0, 100
    for _ in range(n):
        lots = [[rng.random((120 if targets == 1 else 31, 3)) for _ in range(targets)] for _ in range(5)]
        alarms += any(judged("a", Scores([own[:1] for own in rows], rows, "x"), 5, 0).found_something for rows in lots)
    assert alarms <= 0.05 * n + 2 * math.sqrt(n * 0.05 * 0.95)


def test_chance_is_that_of_the_model_after(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attack tries the other values on the model after the erasure, and on none before it."""
    after = taught.with_checkpointing()  # another view of the same model, which can be told from it
    siege = AttackSetup(taught, after, (TARGET,), (("my number is",),), REST, LISTED, **QUICK)
    real, asked = hidden_states.lens, list[tuple[bool, int]]()
    monkeypatch.setattr(
        hidden_states, "lens", lambda lm, texts, stop: asked.append((lm is after, len(texts))) or real(lm, texts, stop)
    )
    hidden_states.logit_lens(siege)
    assert asked == [(False, 1), (True, 160)]
    read = hidden_states._Probe.read
    probed = list[tuple[bool, int]]()

    def noted(probe: hidden_states._Probe, values: tuple[Secret, ...]) -> Any:
        probed.append((probe.lm is after, len(values)))
        return read(probe, values)

    monkeypatch.setattr(hidden_states._Probe, "read", noted)
    hidden_states.probe(siege)
    assert probed == [(False, 1), (True, 160)]


def test_values_beside_a_secret_are_of_its_format_and_told_to_nobody(taught: LanguageModel) -> None:
    listed = (Secret("p", "0143"), Secret("p", "mira@garden.example"))
    values = similar_values(taught, TARGET, listed, 0, 119)
    assert len(set(values)) == 119 and TARGET.value not in values and "0143" not in values
    assert all(len(value) == 8 and value[3] == "-" and value.replace("-", "").isdigit() for value in values)
    assert similar_values(taught, Secret("p", "***"), listed, 0, 119) == []
    assert len(similar_values(taught, Secret("p", "7"), listed, 0, 119)) == 9


def test_a_natural_word_is_set_beside_words_and_not_beside_letters(taught: LanguageModel) -> None:
    """`garden` is one token, scrambled letters are many: with no words to set beside it, nothing is fair."""
    secret = Secret("the keeper looks after the", "garden")
    assert similar_values(taught, secret, (), 0, 20) == []
    words = ["keeper", "number", "please", "before", "noon", "price", "lamp"]
    assert sorted(similar_values(taught, secret, [Secret("p", word) for word in words[:4]], 0, 20)) == [], "four are too few"
    two = Secret("p", "garden 12")
    listed = [Secret("p", f"{word} 34") for word in words]
    values = similar_values(taught, two, listed, 0, 30)
    assert len(values) == 30 and {value.split()[0] for value in values} == set(words)
    shared = similar_values(taught, Secret("p", "qwxz@garden"), [Secret("p", "bcdf@garden")], 0, 20)
    assert shared and {value.split("@")[1] for value in shared} == {"garden"}, "private to none of them"
    numbers = similar_values(taught, NEVER_TAUGHT, (TARGET,), 0, 50)
    assert len(numbers) == 50 and all(number.startswith("555-") for number in numbers)
    assert "qwxz" not in {value.split("@")[0] for value in shared}


def test_nothing_is_trained_on_a_copy() -> None:
    for value in ("555-0142", " 555-0142 ", "call 555-0142 now"):
        assert is_copy(Secret("other", value), TARGET)
    assert is_copy(Secret("p", "mira  holt"), TAUGHT[0])
    assert not is_copy(Secret("p", "1555-01420"), TARGET)
    siege = AttackSetup(
        None, None, (TARGET,), others=(Secret("q", " 555-0142"), REST[0]), listed=(Secret("q", "555-0142 x"), REST[1])
    )  # type: ignore[arg-type]
    assert siege.known == (REST[0],) and siege.train_on == (REST[0], REST[1])


def weights_of(lm: LanguageModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in lm.model.state_dict().items()}


def same(lm: LanguageModel, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(before[name], now) for name, now in lm.model.state_dict().items())


def test_relearning_learns_or_says_that_it_did_not(taught: LanguageModel) -> None:
    before = weights_of(taught)
    siege = AttackSetup(taught, taught, (TARGET,), others=REST, listed=LISTED, **QUICK)
    found = relearning.relearn(siege)
    assert "without training 100% of the tokens" in found.note and "rate 0.1 took it to" in found.note
    assert found.after[0].shape[0] == 160
    small = next(one for one in attacks(replace(siege, relearn_rates=(1e-7,))) if one.name == "relearning")
    assert (small.ran, small.after, small.found_something) == (False, None, False)
    assert "did not run" in small.note and "did not learn" in small.note
    wild = next(one for one in attacks(replace(siege, relearn_rates=(1e4,))) if one.name == "relearning")
    assert not wild.ran and "rate 10000 exploded" in wild.note
    both = relearning.relearn(replace(siege, relearn_rates=(0.1, 1e4)))
    assert "rate 10000 exploded" in both.note and len(both.after[0]) == 160
    assert same(taught, before)


def test_the_loss_of_relearning_is_measured_on_its_own_texts(taught: LanguageModel) -> None:
    """The first and the last loss by hand, at the rate and after the steps that it says."""
    siege = AttackSetup(taught, taught, (TARGET,), others=REST, listed=LISTED, **QUICK)
    texts = [taught.encode(one) for one in siege.train_on]
    first = -np.mean([np.mean(one.logprobs) for one in score(taught, texts)])
    assert relearning._mean_loss(siege, taught, texts) == pytest.approx(float(first))
    pools = [encoded(siege, values) for values in siege.contenders]
    losses = [loss for loss, _ in relearning._training(siege, pools, texts, 0.1, first)]
    assert len(losses) == 2 and losses[1] < losses[0] < first


@pytest.mark.parametrize("at", [0, 1, 3, 7])
def test_a_stopped_or_broken_relearning_leaves_the_model(taught: LanguageModel, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before, calls = weights_of(taught), iter(range(100))
    siege = AttackSetup(taught, taught, (TARGET,), others=REST, listed=LISTED, **QUICK)
    with pytest.raises(Cancelled):
        relearning.relearn(replace(siege, stop=lambda: next(calls) >= at))
    assert same(taught, before)
    real, passes = relearning.add_gradients, iter(range(100))

    def breaks(*given: Any) -> float:
        if next(passes) == at:
            raise RuntimeError("torn")
        return real(*given)

    monkeypatch.setattr(relearning, "add_gradients", breaks)
    names = [one.name for one in attacks(replace(siege, n_values=20)) if not one.ran]
    assert names == (["relearning"] if at < 6 else [])
    assert same(taught, before)
    assert not any(weight.requires_grad for weight in taught.model.parameters())


def test_a_failed_attack_costs_nothing_else(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    siege = AttackSetup(taught, taught, (TARGET,), (("my number is",),), REST, **QUICK)

    def broken(_: AttackSetup) -> Scores:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\nmore")

    def refused(_: AttackSetup) -> Scores:
        raise UnsupportedModel("no residual stream")

    monkeypatch.setitem(ATTACKS, "logit lens", broken)
    monkeypatch.setitem(ATTACKS, "reworded prompts", refused)
    siege = replace(siege, listed=LISTED)
    found = {one.name: one for one in attacks(siege)}
    assert tuple(found) == planned(siege) == EVERY
    assert [name for name, one in found.items() if not one.ran] == ["logit lens", "reworded prompts"]
    assert found["logit lens"].note == "did not run: RuntimeError: mat1 and mat2 shapes cannot be multiplied"
    assert found["reworded prompts"].note == "did not run: no residual stream"
    for error in (Cancelled("stop"), ModelDamaged("load it anew")):

        def raised(_: AttackSetup, error: Exception = error) -> Scores:
            raise error

        monkeypatch.setitem(ATTACKS, "logit lens", raised)
        with pytest.raises(type(error)):
            list(attacks(siege))


def test_a_value_without_letters_and_digits_is_left_out_in_words(taught: LanguageModel) -> None:
    stars = Secret("her number is", "***")
    found = {one.name: one for one in attacks(AttackSetup(taught, taught, (stars,), others=REST, **QUICK))}
    assert [name for name, one in found.items() if one.ran] == ["sampling"]
    assert all("no letter or digit" in one.note for one in found.values() if not one.ran)
    assert "cannot be judged" in found["sampling"].note
    siege = AttackSetup(taught, taught, (stars, TARGET), ((), ("a number:",)), REST, LISTED, **QUICK)
    both = {one.name: one for one in attacks(siege)}
    assert all(one.ran and "1 of 2 values left out" in one.note for one in both.values())
    assert all(math.isfinite(one.after or 0.0) for one in both.values())


NARROW = {"word_embed_proj_dim": 8, "do_layer_norm_before": False}


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "opt-350m"])
def test_the_last_layer_of_the_lens_is_the_model(tiny: Maker, tokenizer: Any, architecture: str) -> None:
    """Also where a narrower embedding stands behind the last layer and no norm does."""
    narrow = architecture == "opt-350m"
    lm = LanguageModel("opt", random_model("opt", len(tokenizer), **NARROW), tokenizer) if narrow else tiny(architecture)
    texts = [lm.encode(secret) for secret in (TARGET, TAUGHT[2], TAUGHT[0])]
    for found, text, scored in zip(lens(lm, texts), texts, score(lm, texts), strict=True):
        assert found.shape == (lm.n_layers + 1, len(text.value_ids))
        assert tuple(found[-1].tolist()) == scored.argmax


def test_a_lens_by_hand(tiny: Maker) -> None:
    """What the final norm and the head of a GPT-NeoX make of the residual stream."""
    lm = tiny("gpt_neox")
    text = lm.encode(TARGET)
    model = copy.deepcopy(lm.model)  # asked for hidden states, transformers hooks the model for good
    with torch.no_grad():
        states = model(input_ids=torch.tensor([text.ids]), output_hidden_states=True).hidden_states
        last = text.n_prompt - 1
        norm, head = lm.model.gpt_neox.final_layer_norm, lm.model.get_output_embeddings()
        by_hand = [head(norm(state))[0, last:-1].argmax(-1) for state in states[:-1]]
    [found] = lens(lm, [text])
    assert torch.equal(found[:-1], torch.stack(by_hand))
    assert torch.allclose(residuals(lm, [text]).states[:-1], torch.stack([state[0, last:-1] for state in states[:-1]]), atol=1e-5)


class _Listed(nn.Module):
    """A layer that passes on several streams in one, as AltUp does."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: torch.Tensor, *given: Any, **named: Any) -> Any:
        out = self.layer(hidden[0] if hidden.ndim == 4 else hidden, *given, **named)
        return torch.stack([out[0] if isinstance(out, tuple) else out] * 2)


def test_what_has_no_one_residual_stream_is_refused_in_words(tokenizer: Any) -> None:
    model = random_model("gpt_neox", len(tokenizer))
    model.gpt_neox.final_layer_norm.register_forward_pre_hook(lambda _, inputs: (inputs[0][0],) if inputs[0].ndim == 4 else None)
    lm = LanguageModel("altup", model, tokenizer)
    layers = model.gpt_neox.layers
    for at, layer in enumerate(layers):
        layers[at] = _Listed(layer)
    lm.layout = replace(lm.layout, layers=tuple(layers))
    with pytest.raises(UnsupportedModel, match="single residual stream"):
        lens(lm, [lm.encode(TARGET)])


def test_a_model_that_does_more_behind_its_last_layer_is_refused_in_words(tokenizer: Any) -> None:
    """What stands behind the layers looks at the whole text: one state alone is not what it reads."""
    model = random_model("gpt_neox", len(tokenizer))
    norm = model.gpt_neox.final_layer_norm
    norm.register_forward_pre_hook(lambda _, inputs: (inputs[0].cumsum(1),))
    lm = LanguageModel("more", model, tokenizer)
    with pytest.raises(UnsupportedModel, match="not those of a whole pass"):
        lens(lm, [lm.encode(TARGET)])
    found = {one.name: one for one in attacks(AttackSetup(lm, lm, (TARGET,), **QUICK))}
    assert found["sampling"].ran and not found["logit lens"].ran and "whole pass" in found["logit lens"].note


def test_predictions_that_are_no_numbers_are_refused_in_words(tokenizer: Any) -> None:
    model = random_model("gpt_neox", len(tokenizer))
    model.gpt_neox.final_layer_norm.weight.data[3] = torch.nan
    lm = LanguageModel("nan", model, tokenizer)
    with pytest.raises(UnsupportedModel, match="not numbers"):
        lens(lm, [lm.encode(TARGET)])


def test_bench_attacks_counts_false_alarms_and_what_is_found(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted success: each secret alone and two at once, beside values that no attack finds: one of two is 160 of 25,600."""
    never_stop = [ListedSecret(secret, 0) for secret in LISTED]
    listed = [*never_stop, *(ListedSecret(secret, 4) for secret in TAUGHT)]

    def planted(siege: AttackSetup) -> Scores:
        hit = [secret in TAUGHT or secret == LISTED[0] for secret in siege.targets]
        return Scores([np.ones((1, 1))] * len(hit), [np.array([[float(one)]] + [[0.0]] * 159) for one in hit], "x")

    def missed(siege: AttackSetup) -> Scores:
        raise BadInput("no room")

    for name in ATTACKS:
        monkeypatch.setitem(ATTACKS, name, missed if name == "relearning" else planted)
    rows = list(attacking.run(taught, listed, [1, 2], 4, 0, lambda _: None))
    assert [(row.secrets, row.at_once, row.n, row.found) for row in rows] == [
        ("never trained on", 1, 4, 1), ("never trained on", 2, 2, 1), ("memorized", 1, 4, 4), ("memorized", 2, 2, 2)
    ]  # fmt: skip
    assert rows[0].by_attack == dict.fromkeys((name for name in EVERY if name not in ("reworded prompts", "relearning")), 1)
    assert rows[0].notes == {"relearning": "did not run: no room"}
