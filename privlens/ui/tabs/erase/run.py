"""One erasure from the question to the judged answer, for the tab's Start and for comparing methods alike."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from privlens.deactivation import EvalContext, eval_baseline
from privlens.erasure import ErasureSettings, Request, erase
from privlens.erasure.effects import effects
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop
from privlens.outcomes import Effect, ErasureStep
from privlens.retained.others import Keep, other_secrets, retained_of, unseen_of
from privlens.secret_lists import ListedSecret
from privlens.types import Secret
from privlens.ui.components.parts import Clock
from privlens.ui.sidebar.panel import others_of, secret_of
from privlens.ui.state.edits import EditEntry
from privlens.ui.state.freshness import SETTINGS, of_secrets
from privlens.ui.text import en


@dataclass(frozen=True)
class ErasureTask:
    """What is to be erased and how, as the tab's controls say; `keep` is how many of the others a method protects.

    `listed` is the whole list, with the values that nobody trained on, by which it is judged what is forgotten.
    """

    targets: tuple[Secret, ...]
    others: tuple[Secret, ...]
    texts: tuple[str, ...]
    reference: tuple[str, ...]
    settings: ErasureSettings
    keep: Keep
    seed: int
    listed: tuple[Secret, ...] = ()


@dataclass(frozen=True, eq=False)
class Erased:
    """An erasure and what it did: which of the known others were kept, of those it protected and of those it never saw."""

    kept: EditEntry
    settings: ErasureSettings
    steps: tuple[ErasureStep, ...]
    effects: tuple[Effect, ...]
    seen: tuple[bool, ...] = ()
    unseen: tuple[bool, ...] = ()
    task: ErasureTask | None = None
    command: Callable[[], str] = str

    @property
    def last(self) -> ErasureStep:
        """The step that says why it was the last."""
        return self.steps[-1]


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a run is: a value of the bar, the steps so far, and the whole at the end."""

    bar: dict[str, Any]
    steps: tuple[ErasureStep, ...] = ()
    erased: Erased | None = field(default=None)


def chosen_targets(
    listed: tuple[ListedSecret, ...], prompt: str, value: str, which: str, rows: Sequence[int]
) -> tuple[Secret, ...]:
    """The secret of the sidebar, or the ticked ones. Raises BadInput where there is none."""
    if which == "sidebar":
        if not (prompt.strip() and value.strip()):
            raise BadInput(en.ERASE_NO_SECRET)
        return (secret_of(listed, prompt, value),)
    if not rows:
        raise BadInput(en.ERASE_NONE_TICKED)
    return tuple(listed[row].secret for row in sorted(rows))


def others_than(listed: tuple[ListedSecret, ...], targets: Sequence[Secret]) -> tuple[Secret, ...]:
    """The listed secrets that may be known, without the targets."""
    return other_secrets(others_of(listed), targets)


def known_of(lm: LanguageModel, secrets: Sequence[Secret], stop: Stop) -> tuple[Secret, ...]:
    """Those of the secrets that the model writes word for word."""
    return eval_baseline(lm, EvalContext(tuple(secrets), stop=stop)).known


def erasing(lm: LanguageModel, task: ErasureTask, earlier: Sequence[Secret], stop: Stop) -> Iterator[Progress]:
    """Erases, then judges it on the targets and on the others, which the method either protected or never saw.

    Args:
        lm: the visitor's view of the model. earlier: what was erased from it before and must stay erased.
    """
    clock = Clock()
    steps: list[ErasureStep] = []
    yield Progress({"share": 0.0, "text": en.WHICH_ARE_KNOWN})
    known = known_of(lm, task.others, stop)
    seen = retained_of(known, task.keep)
    unseen = unseen_of(known, seen)
    stay = (*seen, *other_secrets(earlier, (*task.targets, *seen)))
    request = Request(
        lm,
        task.targets,
        retained=stay,
        texts=task.texts,
        others=unseen,
        reference=task.reference,
        settings=task.settings,
        seed=task.seed,
        listed=task.listed,
        stop=stop,
    )
    for step in erase(request):
        steps.append(step)
        is_open = step.step and step.n_steps == task.settings.steps
        stage = en.often_early(step.stage) if is_open else step.stage
        yield Progress(clock.at(step.step, step.n_steps, stage), tuple(steps))
    edit = steps[-1].result
    assert edit, "an erasure ends with its edit"
    after = lm.under(edit)
    judged: list[Effect] = []
    for index, target in enumerate(task.targets):
        text = en.judging(index, len(task.targets))
        yield Progress({"share": index / len(task.targets), "text": text}, tuple(steps))
        judged += effects(lm, after, [target], task.listed, task.seed, stop)
    left = set(known_of(after, known, stop))
    kept = EditEntry(name_of(task), edit, lm.edits, task.targets)
    yield Progress(
        {"share": 1.0, "text": en.DONE},
        tuple(steps),
        Erased(
            kept=kept,
            settings=task.settings,
            steps=tuple(steps),
            effects=tuple(judged),
            seen=tuple(secret in left for secret in seen),
            unseen=tuple(secret in left for secret in unseen),
            task=task,
        ),
    )


def by_name(task: ErasureTask) -> tuple[tuple[str, str], ...]:
    """What is asked by name, for the strip above what came of it."""
    rest = repr((task.settings, task.texts, task.keep, task.seed))
    return *of_secrets(task.targets), ("method", task.settings.method), (SETTINGS, rest)


def what_of(targets: Sequence[Secret]) -> str:
    """The secret, or how many."""
    return targets[0].value if len(targets) == 1 else en.n_secrets(len(targets))


def name_of(task: ErasureTask) -> str:
    """What was erased, how and when."""
    return f"{what_of(task.targets)}, by {task.settings.method}, {datetime.now():%H:%M}"
