"""What programs are answered, as values of JSON. Whatever they send is validated before any work."""

import secrets as random_bytes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from privlens import validation
from privlens.audit.plan_files import plan_of
from privlens.audit.run import AuditStep, Job, audit, check_plan, readable
from privlens.audit.sample import KEY_BYTES, sample_of
from privlens.audit.store import open_store
from privlens.deactivation import EvalContext, effect_on
from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop
from privlens.localization import METHODS, Task, steps_of
from privlens.memorization.check import check
from privlens.resources import REFERENCE
from privlens.secret_lists import list_of_rows, read_reference
from privlens.types import LocalizationStep, Neuron, NeuronScores, Secret, Site, to_object
from privlens.ui.state.session import ModelCache, ModelName, NeuronChoice, best

ROWS_MOST = 10_000
Step = LocalizationStep | AuditStep
OnStep = Callable[[Step], object]
Answer = dict[str, Any]
"""An object of JSON."""


def no_report(_: Step) -> None:
    """For callers who cannot be told of progress."""


@dataclass(frozen=True, eq=False)
class Localized:
    """A localization, and the k best neurons that were asked for."""

    secret: Secret
    scores: NeuronScores
    choice: NeuronChoice

    def answer(self) -> Answer:
        """The method's own number of neurons, and the best k as pairs of layer and index."""
        return {"suggested_k": self.scores.suggested_k, "neurons": [list(neuron) for neuron in self.choice.neurons]}


@dataclass(frozen=True)
class Asked:
    """A model of the page and the caller's way of asking: as chat turns or not."""

    cache: ModelCache
    name: ModelName
    chat: Any = False

    def model(self) -> LanguageModel:
        """The model. Raises BadInput if `chat` is neither true nor false."""
        return self.cache.get(self.name._replace(chat=validation.choice(self.chat, "chat")))


def checked(asked: Asked, prompt: Any, value: Any) -> Answer:
    """What `privlens check --json` measures of a value."""
    secret = _secret(prompt, value)
    return to_object(check(asked.model(), secret))


def localized(
    asked: Asked, prompt: Any, value: Any, method: Any, seed: Any, k: Any, stop: Stop, on_step: OnStep = no_report
) -> Localized:
    """The k best neurons of a secret by a method of METHODS."""
    if validation.text(method, "method", 100) not in METHODS:
        raise BadInput(f"There is no method {validation.shown(method)}: use {', '.join(METHODS)}.")
    seed_number = validation.seed(seed)
    secret = _secret(prompt, value)
    lm = asked.model()
    n_neurons = validation.whole(k, "number of neurons, k,", 1, lm.n_neurons)
    for step in steps_of(method, Task(lm, secret, seed=seed_number, stop=stop)):
        on_step(step)
    assert step.result, "a localization ends with its scores"
    return Localized(secret, step.result, best(step.result, n_neurons))


def deactivated(asked: Asked, prompt: Any, value: Any, neurons: tuple[Neuron, ...], site: Site = "mlp") -> Answer:
    """A value before, with neurons off, and with as many random ones off."""
    secret = _secret(prompt, value)
    return to_object(effect_on(asked.model(), secret, neurons, EvalContext(site=site)))


def audited(asked: Asked, rows: Any, plan: Any, stop: Stop, on_step: OnStep = no_report) -> Answer:
    """What audit.json holds, its values masked. Keys of findings are made by a key of this call alone.

    Args:
        rows: objects with prompt, value and what else a list may have. plan: as in a file, or None for the default.
    """
    fixed_plan = plan_of({} if plan is None else plan, "The plan")
    check_plan(fixed_plan)
    listed = list_of_rows("The list", cells_of(rows))
    lm = asked.model()
    read = readable(lm, sample_of(listed, random_bytes.token_bytes(KEY_BYTES)))
    for step in audit(Job(lm, read, fixed_plan, None, tuple(read_reference(REFERENCE)), stop=stop), open_store("sqlite://")):
        on_step(step)
    assert step.result, "an audit ends with its record"
    return to_object(step.result)


def _secret(prompt: Any, value: Any) -> Secret:
    validation.secret(prompt, value)
    return Secret(prompt, value)


def cells_of(rows: Any) -> list[dict[str, str]]:
    """The cells of rows of any JSON, as text; numbers as they are written. Raises BadInput for anything but a list of objects."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput('The list must be a list of objects such as {"prompt": "...", "value": "..."}.')
    if len(rows) > ROWS_MOST:
        raise BadInput(f"The list has {len(rows):,} rows, but may have {ROWS_MOST:,}: use the command line for more.")
    for number, row in enumerate(rows, 1):
        for name, cell in row.items():
            if isinstance(cell, bool) or not isinstance(cell, str | int | None):
                raise BadInput(f"Row {number} of the list: {validation.shown(name)} must be text.")
    return [{name: str(cell) for name, cell in row.items() if cell is not None} for row in rows]
