"""Running on from a layer: the model's own predictions, whatever the architecture, and nothing left behind."""

import pytest
import torch

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel
from privlens.lm.restart import plain_pass, run_from_layer
from tests.helpers import ARCHITECTURES, LAYERS, Maker

TEXT = list(range(5, 29))
ALIBI = ("bloom", "mpt")
"""Their attention goes by the place of a key, so that copies in one row cannot be told apart."""
AT = torch.tensor([7, 0, 23, 23, 11])
"""Out of order, the first token, and one token twice."""


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in ALIBI])
def test_copies_of_tokens_predict_what_the_plain_pass_predicts(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    past = plain_pass(lm, TEXT)
    ids = torch.tensor([TEXT])
    torch.testing.assert_close(past.logits, lm.logits(ids, torch.ones_like(ids))[0], rtol=1e-5, atol=1e-5)
    for layer in (*range(LAYERS), 0):  # the first layer once more: the passes before must not have grown the past
        torch.testing.assert_close(run_from_layer(lm, past, AT, layer), past.logits[AT], rtol=1e-4, atol=1e-5)


def test_layers_below_are_not_run_and_those_from_there_on_are(lm: LanguageModel) -> None:
    past = plain_pass(lm, TEXT)
    ran: list[int] = []
    handles = [part.register_forward_pre_hook(lambda *_, at=at: ran.append(at)) for at, part in enumerate(lm.layout.mlp)]
    try:
        run_from_layer(lm, past, AT, 1)
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [1, 2]


def test_gates_act_on_their_own_copy_alone(lm: LanguageModel) -> None:
    past = plain_pass(lm, TEXT)
    gates = torch.ones(1, 1, len(AT), lm.d_mlp)
    gates[0, 0, 2] = 0.0
    with lm.gated(gates, layer=0):
        changed = (run_from_layer(lm, past, AT, 0) - past.logits[AT]).abs().amax(1)
    assert (changed > 1e-2).tolist() == [False, False, True, False, False]


def test_whatever_is_raised_the_model_comes_back(lm: LanguageModel) -> None:
    past = plain_pass(lm, TEXT)
    with pytest.raises(IndexError):
        run_from_layer(lm, past, torch.tensor([999]), 2)
    with pytest.raises(BadInput), lm.gated(torch.ones(1, 1, 2, lm.d_mlp), layer=2):
        run_from_layer(lm, past, AT, 2)
    assert not any("forward" in part.__dict__ or part._forward_hooks or part._forward_pre_hooks for part in lm.model.modules())
    torch.testing.assert_close(run_from_layer(lm, past, AT, 2), past.logits[AT], rtol=1e-4, atol=1e-5)


def test_a_forward_that_another_library_has_set_is_put_back(lm: LanguageModel) -> None:
    past, layer = plain_pass(lm, TEXT), lm.layout.layers[0]
    own = layer.forward
    layer.forward = own
    try:
        run_from_layer(lm, past, AT, 1)
        assert layer.__dict__["forward"] is own
    finally:
        del layer.forward
