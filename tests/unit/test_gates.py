"""The gate: zero equals a zeroed weight, one changes nothing, rows do not touch, and the model comes back bit for bit."""

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from privlens.errors import BadInput
from privlens.lm import gating as gate_hooks
from privlens.lm.layout import find_layout
from privlens.lm.model import LanguageModel
from privlens.types import Neuron, Site
from tests.helpers import ARCHITECTURES, HIDDEN, LAYERS, WIDTH, Maker

IDS = torch.tensor([[5, 60, 17, 200, 31, 8], [9, 9, 280, 44, 100, 3]])
MASK = torch.ones_like(IDS)
NEURONS = [Neuron(0, 1), Neuron(1, 13), Neuron(1, 0), Neuron(2, 15)]
SITES: list[Site] = ["mlp", "attention"]


def zeroed(lm: LanguageModel, site: Site) -> Tensor:
    """Logits of a copy whose projections have zeros in the weights that read NEURONS."""
    model = copy.deepcopy(lm.model)
    projections = find_layout(model).site(site)
    for layer, index in NEURONS:
        weight = projections[layer].weight.data
        if isinstance(projections[layer], Conv1D):
            weight[index] = 0
        else:
            weight[:, index] = 0
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=MASK).logits


def both(lm: LanguageModel, seed: int) -> dict[Site, Tensor]:
    """Gates of each site, and of both put together."""
    apart: dict[Site, Tensor] = {one: random_gates(2, seed + at, lm.shape(one)[1]) for at, one in enumerate(SITES)}
    return {**apart, "both": torch.cat([apart["mlp"], apart["attention"]], -1)}


def random_gates(rows: int, seed: int = 0, width: int = WIDTH) -> Tensor:
    return torch.rand(rows, LAYERS, width, generator=torch.Generator().manual_seed(seed))


def assert_untouched(lm: LanguageModel, weights: dict[str, Tensor], logits: Tensor) -> None:
    """Weights, hooks and logits are what they were, bit for bit."""
    assert all(torch.equal(weights[name], now) for name, now in lm.model.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in lm.model.modules())
    assert torch.equal(lm.logits(IDS, MASK), logits)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_zero_equals_a_zeroed_weight(tiny: Maker, architecture: str, site: Site) -> None:
    lm = tiny(architecture)
    with lm.gated(lm.off(NEURONS, site), site):
        gated = lm.logits(IDS, MASK)
    torch.testing.assert_close(gated, zeroed(lm, site), rtol=1e-5, atol=1e-5)
    assert (gated - lm.logits(IDS, MASK)).abs().max() > 1e-2, "the neurons must matter, or this test could not fail"


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "opt"])
def test_gates_on_both_sites_are_those_of_either_together(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    gates = both(lm, 7)
    with lm.gated(gates["mlp"], "mlp"), lm.gated(gates["attention"], "attention"):
        apart = lm.logits(IDS, MASK)
    with lm.gated(gates["both"], "both"):
        assert torch.equal(lm.logits(IDS, MASK), apart)
    assert lm.shape("both") == (LAYERS, lm.d_mlp + lm.shape("attention")[1])


def test_attention_is_numbered_on_from_the_last_neuron(lm: LanguageModel) -> None:
    with lm.gated(lm.off([Neuron(1, 3)], "attention"), "attention"):
        alone = lm.logits(IDS, MASK)
    with lm.gated(lm.off([Neuron(1, lm.d_mlp + 3)], "both"), "both"):
        assert torch.equal(lm.logits(IDS, MASK), alone)
    assert not torch.equal(lm.logits(IDS, MASK), alone)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ones_change_nothing_and_the_model_comes_back(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    weights = {name: value.clone() for name, value in lm.model.state_dict().items()}
    logits = lm.logits(IDS, MASK)
    with lm.gated(lm.off([])):
        assert torch.equal(lm.logits(IDS, MASK), logits)
    with lm.gated(random_gates(1, width=lm.d_mlp)):
        assert not torch.equal(lm.logits(IDS, MASK), logits)
    assert_untouched(lm, weights, logits)
    with pytest.raises(IndexError), lm.gated(random_gates(2, width=lm.d_mlp)):
        lm.logits(IDS + 10_000, MASK)
    assert_untouched(lm, weights, logits)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_row_has_its_own_gates(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    gates = random_gates(2, width=lm.d_mlp)
    with lm.gated(gates):
        both = lm.logits(IDS, MASK)
    for row in range(2):
        with lm.gated(gates[row : row + 1]):
            alone = lm.logits(IDS[row : row + 1], MASK[row : row + 1])
        torch.testing.assert_close(both[row : row + 1], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_token_may_have_its_own_gates(tiny: Maker, architecture: str) -> None:
    lm = tiny(architecture)
    gates = random_gates(2, width=lm.d_mlp)
    with lm.gated(gates):
        everywhere = lm.logits(IDS, MASK)
    by_token = gates[:, :, None].repeat(1, 1, IDS.shape[1], 1)
    with lm.gated(by_token):
        torch.testing.assert_close(lm.logits(IDS, MASK), everywhere, rtol=1e-5, atol=1e-5)
    by_token[:, :, 4:] = 1.0  # what comes later cannot change what was predicted before
    with lm.gated(by_token):
        some = lm.logits(IDS, MASK)
    torch.testing.assert_close(some[:, :4], everywhere[:, :4], rtol=1e-5, atol=1e-5)
    assert (some[:, 4:] - everywhere[:, 4:]).abs().max() > 1e-2


def test_gates_of_one_layer_alone(lm: LanguageModel) -> None:
    gates = random_gates(2)
    others = torch.ones_like(gates)
    others[:, 1] = gates[:, 1]
    with lm.gated(others):
        expected = lm.logits(IDS, MASK)
    with lm.gated(gates[:, 1:2], layer=1):
        assert torch.equal(lm.logits(IDS, MASK), expected)


def test_nested_gates_multiply(lm: LanguageModel) -> None:
    first, second = random_gates(1, 1), random_gates(2, 2)
    with lm.gated(first), lm.gated(second):
        nested = lm.logits(IDS, MASK)
    with lm.gated(first * second):
        torch.testing.assert_close(nested, lm.logits(IDS, MASK), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_equals_a_finite_difference(tiny: Maker, architecture: str, site: Site) -> None:
    lm = tiny(architecture)
    model = copy.deepcopy(lm.model).double()
    projections = find_layout(model).site(site)

    def logprob(gates: Tensor) -> Tensor:
        with gate_hooks.gated(projections, gates):
            logits = model(input_ids=IDS, attention_mask=MASK).logits
        return logits[:, 2].double().log_softmax(-1)[:, 77].sum()

    gates = random_gates(1, width=lm.shape(site)[1]).double().requires_grad_()
    [gradient] = torch.autograd.grad(logprob(gates), gates)
    slopes = torch.zeros(len(NEURONS), dtype=torch.float64)
    for at, (layer, index) in enumerate(NEURONS):
        step = torch.zeros_like(gates)
        step[0, layer, index] = 1e-3
        with torch.no_grad():
            slopes[at] = (logprob(gates + step) - logprob(gates - step)) / 2e-3
    # Norms of some architectures compute in float32 whatever the model's type, hence the tolerance.
    own = torch.stack([gradient[0, layer, index] for layer, index in NEURONS])
    torch.testing.assert_close(own, slopes, rtol=5e-3, atol=1e-3)
    assert slopes.abs().max() > 0.02


class Flattening(nn.Module):
    """An MLP that hands its projections [batch * tokens, width], as OPT's layers have done."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(HIDDEN, WIDTH), nn.Linear(WIDTH, HIDDEN)

    def forward(self, hidden: Tensor) -> Tensor:
        flat = hidden.reshape(-1, HIDDEN)
        return self.down(self.up(flat).relu()).view_as(hidden)


def test_a_layer_that_flattens_batch_and_tokens() -> None:
    layer, gates = Flattening(), random_gates(3)[:, :1]
    hidden = torch.randn(3, 5, HIDDEN, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), gate_hooks.gated([layer.down], gates):
        flat = layer(hidden)
    with torch.no_grad():
        assert not torch.allclose(flat, layer(hidden), atol=1e-3)
    for row in range(3):
        with torch.no_grad(), gate_hooks.gated([layer.down], gates[row : row + 1]):
            torch.testing.assert_close(flat[row], layer(hidden[row : row + 1])[0], rtol=1e-5, atol=1e-6)


def test_tokens_with_gates_of_their_own_in_a_layer_that_flattens() -> None:
    layer, gates = Flattening(), torch.rand(3, 1, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    hidden = torch.randn(3, 5, HIDDEN, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), gate_hooks.gated([layer.down], gates):
        flat = layer(hidden)
    by_hand = layer.down(layer.up(hidden).relu() * gates[:, 0])
    torch.testing.assert_close(flat, by_hand.detach(), rtol=1e-5, atol=1e-6)


def test_gates_that_do_not_fit_are_refused_in_words(lm: LanguageModel) -> None:
    with pytest.raises(BadInput, match=r"\[rows, 3, width\]"), lm.gated(torch.ones(3, WIDTH)):
        pass
    with pytest.raises(BadInput, match="3 rows of gates were given for a batch of 2"), lm.gated(random_gates(3)):
        lm.logits(IDS, MASK)
    with pytest.raises(BadInput, match="Gates for 4 tokens were given for a text of 6"), lm.gated(torch.ones(2, 3, 4, WIDTH)):
        lm.logits(IDS, MASK)
    with pytest.raises(BadInput, match=r"4 rows of gates do not fit a batch of 6 tokens"):
        gate_hooks.multiplied(torch.ones(6, WIDTH), torch.ones(4, WIDTH))
    for wrong in (Neuron(LAYERS, 0), Neuron(0, WIDTH), Neuron(-1, 0)):
        with pytest.raises(BadInput, match="There is no neuron"):
            lm.off([wrong])
    assert not any(module._forward_pre_hooks for module in lm.model.modules())
