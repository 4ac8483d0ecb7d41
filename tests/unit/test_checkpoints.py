"""Gradient checkpointing: the same gradients from less, the gates there again, and nothing left behind."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privlens.erasure import ErasureSettings, Request, erase
from privlens.erasure.trainer import with_room
from privlens.errors import BadInput
from privlens.lm import memory
from privlens.lm.memory import row_bytes
from privlens.lm.memory_plan import fitting
from privlens.lm.model import LanguageModel
from privlens.lm.tokens import Encoded
from privlens.localization import Task, result_of
from privlens.localization.gradients import gate_gradient, value_logprob
from privlens.retained.distributions import extent, stored_bytes
from privlens.zoo.loading import load
from tests.helpers import ARCHITECTURES, PLACES, TAUGHT, Maker, saved

ROWS = [Encoded((5, 60, 17, 9, 30, 31), 2), Encoded((40, 50, 60, 70), 1)]


def needs(lm: LanguageModel, n_tokens: int) -> tuple[int, int]:
    """What a row with gradients needs without and with checkpointing."""
    sizes = n_tokens, lm.n_layers, lm.model.config.get_text_config().hidden_size, lm.d_mlp, lm.n_vocabulary, lm.dtype.itemsize
    return row_bytes(*sizes, gradients=True), row_bytes(*sizes, gradients=True, checkpointed=True)


def tight(lm: LanguageModel, patch: pytest.MonkeyPatch, n_tokens: int = 6, n_retained: int = 0) -> LanguageModel:
    """The model where free memory lies between the two, for a run with so many retained texts."""
    (whole, with_checkpointing), stored = needs(lm, n_tokens), stored_bytes(n_retained, n_tokens)
    assert with_checkpointing < whole
    patch.setattr(memory, "free_bytes", lambda device: stored + (whole + with_checkpointing) // 2)
    view = fitting(lm, n_tokens, n_retained=n_retained, stored=stored)
    assert view is not lm
    return view


def gates_for(lm: LanguageModel) -> Tensor:
    return torch.rand(len(ROWS), *lm.shape(), generator=torch.Generator().manual_seed(2))


def gradient_of_gates(lm: LanguageModel, within: Tensor | None = None) -> Tensor:
    """Of the values' log-probabilities under gates that are gone when the backward pass comes, or are others by then."""
    gates = gates_for(lm).requires_grad_()
    with lm.held():
        with lm.gated(gates):
            logits = lm.logits(*lm.padded([row.ids for row in ROWS]))
        with lm.gated(within):
            value_logprob(ROWS, lm.device)(logits).sum().backward()
    assert gates.grad is not None
    return gates.grad


@pytest.fixture
def passes(lm: LanguageModel) -> Iterator[list[int]]:
    """How often each layer of the tiny model was computed."""
    seen: list[int] = []
    handles = [part.register_forward_pre_hook(lambda *_, at=at: seen.append(at)) for at, part in enumerate(lm.layout.mlp)]
    yield seen
    for handle in handles:
        handle.remove()


def state(model: nn.Module) -> dict[str, Any]:
    """All that training could leave changed."""
    parts = dict(model.named_modules())
    return {
        "weights": {name: weight.clone() for name, weight in model.state_dict().items()},
        "flags": {name: (weight.requires_grad, weight.grad is None) for name, weight in model.named_parameters()},
        "training": {name: part.training for name, part in parts.items()},
        "hooks": {name: len(part._forward_pre_hooks) + len(part._forward_hooks) for name, part in parts.items()},
        "forwards": {name: part.__dict__.get("forward") for name, part in parts.items()},
    }


def same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    weights, then = now.pop("weights"), before.pop("weights")
    return before == now and all(torch.equal(then[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_of_gates_are_the_same(tiny: Maker, architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny(architecture)
    before = state(lm.model)
    own, at_one = gradient_of_gates(lm), gate_gradient(lm, [row.ids for row in ROWS], "mlp", value_logprob(ROWS, lm.device))
    view = tight(lm, monkeypatch)
    near = {"rtol": 1e-6, "atol": 1e-6 * float(own.abs().max())}
    torch.testing.assert_close(gradient_of_gates(view), own, **near)
    torch.testing.assert_close(gradient_of_gates(view, within=torch.zeros(1, *lm.shape())), own, **near)
    ids = [row.ids for row in ROWS]
    torch.testing.assert_close(gate_gradient(view, ids, "mlp", value_logprob(ROWS, lm.device)), at_one, **near)
    assert float(own.abs().max()) > 1e-3
    assert same(before, state(lm.model))


def test_every_layer_is_computed_twice_and_only_where_there_is_a_gradient(
    lm: LanguageModel, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient_of_gates(lm)
    assert sorted(passes) == [0, 1, 2]
    passes.clear()
    view = tight(lm, monkeypatch)
    gradient_of_gates(view)
    assert passes == [0, 1, 2, 2, 1, 0]
    passes.clear()
    with torch.no_grad():
        view.logits(*view.padded([ROWS[0].ids]))
    assert passes == [0, 1, 2]


def kept_bytes(lm: LanguageModel) -> int:
    """What autograd keeps of a pass beside the model's own weights."""
    weights = {weight.data_ptr() for weight in lm.model.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            found[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), lm.gated(gates_for(lm).requires_grad_()):
        lm.logits(torch.tensor([[5] * 64] * 2), torch.ones(2, 64))
    return sum(found.values())


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neox"])
def test_less_is_kept(tiny: Maker, architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny(architecture)
    whole = kept_bytes(lm)
    assert kept_bytes(tight(lm, monkeypatch)) < whole / 2


def test_gradients_of_weights_are_the_same(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(view: LanguageModel) -> dict[str, Tensor]:
        parameters = dict(view.model.named_parameters())
        try:
            view.model.requires_grad_(True)
            with view.held():
                loss = value_logprob(ROWS, view.device)(view.logits(*view.padded([row.ids for row in ROWS]))).sum()
                return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
        finally:
            view.model.requires_grad_(False)

    own = found(lm)
    for name, gradient in found(tight(lm, monkeypatch)).items():
        torch.testing.assert_close(gradient, own[name], rtol=1e-6, atol=1e-6 * float(own[name].abs().max()))


def test_the_model_is_its_own_after_an_error(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before, view = state(lm.model), tight(lm, monkeypatch)
    with pytest.raises(BadInput, match="3 rows of gates"), view.gated(torch.ones(3, *lm.shape()).requires_grad_()):
        view.logits(*view.padded([row.ids for row in ROWS]))
    with view.held():
        with view.gated(gates_for(lm).requires_grad_()):
            logits = view.logits(*view.padded([row.ids for row in ROWS]))
        logits.register_hook(lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            logits.sum().backward()
    assert same(before, state(lm.model))


def test_the_estimate_decides(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    whole, with_checkpointing = needs(lm, 50)
    monkeypatch.setattr(memory, "free_bytes", lambda device: whole)
    with caplog.at_level(logging.WARNING, "privlens.memory"):
        assert fitting(lm, 50) is lm
        assert not caplog.records
        monkeypatch.setattr(memory, "free_bytes", lambda device: whole - 1)
        view = fitting(lm, 50)
        assert fitting(view, 50) is view
    [told] = caplog.messages
    assert told.startswith("A run over 50 tokens would need about 0.00 GB, and cpu has 0.00 GB free.")
    assert "continues with gradient checkpointing" in told and "Results are the same." in told
    monkeypatch.setattr(memory, "free_bytes", lambda device: with_checkpointing - 1)
    with pytest.raises(BadInput, match=r"over 50 tokens needs about .* GB, or .* GB with gradient checkpointing, but cpu has"):
        fitting(lm, 50)


def test_a_view_under_edits_stays_under_them(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, last = erase(Request(taught, tuple(TAUGHT[:1]), settings=SHORT))
    assert last.result
    edited = taught.under(last.result)
    view = tight(edited, monkeypatch)
    assert (view.fingerprint, view.edits) == (edited.fingerprint, edited.edits)
    with edited.held():
        assert view.fingerprint == edited.fingerprint, "not applied twice"
    torch.testing.assert_close(gradient_of_gates(view), gradient_of_gates(edited), rtol=1e-5, atol=1e-6)


SHORT = ErasureSettings(share=0.1, steps=2, own_samples=4, sample_tokens=12, neighbours=4, neighbours_each=4, rows=4)


@pytest.mark.parametrize(
    ("method", "n_samples"),
    [
        ("gradient", None), ("token-gradient", None), ("contrastive-gradient", 32), ("hard-concrete", 64), ("slimming", None),
        ("integrated-gradients", None),
    ],
)  # fmt: skip
def test_a_method_finds_the_same(
    taught: LanguageModel, method: str, n_samples: int | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = result_of(method, Task(taught, TAUGHT[0]))
    n_tokens, n_retained = len(taught.encode(TAUGHT[0]).ids), 0
    if n_samples is not None:
        n_retained, n_tokens = extent(taught, TAUGHT[:1], (), (), n_samples, 24)
    tight(taught, monkeypatch, n_tokens, n_retained)
    caplog.clear()
    found = result_of(method, Task(taught, TAUGHT[0]))
    assert len(caplog.records) == 1
    np.testing.assert_allclose(found.scores, whole.scores, rtol=1e-3, atol=1e-4 * float(np.abs(whole.scores).max()))


def test_an_erasure_is_the_same(taught: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(taught, tuple(TAUGHT[:2]), tuple(TAUGHT[2:]), settings=SHORT)
    before = state(taught.model)
    *_, whole = erase(request)
    n_retained, n_tokens = extent(taught, request.forget, request.retained, (), SHORT.own_samples, SHORT.sample_tokens)
    tight(taught, monkeypatch, n_tokens, n_retained + SHORT.memorized_texts + max(SHORT.neighbours, 2 * SHORT.neighbours_each))
    assert with_room(request).model is taught.model and with_room(request) is not taught
    *_, found = erase(request)
    assert whole.result and found.result
    for name, change in whole.result.changes.items():
        assert np.array_equal(found.result.changes[name].indices, change.indices)
        np.testing.assert_allclose(found.result.changes[name].new, change.new, rtol=1e-4, atol=1e-5)
    assert same(before, state(taught.model))


def test_layers_that_rest_on_disk_are_brought_in_again(
    tiny: Maker, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = load(saved(tiny("llama"), tmp_path_factory.mktemp("split")), device="cpu", device_map=PLACES)
    forwards = state(split.model)["forwards"]
    own = gradient_of_gates(tiny("llama"))
    torch.testing.assert_close(gradient_of_gates(tight(split, monkeypatch)), own, rtol=1e-6, atol=1e-6)
    assert state(split.model)["forwards"] == forwards
