"""Two people share one model: each gets the numbers of a run alone, whatever the other does meanwhile."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch import Tensor

from privlens.lm.model import LanguageModel
from privlens.lm.scoring import score
from privlens.lm.tokens import encode
from privlens.types import Secret

ROUNDS = 30


@pytest.fixture(autouse=True)
def eager_switching() -> Iterator[None]:
    """Threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_two_threads_never_see_each_others_gates(lm: LanguageModel) -> None:
    encoded = encode(lm.tokenizer, Secret("the keeper of the gate is", "Mira Holt"))
    gates = [torch.rand(1, *lm.shape(), generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    together = Barrier(2)

    def measured(own: Tensor) -> tuple[tuple[float, ...], list[list[int]]]:
        return score(lm, [encoded], own)[0].logprobs, lm.generate([encoded.prompt_ids], 3, own)

    def visit(own: Tensor) -> list[tuple[tuple[float, ...], list[list[int]]]]:
        together.wait()
        return [measured(own) for _ in range(ROUNDS)]

    alone = [measured(own) for own in gates]
    assert alone[0][0] != alone[1][0]
    with ThreadPoolExecutor(2) as pool:
        for found, expected in zip(pool.map(visit, gates), alone, strict=True):
            assert found == [expected] * ROUNDS
