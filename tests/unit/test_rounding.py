"""Weights rounded to few bits: values by hand, which weights, and restored bit for bit whatever happens."""

import pytest
import torch
from torch import Tensor

from privlens.errors import UnsupportedModel
from privlens.lm import rounding
from privlens.lm.model import LanguageModel
from privlens.lm.rounding import ROUNDINGS, Rounding, round_to_nearest, rounded
from tests.helpers import Maker, edit_of

INT4 = Rounding("int4", 4)


def test_rounding_by_hand() -> None:
    """int8: steps of 1.27 / 127 = .01; int4: steps of 7 / 7 = 1, and of .6 / 7 where the last input is its own group."""
    weights = torch.tensor([[1.27, -0.504, 0.004], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(round_to_nearest(weights, 8), torch.tensor([[1.27, -0.5, 0.0], [0.0, 0.0, 0.0]]))
    weights = torch.tensor([[7.0, -3.4, 0.6], [-14.0, 3.2, 0.6]])
    torch.testing.assert_close(round_to_nearest(weights, 4), torch.tensor([[7.0, -3.0, 1.0], [-14.0, 4.0, 0.0]]))
    torch.testing.assert_close(round_to_nearest(weights, 4, 2), torch.tensor([[7.0, -3.0, 0.6], [-14.0, 4.0, 0.6]]))


def test_a_rounded_matrix_has_few_values_in_each_channel() -> None:
    weights = torch.randn(5, 200, generator=torch.Generator().manual_seed(0))
    assert all(len(row.unique()) <= 15 for row in round_to_nearest(weights, 4))
    again = round_to_nearest(round_to_nearest(weights, 4), 4)
    torch.testing.assert_close(again, round_to_nearest(weights, 4))
    by_32 = (round_to_nearest(weights, 4, 32) - weights).square().mean()
    assert by_32 < (round_to_nearest(weights, 4) - weights).square().mean(), "smaller groups, smaller errors"


def weights_of(lm: LanguageModel) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in lm.model.named_parameters()}


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox"])
def test_the_layers_matrices_are_rounded_by_output_and_nothing_else(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    before = weights_of(lm)
    with rounded(lm, INT4):
        inside = weights_of(lm)
    for name, weight in before.items():
        in_layers = any(f".{part}." in name for part in ("h", "layers")) and weight.ndim == 2
        expected = weight
        if in_layers:
            expected = round_to_nearest(weight.T, 4).T if architecture == "gpt2" else round_to_nearest(weight, 4)
        torch.testing.assert_close(inside[name], expected)
        assert in_layers != torch.equal(inside[name], weight)
    assert all(torch.equal(before[name], weight) for name, weight in weights_of(lm).items())


@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError, None])
def test_weights_are_restored_bit_for_bit(lm: LanguageModel, raised: type[BaseException] | None) -> None:
    """Also those of a view with an edit, after an error or an interrupt."""
    view = lm.under(edit_of(lm, 3))
    before = weights_of(lm)
    for state in (lm, view):
        for way in ROUNDINGS:
            try:
                with state.held():
                    edited = weights_of(lm)
                    with rounded(state, way):
                        if raised:
                            raise raised("stop")
                    assert all(torch.equal(edited[name], weight) for name, weight in weights_of(lm).items())
            except (KeyboardInterrupt, RuntimeError):
                pass
            assert all(torch.equal(before[name], weight) for name, weight in weights_of(lm).items())
    assert not lm.is_damaged


def test_codes_are_refused_in_words(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "is_plain", lambda _: False)
    with pytest.raises(UnsupportedModel, match="cannot be rounded"), rounded(lm, INT4):
        pass
