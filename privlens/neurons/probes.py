"""What a probe reads off the residual states of every layer, before and after neurons are off or weights are edited.

Probes are trained on some secrets and tested on others. Each has a control task, in which every item has a random label: what a
probe scores there it owes to its own capacity. Its selectivity is its accuracy minus that. After an intervention, probes are
trained anew, so that "it can no longer be read" does not only mean "it has moved"; how the old ones fare stands beside.

A probe that reads something shows that it is there, not that the model uses it; one that fails shows that this probe failed.
(`erasure.attacks.hidden_states` asks another question: whether the erased value itself can be read.)

Sources: Alain & Bengio 2017 (arXiv 1610.01644); control tasks: Hewitt & Liang 2019 (arXiv 1909.03368).
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from torch import Tensor

from privlens import validation
from privlens.errors import BadInput
from privlens.lm.gating import random_like
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.neurons.probe_items import Items, items_of, states_of
from privlens.neurons.probe_records import ProbeRun, Probes, ProbeStep, ProbeTarget
from privlens.neurons.probe_training import TrainedProbes, TrainingSettings, train
from privlens.neurons.share import Share, share_of
from privlens.provenance import provenance
from privlens.types import Neuron, Secret, Site


@dataclass(frozen=True)
class ProbeSettings:
    """What is probed for, and how."""

    target: ProbeTarget = "category"
    test_share: float = 0.4
    """The share of the secrets that probes are tested on."""
    training: TrainingSettings = field(default_factory=TrainingSettings)


@dataclass(frozen=True)
class ProbeRequest:
    """One set of probes.

    Attributes:
        neurons: switched off after the first run, then as many random ones; none for no such runs. after: an edited view of the
            model, probed as another run; None for none.
    """

    lm: LanguageModel
    secrets: tuple[Secret, ...]
    neurons: tuple[Neuron, ...] = ()
    after: LanguageModel | None = None
    site: Site = "mlp"
    settings: ProbeSettings = field(default_factory=ProbeSettings)
    seed: int = 0
    stop: Stop = never_stop

    def __post_init__(self) -> None:
        """Raises BadInput for settings out of range, or neurons that the model does not have."""
        validation.between(self.settings.test_share, "share of secrets to test on", 0.1, 0.9, "0.4 tests on two of five")
        validation.whole(self.settings.training.steps, "number of training steps", 1, 1_000_000)
        validation.seed(self.seed)
        if self.after is not None and self.after.layout is not self.lm.layout:
            raise BadInput("What is probed after is another model: give a view of the same one, lm.under(edit).")
        self.lm.off(self.neurons, self.site)


@dataclass(frozen=True, eq=False)
class Condition:
    """A state of the model: its name, the model or a view of it, and gates [1, n_layers, width] or None."""

    name: str
    lm: LanguageModel
    gates: Tensor | None


def conditions(request: ProbeRequest) -> list[Condition]:
    """All on, then what the request asks for: its neurons off, as many random ones off, and the edited view."""
    lm = request.lm
    asked = [Condition("all on", lm, None)]
    if request.neurons:
        random = random_like(lm.widths(request.site), len(request.neurons), request.seed)
        asked.append(Condition("neurons off", lm, lm.off(request.neurons, request.site)))
        asked.append(Condition("random neurons off", lm, lm.off(random, request.site)))
    if request.after is not None:
        asked.append(Condition("edited", request.after, None))
    return asked


def probe_items(request: ProbeRequest) -> Items:
    """The items of a request; the same for every condition."""
    return items_of(request.lm, request.secrets, request.settings.target, request.settings.test_share, request.seed)


def condition_states(request: ProbeRequest, items: Items, condition: Condition) -> Tensor:
    """[n_layers + 1, n, hidden] in one state of the model."""
    return states_of(condition.lm, items.texts, condition.gates, request.site, request.stop)


def probe(request: ProbeRequest) -> Iterator[ProbeStep]:
    """Trains and tests probes of every layer in every condition.

    Raises:
        BadInput: for too few secrets or classes. UnsupportedModel: where there is no single residual stream.
        Cancelled: if `stop` returned True.
    """
    started = time.perf_counter()
    items = probe_items(request)
    asked = conditions(request)
    runs: list[ProbeRun] = []
    first: TrainedProbes | None = None
    for condition in asked:
        states = condition_states(request, items, condition)
        trained, run = _run(request, items, condition.name, states, first)
        first = first or trained
        runs.append(run)
        yield ProbeStep(len(runs), len(asked) + 1, f"probes, {condition.name}")
    test = items.labels[items.is_test]
    frequent = int(items.labels[~items.is_test].mode().values)
    settings = {**asdict(request.settings), "n_neurons_off": len(request.neurons), "site": request.site}
    if request.after is not None:
        settings["fingerprint_after"] = request.after.fingerprint
    result = Probes(
        target=request.settings.target,
        kind=request.settings.training.kind,
        classes=items.classes,
        n_train=int((~items.is_test).sum()),
        n_test=len(test),
        n_left_out=items.n_left_out,
        majority=share_of(int((test == frequent).sum()), len(test)),
        runs=tuple(runs),
        provenance=provenance(request.lm, request.seed, settings, started),
    )
    yield ProbeStep(len(asked) + 1, len(asked) + 1, "done", result)


def _run(
    request: ProbeRequest, items: Items, name: str, states: Tensor, first: TrainedProbes | None
) -> tuple[TrainedProbes, ProbeRun]:
    """The probes of one condition, and how they fare."""
    trained, accuracy = fitted(states, items.labels, items, request)
    by_control, control = fitted(states, items.control, items, request)
    train_states, train_labels = states[:, ~items.is_test], items.control[~items.is_test]
    transferred = hits(first, states[:, items.is_test], items.labels[items.is_test]) if first else None
    return trained, ProbeRun(name, accuracy, control, hits(by_control, train_states, train_labels), transferred)


def fitted(states: Tensor, labels: Tensor, items: Items, request: ProbeRequest) -> tuple[TrainedProbes, tuple[Share, ...]]:
    """Probes trained on the training items, states [layers, n, d], and how they fare on the others."""
    is_test, training = items.is_test, request.settings.training
    train_labels = labels[~is_test].to(states.device)
    probes = train(states[:, ~is_test], train_labels, len(items.classes), training, request.seed)
    return probes, hits(probes, states[:, is_test], labels[is_test])


def hits(probes: TrainedProbes, states: Tensor, labels: Tensor) -> tuple[Share, ...]:
    """Of every layer, how many labels [n] its probe reads off states [layers, n, d]."""
    right: Sequence[int] = (probes.predicted(states) == labels.to(states.device)).sum(1).tolist()
    return tuple(share_of(k, len(labels)) for k in right)
