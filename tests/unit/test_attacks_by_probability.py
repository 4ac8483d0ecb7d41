"""Attacks that count success within n tries: rounding that takes an edit back, near copies, relearning; and their controls."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from privlens.erasure.attacks import AttackSetup, attacks, near_copies, quantization, relearning
from privlens.erasure.attacks.readout import encoded, read, tries_needed
from privlens.erasure.attacks.setup import counted, counts_of
from privlens.errors import Cancelled
from privlens.intervals import rate
from privlens.lm.editing import weight_change
from privlens.lm.model import LanguageModel
from privlens.lm.rounding import ROUNDINGS, Rounding, round_to_nearest, rounded
from privlens.lm.scoring import score
from privlens.provenance import provenance
from privlens.types import Change, Edit, Secret
from tests.helpers import TAUGHT

TARGET, REST = TAUGHT[1], (TAUGHT[0], *TAUGHT[2:])
LISTED = tuple(Secret(f"the number of {name} is", f"555-121{row}") for row, name in enumerate("abc"))
QUICK: dict[str, Any] = {"n_values": 30, "relearn_steps": (2, 6), "relearn_rates": (0.1,)}
COARSE = Rounding("int6", 6)
"""Its steps are large enough for a tiny model to be hidden below them, and small enough for it to know what it knew."""


def test_success_within_n_tries_by_hand(taught: LanguageModel) -> None:
    """A value of probability p is among 3 samples with a chance of 1 - (1 - p)^3; an even chance is a success."""
    setup = AttackSetup(taught, taught, (TARGET,), tries=3, n_values=5)
    pool = encoded(setup, setup.contenders[0])
    found = read(setup, taught, pool)
    for row, (_, text) in enumerate(pool):
        [scored] = score(taught, [text])
        p = math.exp(sum(scored.logprobs))
        assert found.within[row] == pytest.approx(1 - (1 - p) ** 3, abs=5e-4)
        assert found.written[row] == (scored.argmax == text.value_ids)
        assert found.succeeded[row] == (1 - (1 - p) ** 3 >= 0.5)
    assert found.succeeded[0] and not found.succeeded[1:].any()
    assert (tries_needed([math.log(0.5)]), tries_needed([math.log(0.1)]), tries_needed([-30.0])) == ("1", "7", "7.4 trillion")


def test_counts_have_exact_intervals() -> None:
    assert counted("x", [True, False, False]).interval == rate(1, 3)
    before, after, others = counts_of("how", [np.array([True])] * 2, [np.array([False, True, False])] * 2)
    assert (before.k, before.n, after.k, after.n, others.k, others.n) == (2, 2, 0, 2, 2, 4)
    assert after.interval[1] == pytest.approx(1 - 0.025**0.5)
    assert len(counts_of("how", [np.array([True])], [np.array([True])])) == 2, "no other values, no rate of them"


@pytest.fixture
def hidden_below_a_step(taught: LanguageModel) -> Iterator[tuple[LanguageModel, LanguageModel]]:
    """A model with weights that six bits hold, and an edit of less than half a step that hides the target."""
    matrices = {name: weight for name, weight in taught.model.named_parameters() if ".layers." in name and weight.ndim == 2}
    original = {name: weight.detach().clone() for name, weight in matrices.items()}
    with torch.no_grad():
        for weight in matrices.values():
            weight.copy_(round_to_nearest(weight, COARSE.bits))
    lm = LanguageModel("on the grid", taught.model, taught.tokenizer)
    text = lm.encode(TARGET)
    steps = {name: weight.abs().amax(1, keepdim=True) / 31 for name, weight in matrices.items()}
    largest = {name: weight.abs() == weight.abs().amax(1, keepdim=True) for name, weight in matrices.items()}
    grid = {name: weight.detach().clone() for name, weight in matrices.items()}
    for _ in range(8):
        lm.model.requires_grad_(True)
        logits = lm.model(input_ids=torch.tensor([text.ids])).logits[0, text.n_prompt - 1 : -1]
        nll = torch.nn.functional.cross_entropy(logits, torch.tensor(text.value_ids))
        gradients = torch.autograd.grad(nll, list(matrices.values()))
        lm.model.requires_grad_(False)
        for (name, weight), gradient in zip(matrices.items(), gradients, strict=True):
            moved = weight + 0.15 * steps[name] * gradient.sign() * ~largest[name]
            weight.copy_(moved.clamp(grid[name] - 0.45 * steps[name], grid[name] + 0.45 * steps[name]))
    changes = dict[str, Change]()
    for name, weight in matrices.items():
        hidden = weight.detach().clone()
        weight.copy_(grid[name])
        changes[name] = weight_change(weight, hidden)
    yield lm, lm.under(Edit(changes, provenance(lm, 0, {}, 0.0)))
    for name, weight in matrices.items():
        weight.copy_(original[name])


def test_an_edit_below_a_rounding_step_is_taken_back(
    hidden_below_a_step: tuple[LanguageModel, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "ROUNDINGS", (COARSE, *ROUNDINGS))
    lm, after = hidden_below_a_step
    before = [weight.clone() for weight in lm.model.parameters()]
    setup = AttackSetup(lm, after, (TARGET,), others=REST, listed=LISTED, **QUICK)
    scores = quantization.quantize(setup)
    assert scores.ways == ("int6", "int8", "int4", "int4 in groups of 32")
    assert scores.after[0].shape == (31, 4) and scores.before[0].shape == (1, 4)
    plain, coarse = read(setup, after, encoded(setup, (TARGET,))), scores.after[0][0, 0]
    assert plain.logprobs[0] < math.log(0.001) and not plain.written[0], "it is hidden"
    assert coarse == pytest.approx(scores.before[0][0, 0], abs=1e-6) == 1.0, "and comes back"
    with rounded(after, COARSE):
        assert all(torch.allclose(then, now, atol=1e-6) for then, now in zip(before, lm.model.parameters(), strict=True))
    counts = {count.what: (count.k, count.n) for count in scores.counts}
    assert counts["greedy, int6: targets after"] == (1, 1) and counts["greedy, int6: other values"] == (0, 30)
    assert all(torch.equal(then, now) for then, now in zip(before, lm.model.parameters(), strict=True))


@pytest.mark.parametrize("attack", [quantization.quantize, near_copies.search])
@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_stopped_attack_leaves_the_model(taught: LanguageModel, attack: Any, at: int) -> None:
    before, calls = [weight.clone() for weight in taught.model.parameters()], iter(range(1000))
    setup = AttackSetup(taught, taught, (TARGET,), others=REST, **QUICK)
    assert setup.contenders
    with pytest.raises(Cancelled):
        attack(replace(setup, stop=lambda: next(calls) >= at))
    assert all(torch.equal(then, now) for then, now in zip(before, taught.model.parameters(), strict=True))


def test_near_copies_are_at_least_the_value(taught: LanguageModel) -> None:
    """Also of a value that is one character from what the model knows: it alone comes back as a near copy."""
    near = replace(TARGET, value="555-0143")
    [after] = near_copies.search(AttackSetup(taught, taught, (near,), others=REST, **QUICK)).after
    assert after[0, 0] > 0.99 and after[1:, 0].max() < 0.01
    assert not read(AttackSetup(taught, taught, (near,)), taught, encoded(AttackSetup(taught, taught, (near,)), [near])).succeeded
    setup = AttackSetup(taught, taught, (TARGET,), others=REST, tries=50, **QUICK)
    scores = near_copies.search(setup)
    verbatim = read(setup, taught, encoded(setup, setup.contenders[0]))
    assert (scores.after[0][:, 0] >= verbatim.within).all()
    assert [(count.k, count.n) for count in scores.counts][:2] == [(1, 1), (1, 1)]


def test_relearning_counts_success_at_n(taught: LanguageModel) -> None:
    """Known before, after and again: 1 of 1; values that nobody trained on stay out of reach."""
    setup = AttackSetup(taught, taught, (TARGET,), others=REST, listed=LISTED, **QUICK)
    record = next(attack for attack in attacks(setup) if attack.name == "relearning")
    counts = {count.what: count for count in record.counts}
    assert record.after is not None
    assert [(count.k, count.n) for count in counts.values()][:2] == [(1, 1), (int(record.after >= 0.5), 1)]
    others = counts["within 200 tries, relearned: other values"]
    assert others.n == 30 and others.interval == rate(others.k, 30)
    assert "best: " in record.detail and "steps at rate 0.1" in record.detail
    assert TARGET not in setup.train_on
    with pytest.raises(Exception, match="did not learn"):
        relearning.relearn(replace(setup, relearn_rates=(1e-8,)))
