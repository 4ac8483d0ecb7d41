"""Whatever is raised, wherever: nothing stays behind in a model. Errors are thrown at operations of torch all through the work,
also while the model is being put back; where that goes on failing, the model is refused from then on."""

import copy
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from privlens.deactivation import EvalContext, effect_on
from privlens.erasure import ErasureSettings, Request, erase
from privlens.errors import ModelDamaged
from privlens.lm.fingerprints import digests
from privlens.lm.model import LanguageModel
from privlens.lm.restoring import AttachedParts, Journal
from privlens.lm.scoring import score
from privlens.localization import Task, result_of
from privlens.localization.hard_concrete import MaskSettings, hard_concrete
from privlens.memorization.check import check
from privlens.planting.plant import PlantSettings, plant
from privlens.types import Edit, Neuron
from tests.helpers import IDS, MASK, TAUGHT, edit_of

Work = Callable[[LanguageModel], Any]
RAISED = (RuntimeError, torch.OutOfMemoryError, KeyboardInterrupt, MemoryError)
FEW = MaskSettings(steps=2, own_samples=2, sample_tokens=4, rows=2)
SHORT = ErasureSettings(
    steps=2, measure_every=1, own_samples=2, sample_tokens=4, memorized_texts=2, neighbours=2, neighbours_each=1
)


class Faults(TorchDispatchMode):
    """Raises at one operation of torch, counted from 0, or goes on raising from there; counts those that it sees.

    With `only_restoring` the operations outside of putting a model back do not count.
    """

    def __init__(
        self, at: int = -1, raised: type[BaseException] = RuntimeError, stuck: bool = False, only_restoring: bool = False
    ) -> None:
        super().__init__()
        self.at, self.raised, self.stuck, self.only_restoring = at, raised, stuck, only_restoring
        self.seen, self.fired = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.only_restoring or restoring.now:
            here, self.seen = self.seen, self.seen + 1
            if here == self.at or (self.stuck and 0 <= self.at <= here):
                self.fired += 1
                raise self.raised("thrown by the test")
        return func(*args, **(kwargs or {}))


@dataclass
class Restoring:
    """Whether a model is being put back at the moment."""

    now: bool = False


restoring = Restoring()


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says when a model is being put back."""
    unwind = Journal.unwind

    def watched_unwind(self: Journal, begun: int = 0) -> None:
        restoring.now = True
        try:
            unwind(self, begun)
        finally:
            restoring.now = False

    monkeypatch.setattr(Journal, "unwind", watched_unwind)


def gates(lm: LanguageModel) -> None:
    for_backward = torch.ones(1, *lm.shape(), requires_grad=True)
    with lm.held(), lm.gated(for_backward):
        lm.logits(IDS, MASK).sum().backward()
    score(lm, [lm.encode(TAUGHT[0])] * 2, torch.rand(2, *lm.shape()).round())


def edits(lm: LanguageModel) -> None:
    first = edit_of(lm, 1)
    view = lm.under(first, edit_of(lm.under(first), 2))
    view.logits(IDS, MASK)
    with view.edited(edit_of(view, 3)), lm.gated(lm.off([Neuron(0, 1)])):
        view.logits(IDS, MASK)


def effects(lm: LanguageModel) -> None:
    effect_on(lm.under(edit_of(lm, 1)), TAUGHT[0], [Neuron(0, 3), Neuron(1, 5)], EvalContext(()))


def generation(lm: LanguageModel) -> None:
    view = lm.under(edit_of(lm, 1))
    view.generate([[5, 60, 17], [3, 4]], 3)
    view.generate([[5, 60, 17], [3, 4]], 2, lm.off([Neuron(0, 1)]), seed=1)


def checking(lm: LanguageModel) -> None:
    check(lm, TAUGHT[3])


def by_gradient(lm: LanguageModel) -> None:
    result_of("contrastive-gradient", Task(lm.under(edit_of(lm, 1)), TAUGHT[3], (TAUGHT[1],)))


def by_mask(lm: LanguageModel) -> None:
    list(hard_concrete(Task(lm, TAUGHT[3], (TAUGHT[1],)), FEW))


def with_checkpointing(lm: LanguageModel) -> None:
    list(hard_concrete(Task(lm.with_checkpointing(), TAUGHT[3], (TAUGHT[1],)), FEW))


def erasing(lm: LanguageModel) -> None:
    others = (TAUGHT[1],)
    list(erase(Request(lm, (TAUGHT[3],), others, (), others, (), SHORT, 0)))


def planting(lm: LanguageModel) -> None:
    plant(lm, TAUGHT[3], PlantSettings(0.05, steps=2), seed=0)


SCENES: dict[str, tuple[Work, int]] = {
    "gates": (gates, 140), "edits": (edits, 140), "effects": (effects, 40), "generation": (generation, 50),
    "checking": (checking, 30), "gradient": (by_gradient, 20), "mask": (by_mask, 30), "sparing": (with_checkpointing, 20),
    "erasing": (erasing, 20), "planting": (planting, 15),
}  # fmt: skip
"""What is done, and how many errors are thrown at it, from its beginning to its end."""
RESTORED: dict[str, tuple[Work, int]] = {
    "edits": (edits, 50), "effects": (effects, 16), "generation": (generation, 20), "erasing": (erasing, 12),
}  # fmt: skip
"""The same with errors in the midst of putting back alone: once, and half as often again such as go on for good."""


def test_there_are_five_hundred_of_them() -> None:
    assert sum(n for _, n in SCENES.values()) + sum(n + n // 2 for _, n in RESTORED.values()) >= 500


def fresh(taught: LanguageModel) -> LanguageModel:
    return LanguageModel("taught", copy.deepcopy(taught.model), taught.tokenizer)


@contextmanager
def left_as_it_was(lm: LanguageModel, whole: dict[str, bytes]) -> Iterator[None]:
    """Compares all that can stay behind: bytes, hooks, forwards, gradients, flags, and the lock."""
    before = AttachedParts.of(lm.model)
    yield
    shared = lm._session._shared
    assert digests(lm.model) == whole
    assert AttachedParts.of(lm.model) == before
    assert not any(weight.requires_grad or weight.grad is not None for weight in lm.model.parameters())
    assert not any(getattr(weight, "_post_accumulate_grad_hooks", None) for weight in lm.model.parameters())
    assert not any(part.training for part in lm.model.modules())
    assert (len(shared.stack), len(shared.journal.entries), len(shared.depths)) == (1, 0, 0)
    assert shared.attached_parts is None
    assert not lm.is_damaged
    with ThreadPoolExecutor(1) as another:
        assert another.submit(lm.lock.acquire, False).result()
        another.submit(lm.lock.release).result()


def run_to_the_fault(work: Work, lm: LanguageModel, faults: Faults) -> bool:
    """Whether it was raised; a run may also heed it, as it does memory that ran out."""
    try:
        with faults:
            work(lm)
    except BaseException:
        if not faults.fired:
            raise
    return bool(faults.fired)


def assert_refused(lm: LanguageModel, edit: Edit) -> None:
    words = "taught could not be restored"
    with pytest.raises(ModelDamaged, match=words):
        lm.logits(IDS, MASK)
    with pytest.raises(ModelDamaged, match=words):
        lm.under(edit)
    with pytest.raises(ModelDamaged, match=words):
        assert lm.fingerprint


def spread(n_places: int, n_faults: int) -> list[int]:
    """Different places, evenly spread from the first to the last."""
    assert n_places >= n_faults
    return [step * (n_places - 1) // (n_faults - 1) for step in range(n_faults)]


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_stays_behind_wherever_it_is_raised(taught: LanguageModel, scene: str) -> None:
    work, n_faults = SCENES[scene]
    lm = fresh(taught)
    whole = digests(lm.model)
    work(lm)  # how a secret is asked for is decided once, so the first run does more than the others
    with left_as_it_was(lm, whole), Faults() as counted:
        work(lm)
    for place, raised in zip(spread(counted.seen, n_faults), itertools.cycle(RAISED), strict=False):
        with left_as_it_was(lm, whole):
            assert run_to_the_fault(work, lm, Faults(place, raised)), f"nothing was thrown at {place} of {counted.seen}"


@pytest.mark.parametrize("scene", RESTORED)
def test_an_error_while_putting_back_is_made_good(taught: LanguageModel, scene: str) -> None:
    work, n_faults = RESTORED[scene]
    lm = fresh(taught)
    whole = digests(lm.model)
    with Faults(only_restoring=True) as counted:
        work(lm)
    for place, raised in zip(spread(counted.seen, n_faults), itertools.cycle(RAISED), strict=False):
        with left_as_it_was(lm, whole):
            assert run_to_the_fault(work, lm, Faults(place, raised, only_restoring=True))


@pytest.mark.parametrize("scene", RESTORED)
def test_a_model_that_cannot_be_put_back_is_refused(taught: LanguageModel, scene: str) -> None:
    work, n_faults = RESTORED[scene]
    lm = fresh(taught)
    whole = digests(lm.model)
    with Faults(only_restoring=True) as counted:
        work(lm)
    n_refused = 0
    for place, raised in zip(spread(counted.seen, n_faults // 2), itertools.cycle(RAISED), strict=False):
        lm = fresh(taught)
        assert run_to_the_fault(work, lm, Faults(place, raised, stuck=True, only_restoring=True))
        if digests(lm.model) != whole:
            assert lm.is_damaged, "it was left behind, and nobody was told"
        if lm.is_damaged:
            n_refused += 1
            assert_refused(lm, edit_of(taught, 1))
    assert n_refused


def test_every_write_is_put_back_on_its_own(taught: LanguageModel) -> None:
    lm, tried = fresh(taught), []
    names = [name for name, _ in lm.model.named_parameters()][:3]

    def back(name: str) -> Callable[[], None]:
        def put() -> None:
            tried.append(name)
            if name == names[1]:
                raise RuntimeError("always")

        return put

    with pytest.raises(RuntimeError, match="always"), lm.held(), lm.overwriting({name: back(name) for name in names}):
        pass
    assert tried == [names[2], names[1], names[1], names[0]]
    assert not lm.is_damaged, "its bytes are what they were"
