"""bitsandbytes itself: models in 8 and 4 bits are gated, localized and generated with; what would change weights is refused."""

import logging
from pathlib import Path

import bitsandbytes
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privlens.erasure import Request, erase
from privlens.errors import BadInput
from privlens.lm.editing import weight_change
from privlens.lm.export import folded, write_model
from privlens.lm.layout import output_vectors, widths
from privlens.lm.model import LanguageModel
from privlens.lm.quantization import weight_type
from privlens.localization import METHODS, Task, result_of
from privlens.planting.plant import PlantSettings, plant
from privlens.provenance import provenance
from privlens.types import Edit, Neuron
from privlens.zoo.loading import load
from privlens.zoo.random_models import random_llama
from tests.helpers import IDS, LAYERS, MASK, SECRET, WIDTH, Maker, as_gguf, saved

BOTH = pytest.mark.parametrize("dtype", ["int8", "int4"])
ROUNDED = {"int8": 0.5 / 127, "int4": 0.16}
"""How far a weight may be from the ordinary one, in units of the largest of its block; NF4's widest step is 0.304."""


Made = dict[tuple[str, str], LanguageModel]
"""Models by architecture and type."""


@pytest.fixture(scope="module")
def made(tiny: Maker, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A tiny gated and a tiny plain architecture, each in 8 and in 4 bits."""
    found = {}
    for architecture in ("llama", "gpt2"):
        folder = saved(tiny(architecture), tmp_path_factory.mktemp(architecture))
        found |= {(architecture, dtype): load(folder, device="cpu", dtype=dtype) for dtype in ("int8", "int4")}
    return found


@BOTH
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_maps_are_quantized_and_counted_as_what_they_stand_for(
    tiny: Maker, made: Made, architecture: str, dtype: str
) -> None:
    lm, plain = made[architecture, dtype], tiny(architecture)
    kind = {"int8": bitsandbytes.nn.Linear8bitLt, "int4": bitsandbytes.nn.Linear4bit}[dtype]
    assert all(isinstance(part, kind) for part in (*lm.layout.mlp, *lm.layout.attention))
    assert [widths(part) for part in lm.layout.mlp] == [(WIDTH, 16)] * LAYERS
    assert (lm.n_parameters, weight_type(lm.model), lm.dtype) == (plain.n_parameters, dtype, torch.float32)
    for own, other in zip(lm.layout.mlp, plain.layout.mlp, strict=True):
        error = (output_vectors(own) - output_vectors(other)).abs().max()
        assert 0 < error <= ROUNDED[dtype] * 1.01 * output_vectors(other).abs().max()


@BOTH
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_pass_without_gradients_changes_nothing_and_gradients_still_come_back(
    made: Made, architecture: str, dtype: str
) -> None:
    lm = made[architecture, dtype]
    before, fingerprint = [weight.clone() for weight in lm.model.parameters()], lm.fingerprint
    lm.generate([[5, 60, 17]], 4)
    gates = torch.ones(1, *lm.shape(), requires_grad=True)
    with lm.held(), lm.gated(gates):
        lm.logits(IDS, MASK)[0, -1, 7].backward()
    assert gates.grad is not None and bool((gates.grad.abs().amax(-1) > 1e-4).all()), "no layer is cut off"
    assert all(map(torch.equal, before, lm.model.parameters())) and lm.fingerprint == fingerprint


@BOTH
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_gate_at_0_takes_away_what_the_neuron_writes(made: Made, architecture: str, dtype: str) -> None:
    lm = made[architecture, dtype]
    projection = lm.layout.mlp[1]
    seen: list[tuple[Tensor, Tensor]] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append((inputs[0], output))

    handle = projection.register_forward_hook(look)
    try:
        for off in ([], [Neuron(1, 3)]):
            with torch.no_grad(), lm.gated(lm.off(off)):
                lm.logits(IDS, MASK)
    finally:
        handle.remove()
    (hidden, whole), (rest, without) = seen
    assert float(rest[..., 3].abs().max()) == 0.0 and torch.equal(rest[..., :3], hidden[..., :3])
    written = hidden[..., 3:4] * output_vectors(projection)[3]
    rounding = 0.02 if dtype == "int8" else 1e-5  # what goes into an 8-bit map is rounded too
    assert float(written.abs().max()) > 0.05
    torch.testing.assert_close(whole - without, written, rtol=0, atol=rounding * float(whole.abs().max()))


def test_a_gates_gradient_in_4_bits_is_the_slope(made: Made) -> None:
    lm = made["llama", "int4"]
    gates, step = torch.ones(1, *lm.shape(), requires_grad=True), 1e-2

    def logit(at: Tensor) -> Tensor:
        with lm.held(), lm.gated(at):
            return lm.logits(IDS, MASK)[0, -1, 7]

    with lm.held():
        logit(gates).backward()
    assert gates.grad is not None
    for layer in range(LAYERS):
        there = torch.zeros(1, *lm.shape())
        there[0, layer, 3] = step
        with torch.no_grad():
            slope = (logit(1 + there) - logit(1 - there)) / (2 * step)
        assert float(gates.grad[0, layer, 3]) == pytest.approx(float(slope), rel=2e-2, abs=1e-4)


@BOTH
@pytest.mark.parametrize("method", METHODS)
def test_every_method_localizes(made: Made, method: str, dtype: str) -> None:
    found = result_of(method, Task(made["llama", dtype], SECRET))
    assert np.isfinite(found.scores).all() and len(set(found.scores.flatten().tolist())) > 5


@BOTH
def test_what_would_change_weights_is_refused_in_words(made: Made, dtype: str, tmp_path: Path) -> None:
    lm = made["llama", dtype]
    why = r"weights of this model are quantized.*load it as float32 or bfloat16.*Switching neurons off works"
    with pytest.raises(BadInput, match=why):
        next(erase(Request(lm, (SECRET,))))
    with pytest.raises(BadInput, match=why):
        folded(lm, lm.off([Neuron(0, 1)]))
    with pytest.raises(BadInput, match=why):
        write_model(lm, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(BadInput, match=r"layer \d are quantized or not in memory.*load the model as float32 or bfloat16"):
        list(plant(lm, SECRET, PlantSettings(ratio=0.1), seed=0))
    name, weight = next((name, one) for name, one in lm.model.named_parameters() if name.endswith("down_proj.weight"))
    edit = Edit({name: weight_change(weight, weight.clone().fill_(3))}, provenance(lm, 0, {}, 0.0))
    with pytest.raises(BadInput, match="is quantized, and an edit would be rounded away"), lm.edited(edit):
        pass


def test_a_checkpoint_that_is_quantized_already(made: Made, tmp_path: Path) -> None:
    lm = made["gpt2", "int4"]
    read = load(saved(lm, tmp_path), device="cpu")
    assert (weight_type(read.model), read.fingerprint) == ("int4", lm.fingerprint)
    with torch.no_grad():
        assert torch.equal(read.logits(IDS, MASK), lm.logits(IDS, MASK))
    assert result_of("gradient", Task(read, SECRET)).scores.max() > 1e-3


def test_8_bit_maps_do_not_report_every_pass(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made["llama", "int8"].logits(IDS, MASK)
    assert not caplog.records


@BOTH
def test_what_cannot_be_quantized_is_refused(tiny: Maker, dtype: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"A .gguf file is quantized already and cannot be read as {dtype}"):
        load(as_gguf(tiny("llama"), tmp_path / "a.gguf"), device="cpu", dtype=dtype)
    with pytest.raises(BadInput, match=f"Random weights are not quantized: use a type other than {dtype}"):
        random_llama(2, 128, 64, "cpu", dtype)


@BOTH
def test_bitsandbytes_that_is_not_there_is_said_in_words(folder: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privlens.lm.quantization.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=f"Type {dtype} needs bitsandbytes.*pip install bitsandbytes"):
        load(folder, device="cpu", dtype=dtype)
