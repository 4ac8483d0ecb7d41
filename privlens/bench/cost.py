"""What the main tasks cost with one model on this machine: seconds, and memory in addition to the weights. Not their quality."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from privlens.bench.timing import cost
from privlens.deactivation import EvalContext, texts_before_and_after
from privlens.erasure import ErasureSettings, Request, erase
from privlens.errors import BadInput
from privlens.lm.fingerprints import digests
from privlens.lm.gating import random_like
from privlens.lm.model import LanguageModel
from privlens.lm.quantization import weight_type
from privlens.localization import Task, result_of
from privlens.memorization.check import check
from privlens.neurons.cards import card
from privlens.neurons.page import PageRequest, page
from privlens.neurons.profile import profile
from privlens.neurons.profile_records import ModelProfile
from privlens.resources import REFERENCE
from privlens.secret_lists import read_reference
from privlens.types import Secret

FINGERPRINT = "fingerprint"
ERASURE_STEPS = 10
"""Of the erasure that is timed; its row says so. Enough for the time of a step, where whole erasures take up to 100."""
N_OFF = 100
"""Neurons that are off in the text before and after; all of them if a model has fewer. Gates multiply every neuron, on or off, so
that the cost does not depend on this number."""


@dataclass(frozen=True)
class CostRow:
    """Seconds of one run of a task, and its peak memory in addition to the weights in MiB (None: unknown)."""

    task: str
    seconds: float
    peak_mb: float | None


def tasks(
    lm: LanguageModel, secret: Secret, others: Sequence[Secret], methods: Sequence[str], seed: int
) -> dict[str, Callable[[], Any]]:
    """The tasks that are measured, by their names in the table; `others` are retained text."""
    off = random_like(lm.widths(), min(N_OFF, lm.n_neurons), seed)
    settings = ErasureSettings(steps=ERASURE_STEPS, measure_every=ERASURE_STEPS)
    request = Request(lm, (secret,), retained=tuple(others), settings=settings, seed=seed)
    return {
        FINGERPRINT: lambda: digests(lm.model),
        "check": lambda: check(lm, secret, seed=seed),
        "text before and after": lambda: texts_before_and_after(lm, [secret], off, EvalContext(seed=seed)),
        **{
            method: lambda method=method: result_of(method, Task(lm, secret, tuple(others), seed=seed))  # type: ignore[misc]
            for method in methods
        },
        f"erase, {ERASURE_STEPS} steps": lambda: list(erase(request)),
    }


PROFILE, CARD, PAGE = "neuron profile", "neuron card", "neuron page"


def neuron_tasks(lm: LanguageModel, secret: Secret, seed: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The profile of all neurons on the bundled text, and one neuron's card and page, which need it: it is no part of their cost.

    The page is that of one secret without a list; nothing is read from the disk.
    """
    texts = read_reference(REFERENCE)
    [neuron] = random_like(lm.widths(), 1, seed)
    request = PageRequest(texts, secret, seed=seed)

    def profiled() -> ModelProfile:
        *_, last = profile(lm, texts, use_cache=False)
        assert last.result, "a profile ends with its result"
        return last.result

    yield PROFILE, profiled
    made = profiled()
    yield CARD, lambda: card(lm, made, neuron)
    yield PAGE, lambda: list(page(lm, neuron, request, profiled=made))


def costs(
    lm: LanguageModel, secret: Secret, others: Sequence[Secret], methods: Sequence[str], seed: int, only: str | None = None
) -> Iterator[CostRow]:
    """A row for every task as soon as it is measured; `only` names a single one.

    Raises:
        BadInput: if there is no task of that name.
    """
    measured = tasks(lm, secret, others, methods, seed)
    names = (*measured, PROFILE, CARD, PAGE)
    if only is not None and only not in names:
        raise BadInput(f"There is no task {only!r}: use {', '.join(names)}.")
    if only != FINGERPRINT:
        check(lm, secret, seed=seed)  # a warm-up: the first use of a device loads its libraries
    for name, run in chain(measured.items(), neuron_tasks(lm, secret, seed)):
        if only in (None, name):
            seconds, peak = cost(run, lm.device)
            yield CostRow(name, seconds, peak)
        if name == only:
            return


def described(lm: LanguageModel, secret: Secret) -> dict[str, str | int | float]:
    """The model, its device, and the lengths of the secret in tokens."""
    encoded, device = lm.encode(secret), lm.device
    return {
        "model": lm.name,
        "parameters": lm.n_parameters,
        "weights_mb": sum(weight.numel() * weight.element_size() for weight in lm.model.parameters()) / 2**20,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "dtype": weight_type(lm.model),
        "prompt_tokens": encoded.n_prompt,
        "value_tokens": len(encoded.value_ids),
    }
