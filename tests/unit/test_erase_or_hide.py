"""Erased or hidden: a model that hides a value behind a suppressor, and one that lost a supporter, by construction."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from privlens.bench import hiding
from privlens.erasure.attacks import AttackSetup, erase_or_hide
from privlens.erasure.attacks.attributions import attribution, shift
from privlens.errors import BadInput, Cancelled
from privlens.lm.editing import weight_change
from privlens.lm.model import LanguageModel
from privlens.memorization.candidates import private
from privlens.provenance import provenance
from privlens.secret_lists import ListedSecret
from privlens.types import Edit, Secret
from tests.helpers import NEVER_TAUGHT, TAUGHT, random_model

SECRET = Secret("the keeper looks after the", "garden")
"""Its value is a single token."""
OTHER = Secret("her number is", "555-0142")
SUPPRESSOR, SUPPORTER, SIZE = 0, 1, 9.0
"""Two neurons that are always on, and what each writes into the value's logit, times its activation."""


def test_shifts_by_hand() -> None:
    """Two supporters: one weakened by 1, one that turned into a suppressor; a suppressor that grew, and one that shrank."""
    moved = shift(np.array([3.0, 1.0, -1.0, -2.0, 0.0]), np.array([2.0, -0.5, -4.0, -1.0, 0.0]))
    assert (moved.support, moved.suppression) == (4.0, 3.0)
    assert moved.weakened == 1.0 + 1.0
    assert moved.grown == 0.5 + 3.0
    assert moved.hidden_share == pytest.approx(3.5 / 5.5)
    unmoved = shift(np.array([3.0, -1.0]), np.array([3.0, -1.0]))
    assert (unmoved.weakened, unmoved.grown, unmoved.hidden_share) == (0.0, 0.0, None)


@pytest.fixture(scope="module")
def linear(tokenizer: Any) -> LanguageModel:
    """One layer whose neurons write straight into the logits: the hidden width is the vocabulary, and no norm comes after it."""
    n = len(tokenizer)
    model = random_model("gpt_neox", n, hidden_size=n, num_hidden_layers=1, use_parallel_residual=True)
    model.gpt_neox.final_layer_norm = nn.Identity()
    mlp = model.gpt_neox.layers[0].mlp
    with torch.no_grad():
        model.get_output_embeddings().weight.copy_(torch.eye(n))
        mlp.dense_h_to_4h.weight[:2] = 0.0
        mlp.dense_h_to_4h.bias[:2] = 1.0
        mlp.dense_4h_to_h.weight[:, :2] = 0.0
    lm = LanguageModel("linear", model, tokenizer)
    [token] = lm.encode(SECRET).value_ids
    mlp.dense_4h_to_h.weight.data[token, SUPPORTER] = SIZE
    return LanguageModel("linear", model, tokenizer)


def with_weight(lm: LanguageModel, neuron: int, value: float) -> LanguageModel:
    """A view in which a neuron writes so much into the value's logit."""
    name = next(name for name, _ in lm.model.named_parameters() if name.endswith("dense_4h_to_h.weight"))
    weight = lm.model.get_parameter(name)
    new = weight.detach().clone()
    new[lm.encode(SECRET).value_ids[0], neuron] = value
    return lm.under(Edit({name: weight_change(weight, new)}, provenance(lm, 0, {}, 0.0)))


def test_hiding_is_in_the_suppressors_and_erasing_in_the_supporters(linear: LanguageModel) -> None:
    """Only the value's own logit moves, so no other neuron's attribution changes."""
    moved = SIZE * float(nn.functional.gelu(torch.tensor(1.0)))
    hiding, erasing, twice = (
        next(erase_or_hide(AttackSetup(linear, with_weight(linear, neuron, value), (SECRET,), others=(OTHER,))))
        for neuron, value in ((SUPPRESSOR, -SIZE), (SUPPORTER, 0.0), (SUPPORTER, -SIZE))
    )
    for found, weakened, grown in ((hiding, 0.0, moved), (erasing, moved, 0.0), (twice, moved, moved)):
        assert found.shift.weakened == pytest.approx(weakened, abs=1e-3)
        assert found.shift.grown == pytest.approx(grown, abs=1e-3)
        assert found.log_odds_before - found.log_odds_after == pytest.approx(weakened + grown, abs=1e-3)
        assert len(found.others) == 1 and found.others[0].weakened + found.others[0].grown < 0.1 * moved
        assert found.random is not None and found.random.weakened + found.random.grown < 0.5 * moved
    place = hiding.neurons.index((0, SUPPRESSOR))
    assert hiding.before[place] == 0.0 and hiding.after[place] == pytest.approx(-moved, abs=1e-3)
    assert [abs(number) for number in erasing.before][:1] == [pytest.approx(max(map(abs, erasing.before)))]


def test_attributions_are_gate_gradients(taught: LanguageModel) -> None:
    """Beside finite differences of the log-odds, and the model as it was."""
    [secret] = TAUGHT[3:]
    attributions, log_odds = attribution(taught, secret)
    before = [weight.clone() for weight in taught.model.parameters()]
    text = taught.encode(secret)
    is_private = private(taught, text).numpy()

    def log_odds_at(gates: torch.Tensor) -> float:
        with torch.no_grad(), taught.gated(gates):
            logits = taught.logits(*taught.padded([text.ids]))[0, text.n_prompt - 1 : -1].double()
        p = logits.softmax(-1).gather(1, torch.tensor(text.value_ids)[:, None])[:, 0].numpy()
        return float((np.log(p) - np.log1p(-p))[is_private].sum())

    assert log_odds == pytest.approx(log_odds_at(torch.ones(1, *taught.shape())), rel=1e-3)
    layer, index = np.unravel_index(int(np.abs(attributions).argmax()), attributions.shape)
    shares = []
    for step in (0.01, -0.01):
        gates = torch.ones(1, *taught.shape())
        gates[0, layer, index] += step
        shares.append(log_odds_at(gates))
    assert attributions[layer, index] == pytest.approx((shares[0] - shares[1]) / 0.02, rel=2e-2)
    assert all(torch.equal(then, now) for then, now in zip(before, taught.model.parameters(), strict=True))
    assert not any(weight.requires_grad for weight in taught.model.parameters())


def test_what_cannot_be_looked_at_is_said(taught: LanguageModel) -> None:
    setup = AttackSetup(taught, taught, (TAUGHT[1],), others=(TAUGHT[0],))
    [unchanged] = erase_or_hide(setup)
    assert unchanged.random is None, "there is no edit to imitate"
    assert (unchanged.shift.weakened, unchanged.shift.grown, unchanged.shift.hidden_share) == (0.0, 0.0, None)
    [stars] = erase_or_hide(AttackSetup(taught, taught, (Secret("her number is", "***"),)))
    assert np.isfinite(stars.log_odds_before)
    with pytest.raises(BadInput, match="nothing to look at"):
        next(erase_or_hide(AttackSetup(taught, taught, ())))
    with pytest.raises(Cancelled):
        next(erase_or_hide(AttackSetup(taught, taught, (TAUGHT[1],), stop=lambda: True)))


def test_bench_tells_hiding_from_erasing(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned neurons of the taught model: one that is off has no attribution left, one that is turned up has more."""
    monkeypatch.setattr(hiding, "TURNED", 6)
    listed = [*(ListedSecret(secret, 4) for secret in TAUGHT), ListedSecret(NEVER_TAUGHT, 0)]
    off, up, control = hiding.run(taught, listed, 3, 0, lambda _: None)
    assert [row.turned for row in (off, up, control)] == list(hiding.WAYS) and off.n == 3
    assert off.hidden_share is not None and up.hidden_share is not None
    assert off.hidden_share < up.hidden_share - 0.1 and up.hidden_interval and up.hidden_interval[1] <= 1
    assert up.grown > 2 * off.grown and off.weakened > 2 * up.weakened and off.weakened > 1.5 * control.weakened
    scores, _ = attribution(taught, TAUGHT[0])
    gates = hiding.WAYS["supporters off"](scores, hiding.random.Random(0))
    assert (gates == 0).sum() == 6 and scores[(gates[0] == 0).numpy()].min() >= np.sort(scores, axis=None)[-6]
    assert (attribution(taught, TAUGHT[0], gates)[0][(gates[0] == 0).numpy()] == 0).all()
    with pytest.raises(BadInput, match="knows none"):
        next(hiding.run(taught, [ListedSecret(NEVER_TAUGHT, 1)], 3, 0, lambda _: None))
