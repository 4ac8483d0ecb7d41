"""The logit lens over a whole text, before and after neurons are off or weights are edited."""

import numpy as np
import pytest
import torch

import privlens
from privlens.errors import BadInput, Cancelled
from privlens.lm import logit_lens
from privlens.lm.model import LanguageModel
from privlens.memorization.check import control
from privlens.neurons.lens import lens, reading
from privlens.neurons.lens_records import LensReading, LensResult
from privlens.types import Array, Neuron, from_json, to_json
from tests.helpers import ARCHITECTURES, ASKED, TAUGHT, Maker, Run, edit_of, json_of

SECRET = TAUGHT[1]
OFF = (Neuron(0, 3), Neuron(1, 7), Neuron(1, 8))


def predictions(lm: LanguageModel, off: tuple[Neuron, ...] = ()) -> tuple[Array, Array, Array]:
    """The model's own: probability of each true next token, its rank, and the first choice, from one plain pass."""
    encoded = lm.encode(SECRET)
    with torch.no_grad(), lm.gated(lm.off(off) if off else None):
        logits = lm.logits(*lm.padded([encoded.ids]))[0, :-1]
    true = torch.tensor(encoded.ids[1:])
    probability = logits.softmax(-1).gather(1, true[:, None])[:, 0]
    rank = (logits > logits.gather(1, true[:, None])).sum(1) + 1
    return probability.numpy(), rank.numpy(), logits.argmax(-1).numpy()


def agree(lm: LanguageModel, found: LensReading, off: tuple[Neuron, ...] = ()) -> None:
    """The last row of a reading is what the model predicts."""
    probability, rank, first = predictions(lm, off)
    np.testing.assert_allclose(found.true_probability[-1], probability, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(found.true_rank[-1], rank)
    assert found.top_tokens[-1] == tuple(lm.tokenizer.decode([token]) for token in first)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_last_layer_is_the_models_own_prediction(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    found = reading(lm, lm.encode(SECRET))
    n = len(lm.encode(SECRET).ids)
    assert "".join(found.tokens) == "her number is 555-0142"
    assert found.true_rank.shape == found.true_probability.shape == (lm.n_layers + 1, n - 1)
    assert len(found.top_tokens) == lm.n_layers + 1
    assert (found.top_probability >= found.true_probability - 1e-6).all()
    assert ((found.true_rank == 1) == np.isclose(found.top_probability, found.true_probability)).all()
    agree(lm, found)
    agree(lm, reading(lm, lm.encode(SECRET), OFF), OFF)


def test_a_layer_in_the_middle_by_hand(tiny: Maker) -> None:
    """After layer 0 of a GPT-NeoX: final norm and head on what its second layer is given; in parts of three positions too."""
    lm = tiny("gpt_neox")
    encoded = lm.encode(SECRET)
    given: list[torch.Tensor] = []
    handle = lm.layout.layers[1].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.no_grad():
        lm.logits(*lm.padded([encoded.ids]))
        handle.remove()
        logits = lm.model.get_output_embeddings()(lm.model.gpt_neox.final_layer_norm(given[0]))[0, :-1]
    true = torch.tensor(encoded.ids[1:])
    by_hand = logits.softmax(-1).gather(1, true[:, None])[:, 0].numpy()
    whole = reading(lm, encoded)
    np.testing.assert_allclose(whole.true_probability[1], by_hand, rtol=1e-4, atol=1e-7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logit_lens, "LOGITS_AT_ONCE", 3 * lm.n_vocabulary)
        np.testing.assert_allclose(reading(lm, encoded).true_probability, whole.true_probability, rtol=1e-4, atol=1e-7)


def test_where_a_value_becomes_visible_by_hand() -> None:
    """Two tokens of a prompt, four of a value, in the embeddings and after two layers. The last was never visible below."""
    ranks = np.array([[9, 12, 30, 1, 50], [9, 2, 10, 40, 50], [9, 1, 11, 5, 7]])
    nothing = np.zeros((3, 5), np.float32)
    found = LensReading(("a", "b", "c", "d", "e", "f"), 2, (("x",) * 5,) * 3, nothing, nothing, ranks)
    assert found.value_ranks.tolist() == [[12, 30, 1, 50], [2, 10, 40, 50], [1, 11, 5, 7]]
    assert found.first_layers(1) == (1, None, -1, None)
    assert found.first_layers(10) == (0, 0, -1, 1)
    assert found.visible(1) == (0.25, 0, 0.25)
    assert found.visible(10) == (0.25, 0.5, 0.75)
    assert (found.underneath(1), found.underneath(10)) == (1, 2)


def looked(lm: LanguageModel, off: tuple[Neuron, ...] = (), edited: LanguageModel | None = None) -> LensResult:
    *_, last = lens(lm, SECRET, off=off, edited=edited)
    assert last.result and last.step == last.n_steps
    return last.result


def test_before_and_after_stand_beside_random_neurons_and_a_control(taught: LanguageModel) -> None:
    found = looked(taught, OFF)
    agree(taught, found.before)
    assert found.after and found.random and found.control
    agree(taught, found.after, OFF)
    assert not np.array_equal(found.after.true_probability, found.before.true_probability)
    rival = control(taught, SECRET, 0)
    assert rival
    assert "".join(found.control.tokens) == f"{rival.prompt} {rival.value}"
    assert found.before.visible(1)[-1] == 1 > found.control.visible(1)[-1]
    assert found.off == OFF


def test_under_an_edit_and_with_neurons_off_at_once(taught: LanguageModel) -> None:
    view = taught.under(edit_of(taught, 0, size=0.3))
    found = looked(taught, edited=view)
    assert found.after and found.random is None
    agree(view, found.after)
    agree(taught, found.before)
    both = looked(taught, OFF, view)
    assert both.after and both.random
    agree(view, both.after, OFF)
    assert looked(taught).after is None


def test_what_cannot_be_looked_at_is_refused_and_work_stops_when_asked(taught: LanguageModel) -> None:
    with pytest.raises(BadInput, match="There is no neuron"):
        list(lens(taught, SECRET, off=[Neuron(7, 0)]))
    with pytest.raises(Cancelled):
        next(lens(taught, SECRET, stop=lambda: True))


def test_the_command_and_the_api_say_the_same(run: Run, taught: LanguageModel) -> None:
    privlens.save_neurons(OFF, "off.json")
    found = json_of(run("lens", *ASKED, "--off", "off.json", "--json"))
    by_api = privlens.lens(taught, SECRET, off=OFF)
    assert by_api.after
    np.testing.assert_allclose(found["after"]["true_probability"], by_api.after.true_probability, rtol=1e-3, atol=1e-6)
    assert from_json(LensResult, to_json(by_api)).after.first_layers(1) == by_api.after.first_layers(1)  # type: ignore[union-attr]
    privlens.save_edit(edit_of(taught, 0), "edit.safetensors")
    code, out, _ = run("lens", *ASKED, "--off", "off.json", "--edit", "edit.safetensors")
    assert code == 0
    for part in ("after layer", "embeddings", "still underneath", "control, first", "random off, first 10"):
        assert part in out
    privlens.save_neurons(OFF, "attention.json", "attention")
    code, out, err = run("lens", *ASKED, "--off", "attention.json")
    assert (code, out) == (2, "") and "--site mlp" in err
