"""How the cost of integrated gradients grows: one size of model or task is varied at a time, the others are kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from privlens.bench.timing import timed
from privlens.localization.integrated import integrated_gradients
from privlens.localization.task import Task
from privlens.zoo.random_models import random_gpt2, random_secret


@dataclass(frozen=True)
class Size:
    """Layers, neurons in each (the hidden size is a quarter of that, so the weights grow with its square), tokens of prompt and
    value, and how many secrets are localized one after the other."""

    layers: int = 12
    neurons: int = 1024
    prompt_tokens: int = 32
    value_tokens: int = 8
    secrets: int = 1


AXES: dict[str, Sequence[int]] = {
    "layers": (3, 6, 12, 24),
    "neurons": (512, 1024, 2048, 4096),
    "prompt_tokens": (16, 64, 256, 1024),
    "value_tokens": (2, 4, 8, 16),
    "secrets": (1, 2, 4, 8),
}
"""The sizes that are varied, each from small to large; named as in Size."""


@dataclass(frozen=True)
class GrowthRow:
    """Seconds at one size on one axis, and their ratio to those of the axis's smallest size."""

    axis: str
    size: int
    seconds: float
    growth: float


def growth(repeats: int, seed: int = 0, base: Size = Size(), axes: Mapping[str, Sequence[int]] = AXES) -> Iterator[GrowthRow]:
    """A row as soon as it is measured: the fastest of `repeats` runs."""
    for axis, sizes in axes.items():
        smallest = 0.0
        for size in sizes:
            seconds = _fastest(replace(base, **{axis: size}), repeats, seed)
            smallest = smallest or seconds
            yield GrowthRow(axis, size, seconds, seconds / smallest)


def _fastest(size: Size, repeats: int, seed: int) -> float:
    lm = random_gpt2(size.layers, size.neurons, size.prompt_tokens + 2 * size.value_tokens, seed)
    secrets = [random_secret(lm, size.prompt_tokens, size.value_tokens, seed + number) for number in range(size.secrets)]

    def run() -> None:
        for secret in secrets:
            list(integrated_gradients(Task(lm, secret)))

    return min(timed(run)[0] for _ in range(repeats))
