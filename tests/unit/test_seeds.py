"""One seed, one result, bit for bit, whatever other models, visitors and threads do meanwhile."""

import ast
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import privlens
from privlens.lm.generation import Sampling, _Sample
from privlens.lm.model import LanguageModel
from privlens.localization import Task
from privlens.localization.hard_concrete import MaskSettings, hard_concrete
from privlens.zoo.initial_weights import draw_weights
from privlens.zoo.random_models import random_gpt2
from tests.helpers import TAUGHT, Maker

PROMPTS = [[40, 50, 60, 70, 80, 90, 100], [33], [7, 120, 9]]
SHORT = MaskSettings(steps=3, own_samples=8, sample_tokens=8, rows=4)
PROCESS_WIDE = {
    "torch": {"manual_seed", "seed", "set_rng_state", "set_default_dtype"},
    "torch.random": {"manual_seed", "seed", "set_rng_state", "fork_rng"},
    "torch.cuda": {"manual_seed", "manual_seed_all", "seed", "set_rng_state"},
    "random": {"seed", "random", "randint", "choice", "choices", "sample", "shuffle", "randrange", "uniform", "setstate"},
    "Faker": {"seed"},
}
"""What draws from, or turns, something that the whole process shares."""
DRAWS = {"bernoulli_", "exponential_", "normal_", "random_", "uniform_", "multinomial", "randperm", "rand", "randn", "randint"}
FLOATS = {"rand", "randn", "ones", "zeros", "empty", "eye", "linspace", "full"}
CALLS = [
    (file, node)
    for file in sorted(Path(privlens.__file__).parent.rglob("*.py"))
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
]


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def has(node: ast.Call, name: str) -> bool:
    return any(keyword.arg == name for keyword in node.keywords)


def test_nothing_in_the_package_seeds_or_asks_the_whole_process() -> None:
    wrong = []
    for file, node in CALLS:
        home, _, name = called(node).rpartition(".")
        shared = name in PROCESS_WIDE.get(home, set()) or (home in ("np.random", "numpy.random") and name != "default_rng")
        theirs = name in DRAWS and home != "random" and not home.endswith("rng") and ".default_rng(" not in home
        if shared or (theirs and not has(node, "generator")):
            wrong.append(f"{file.name}:{node.lineno} {ast.unparse(node)}")
    assert not wrong, "give every draw a generator of its own"


def test_no_number_takes_its_type_from_what_another_thread_has_set() -> None:
    """torch.set_default_dtype is process-wide, and transformers calls it while it loads a model in bfloat16."""
    makes = [(file, node) for file, node in CALLS if called(node) in {f"torch.{name}" for name in FLOATS}]
    assert len(makes) > 20
    without = [f"{file.name}:{node.lineno} {ast.unparse(node)}" for file, node in makes if not has(node, "dtype")]
    assert not without, "say the dtype"


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Inside, another thread does this again and again; it has begun before."""
    begun, over, raised = threading.Event(), threading.Event(), []

    def again() -> None:
        try:
            while not over.is_set():
                work()
                begun.set()
        except BaseException as problem:  # told to the test, which is in another thread
            raised.append(problem)
        finally:
            begun.set()

    thread = threading.Thread(target=again)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not raised


def masked(lm: LanguageModel) -> tuple[np.ndarray, list[str]]:
    *_, last = hard_concrete(Task(lm, TAUGHT[1], seed=3), SHORT)
    assert last.result is not None
    return np.asarray(last.result.scores), [f"{step.target_nll:.17g}" for step in [last]]


def test_a_sampling_beside_another_models_is_what_it_is_alone(tiny: Maker) -> None:
    one, other = tiny("gpt_neox"), tiny("llama")
    alone = one.generate(PROMPTS, 10, seed=1)
    with beside(lambda: other.generate(PROMPTS, 4, seed=2)):
        assert [one.generate(PROMPTS, 10, seed=1) for _ in range(12)] == [alone] * 12


def test_chosen_neurons_beside_another_models_sampling_are_what_they_are_alone(tiny: Maker, taught: LanguageModel) -> None:
    other = tiny("llama")
    scores, nll = masked(taught)
    with beside(lambda: other.generate(PROMPTS, 4, seed=2)):
        found = masked(taught)
    assert np.array_equal(found[0], scores)
    assert found[1] == nll


def test_chosen_neurons_while_another_thread_loads_a_model_in_bfloat16_are_what_they_are_alone(taught: LanguageModel) -> None:
    alone = masked(taught)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)  # what transformers does meanwhile
    try:
        found = masked(taught)
    finally:
        torch.set_default_dtype(usual)
    assert np.array_equal(found[0], alone[0])
    assert found[1] == alone[1]


def test_the_process_generator_is_neither_asked_nor_moved(taught: LanguageModel) -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first = masked(taught)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(12)
    assert np.array_equal(masked(taught)[0], first[0])


def test_noise_is_drawn_for_every_row_from_the_seed_alone() -> None:
    scores = torch.zeros(3, 5)
    whole = _Sample(Sampling(7, 1.0, 3), range(3))(scores, scores)
    part = _Sample(Sampling(7, 1.0, 3), [2])(scores[2:], scores[2:])
    assert torch.equal(part, whole[2:])
    noise = torch.empty(3, 5).exponential_(generator=torch.Generator().manual_seed(7))
    assert torch.allclose(whole, 0.2 / noise)


def test_random_weights_come_from_the_seed_alone() -> None:
    def weights(seed: int, process: int) -> torch.Tensor:
        torch.manual_seed(process)
        return torch.cat([parameter.flatten() for parameter in random_gpt2(1, 16, 8, seed).model.parameters()])

    assert torch.equal(weights(1, 5), weights(1, 6))
    assert not torch.equal(weights(1, 5), weights(2, 5))
    layer = torch.nn.Linear(400, 500).requires_grad_(False)
    bias = layer.bias.clone()
    draw_weights(layer, 0.1, 0)
    assert float(layer.weight.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(layer.weight.mean())) < 0.001
    assert torch.equal(layer.bias, bias)
