"""Checks of an audit, batched across secrets, beside the same checks of one secret at a time.

The two take turns, chunk by chunk, so that whatever else the machine does slows both; and each goes first in every other chunk,
because the second one finds warm caches. One at a time means the functions that a person would call: `check` of the secret and of
its control, and the state behind each reworded prompt. `check` measures two things that an audit leaves out: the extraction
likelihood, and the exposure of controls among all values of their format.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privlens.audit.checks import AT_ONCE, check_all
from privlens.audit.pairs import ListedPairs
from privlens.audit.records import Finding, Measured, Plan
from privlens.audit.run import readable
from privlens.audit.sample import SampledSecret, read_sample
from privlens.lm.model import LanguageModel
from privlens.memorization.check import check, control
from privlens.memorization.metrics import TIE
from privlens.memorization.states import memorization_states
from privlens.types import FormatExposure, Lift, Memorization, Secret
from privlens.zoo.loading import load

KEY = b"a key of no audit"
"""Names secrets for a measurement that stores none."""


@dataclass(frozen=True)
class SpeedRow:
    """The same secrets both ways.

    Attributes:
        batched_s, one_by_one_s: seconds of one secret. ratio: how many times faster the batched way is.
        batched_passes, one_by_one_passes: forward passes of one secret. batched_tokens, one_by_one_tokens: tokens in them, with
            their padding.
        largest_difference: between the two NLLs of a value, nats/token, controls included.
        differing: secrets of which anything else differs: match, verdict, a rank, bits in the whole format, reworded prompts.
    """

    secrets: int
    batched_s: float
    one_by_one_s: float
    ratio: float
    batched_passes: float
    one_by_one_passes: float
    batched_tokens: float
    one_by_one_tokens: float
    largest_difference: float
    differing: int


@dataclass
class _Spent:
    """What one of the two ways has taken so far."""

    seconds: float = 0.0
    passes: int = 0
    tokens: int = 0

    @contextmanager
    def counting(self, lm: LanguageModel) -> Iterator[None]:
        """Inside, seconds and forward passes are added."""

        def count(_: Any, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
            self.passes += 1
            self.tokens += (args[0] if args else inputs["input_ids"]).numel()

        hook = lm.model.register_forward_pre_hook(count, with_kwargs=True)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started
            hook.remove()


@dataclass(frozen=True)
class Alone:
    """A secret, its control and its reworded prompts, each asked by itself."""

    found: Memorization
    control: Memorization | None
    reworded: int


@dataclass
class _Both:
    """Batched and one by one, so far."""

    batched: _Spent = field(default_factory=_Spent)
    alone: _Spent = field(default_factory=_Spent)
    largest: float = 0.0
    differing: int = 0

    def compare(self, finding: Finding, alone: Alone) -> None:
        pairs = [(finding.measured, alone.found)]
        if finding.control and alone.control:
            pairs.append((finding.control, alone.control))
        self.largest = max(self.largest, *(abs(measured.nll - found.nll) for measured, found in pairs))
        same = finding.reworded == alone.reworded and all(is_same(measured, found) for measured, found in pairs)
        self.differing += not same


def speed(path: Path, n: int, model: str, device: str, dtype: str, seed: int = 0) -> SpeedRow:
    """The first `n` secrets of a list, both ways. Raises BadInput for a list or a model that cannot be read."""
    lm = load(model, device, dtype)
    read = readable(lm, read_sample(path, KEY))
    secrets, plan = read.secrets[:n], Plan(seed=seed)
    list(check_all(lm, secrets[:1], read.listed, plan))  # the first of all finds nothing warm
    both, shared = _Both(), ListedPairs(lm, read.listed)
    for place, start in enumerate(range(0, len(secrets), AT_ONCE)):
        _chunk(lm, secrets[start : start + AT_ONCE], shared, plan, both, place % 2 == 0)
    count = len(secrets)
    return SpeedRow(
        secrets=count,
        batched_s=both.batched.seconds / count,
        one_by_one_s=both.alone.seconds / count,
        ratio=both.alone.seconds / both.batched.seconds,
        batched_passes=both.batched.passes / count,
        one_by_one_passes=both.alone.passes / count,
        batched_tokens=both.batched.tokens / count,
        one_by_one_tokens=both.alone.tokens / count,
        largest_difference=both.largest,
        differing=both.differing,
    )


def _chunk(
    lm: LanguageModel, chunk: Sequence[SampledSecret], shared: ListedPairs, plan: Plan, both: _Both, batched_first: bool
) -> None:
    findings: list[Finding] = []
    alone: list[Alone] = []

    def batched() -> None:
        with both.batched.counting(lm):
            findings.extend(check_all(lm, chunk, shared.listed, plan, shared=shared))

    def one_by_one() -> None:
        with both.alone.counting(lm):
            alone.extend(asked_alone(lm, sampled, shared.listed, plan) for sampled in chunk)

    ways: list[Callable[[], None]] = [batched, one_by_one]
    for way in ways if batched_first else reversed(ways):
        way()
    for finding, found in zip(findings, alone, strict=True):
        both.compare(finding, found)


def asked_alone(lm: LanguageModel, sampled: SampledSecret, listed: Sequence[Secret], plan: Plan) -> Alone:
    """One secret by the functions that a person would call."""
    secret = sampled.secret

    def checked(asked: Secret) -> Memorization:
        return check(lm, asked, others=listed, seed=plan.seed, temperature=plan.temperature, top_k=plan.top_k)

    rival = control(lm, secret, plan.seed)
    reworded = [Secret(prompt, secret.value) for prompt in sampled.listed.reworded]
    written = sum(memorization_states(lm, [prompt])[0].greedy_match for prompt in reworded)
    return Alone(checked(secret), checked(rival) if rival else None, written)


def is_same(measured: Measured, found: Memorization) -> bool:
    """Whether match, verdict, ranks and, where an audit has them, bits in the whole format are those of a check."""
    return (
        measured.greedy_match == found.greedy_match
        and measured.verdict == found.verdict
        and measured.exposure == found.exposure
        and _alike(measured.lift, found.lift)
        and (measured.format_exposure is None or _alike(measured.format_exposure, found.format_exposure))
    )


def _alike(one: FormatExposure | Lift | None, other: FormatExposure | Lift | None) -> bool:
    if one is None or other is None:
        return one is other
    numbers = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(math.isclose(first, second, rel_tol=0, abs_tol=TIE) for first, second in numbers)
