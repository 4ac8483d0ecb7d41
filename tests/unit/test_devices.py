"""Devices and types: everything the code makes stands where the model stands, and half precision finds the same neurons.

There is no second device on most machines, so torch's meta device stands for one: its tensors have shapes and no values.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from privlens.deactivation import EvalContext, compare, memorization_states, sweep
from privlens.lm import neuron_vectors, unembedding
from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.localization import METHODS, Task, result_of
from privlens.localization.hard_concrete import MaskSettings, hard_concrete
from privlens.localization.integrated import IntegralSettings, integrated_gradients
from privlens.localization.sufficient import SlimmingSettings, SufficientSettings, hard_concrete_sufficient, slimming
from privlens.memorization.check import check
from privlens.neurons.page import PageRequest, page
from privlens.secret_lists import read_secrets
from privlens.types import LocalizationStep, Neuron, Secret
from tests.helpers import TAUGHT

ROOT = Path(__file__).parents[2]
META = torch.device("meta")


class Strict(TorchDispatchMode):
    """The types that met in matrix products, and all types that were made; sums may be float32 beside any model."""

    def __init__(self) -> None:
        super().__init__()
        self.products: set[tuple[torch.dtype, ...]] = set()
        self.made: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        found = func(*args, **(kwargs or {}))
        floats = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor) and one.is_floating_point()]
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm):
            self.products.add(tuple(one.dtype for one in floats))
        self.made |= {one.dtype for one in tree_flatten(found)[0] if isinstance(one, Tensor) and one.is_floating_point()}
        return found


@pytest.fixture(scope="module")
def half(taught: LanguageModel) -> Callable[[torch.dtype], LanguageModel]:
    """The taught model in another type."""

    def make(dtype: torch.dtype) -> LanguageModel:
        return LanguageModel("half", copy.deepcopy(taught.model).to(dtype), taught.tokenizer)

    return make


def everything(lm: LanguageModel) -> None:
    """All that the app does to a model."""
    check(lm, TAUGHT[0])
    around = EvalContext(tuple(TAUGHT[1:]), ("the price of the lamp is 12.50, not 1250.",))
    for method in METHODS:
        task = Task(lm, TAUGHT[0], (TAUGHT[1],))
        *_, last = SHORT[method](task) if method in SHORT else METHODS[method](task)
        scores = last.result
        assert scores is not None and np.isfinite(scores.scores).all()
    list(compare(lm, TAUGHT[0], scores.top(4), around))
    list(sweep(lm, TAUGHT[0], scores, [0, 2], around))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_everything_runs_in_the_models_own_type(half: Callable[[torch.dtype], LanguageModel], dtype: torch.dtype) -> None:
    lm = half(dtype)
    with Strict() as strict:
        everything(lm)
    assert torch.float64 not in strict.made, "a float64 would not exist on mps"
    assert all(len(set(product)) == 1 for product in strict.products)
    assert (dtype, dtype) in {product[-2:] for product in strict.products}
    assert lm.dtype == dtype


ATEN = torch.ops.aten


class SecondDevice(TorchDispatchMode):
    """Lets the meta device stand for a GPU: values that are fetched from it are made up, and nothing of the CPU may meet it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        given = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
        packet, there = func.overloadpacket, [one for one in given if one.device == META]
        if packet == ATEN._to_copy and there and torch.device(kwargs.get("device") or META) != META:
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if packet == ATEN.copy_ and args[1].device == META and args[0].device != META:
            return args[0].fill_(1)
        if packet == ATEN._local_scalar_dense and there:
            return True if args[0].dtype == torch.bool else 1 if not args[0].is_floating_point() else 1.0
        if packet in (ATEN.equal, ATEN.allclose) and there:
            return True
        if packet in (ATEN.index, ATEN.index_put_, ATEN.index_put, ATEN._index_put_impl_) and there:
            args = (args[0], [_places(one) for one in args[1]], *args[2:])
        many = [one for one in given if one.ndim > 0 and one.device != META]  # a single number may go anywhere
        if packet not in (ATEN._to_copy, ATEN.copy_) and there and many:
            raise AssertionError(f"{func}: a tensor of the CPU meets one of the model's device: {[one.shape for one in given]}")
        return func(*args, **kwargs)


def _places(index: Tensor | None) -> Tensor | None:
    """A mask as the places it names, were all of it True; how many they are is a value, which meta does not have."""
    return index if index is None or index.dtype != torch.bool else torch.zeros(index.numel(), dtype=torch.long, device=META)


SHORT: dict[str, Callable[[Task], Iterator[LocalizationStep]]] = {
    "hard-concrete": lambda task: hard_concrete(task, MaskSettings(steps=2)),
    "hard-concrete-sufficient": lambda task: hard_concrete_sufficient(task, SufficientSettings(steps=2)),
    "slimming": lambda task: slimming(task, SlimmingSettings(steps=2)),
    "integrated-gradients": lambda task: integrated_gradients(task, IntegralSettings(steps=3)),
}
"""Training is the same at every step."""


@pytest.fixture(scope="module")
def there(taught: LanguageModel) -> LanguageModel:
    """The taught model on the device that stands for a GPU."""
    lm = LanguageModel("there", copy.deepcopy(taught.model), taught.tokenizer)
    lm.model.to("meta")
    return lm


@pytest.mark.parametrize("method", METHODS)
def test_a_method_makes_every_tensor_on_the_models_device(there: LanguageModel, method: str) -> None:
    assert there.device == META
    with SecondDevice():
        task = Task(there, TAUGHT[0], (TAUGHT[1],))
        *_, last = SHORT[method](task) if method in SHORT else METHODS[method](task)
    assert last.result is not None


def test_measuring_makes_every_tensor_on_the_models_device(there: LanguageModel) -> None:
    with SecondDevice():
        check(there, TAUGHT[0])
        score(there, [there.encode(secret) for secret in TAUGHT], there.off([Neuron(0, 1)]))
        there.generate([[5, 60, 17], [4]], 5, there.off([Neuron(1, 2)]), seed=3)


def test_looks_at_neurons_make_every_tensor_on_the_models_device(there: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights on meta count as offloaded otherwise."""
    for module in (neuron_vectors, unembedding):
        monkeypatch.setattr(module, "is_plain", lambda weight: True)
    texts = ("the price of the lamp is 12.50, not 1250.", "the garden gate")
    with SecondDevice():
        *_, last = page(there, Neuron(1, 2), PageRequest(texts, TAUGHT[0], "the gate", tuple(TAUGHT)), use_cache=False)
        assert last.result and last.result.dimmer and last.result.alone


def test_a_tensor_left_on_the_cpu_would_be_seen(there: LanguageModel) -> None:
    with SecondDevice(), pytest.raises(AssertionError, match="a tensor of the CPU meets"):
        there.logits(torch.tensor([[1, 2]]), torch.ones(1, 2))


def memorized() -> list[Secret]:
    """Two of those that demo knows best."""
    return [row.secret for row in read_secrets(ROOT / "assets" / "secrets.csv") if row.repeats == 64][::12]


def overlap(own: list[Neuron], other: list[Neuron]) -> float:
    return len(set(own) & set(other)) / len(own)


@pytest.mark.parametrize("method", ["gradient", "token-gradient", "contrastive-gradient", "activations"])
def test_bfloat16_finds_the_same_top_neurons_of_demo(demo: LanguageModel, demo16: LanguageModel, method: str) -> None:
    found = []
    for secret in memorized():
        own, other = (result_of(method, Task(lm, secret)).top(demo.n_neurons // 100) for lm in (demo, demo16))
        found.append(overlap(own, other))
    assert np.mean(found) >= 0.9, found


def test_a_mask_in_bfloat16_is_nearer_to_float32_than_another_seed_is_and_does_the_same(
    demo: LanguageModel, demo16: LanguageModel
) -> None:
    """Noisy steps part company where one pass does not: of this secret 85 % of the top 1 % agree, 77 % with another seed.

    One secret: a step in bfloat16 takes a CPU ten times as long.
    """
    secret, k = memorized()[0], demo.n_neurons // 100
    own, other = (result_of("hard-concrete", Task(lm, secret)) for lm in (demo, demo16))
    seeded = result_of("hard-concrete", Task(demo, secret, seed=1))
    near, far = overlap(own.top(k), other.top(k)), overlap(own.top(k), seeded.top(k))
    for found in (own, other):
        assert found.suggested_k
        [state] = memorization_states(demo, [secret], found.top(found.suggested_k), EvalContext())
        assert not state.greedy_match
    assert near >= 0.8
    assert near > far


@pytest.fixture(scope="module")
def demo16(demo: LanguageModel) -> LanguageModel:
    return LanguageModel("demo", copy.deepcopy(demo.model).to(torch.bfloat16), demo.tokenizer)
