"""The state of one visitor: a model's name, the localized neurons, the chosen neurons. Frozen values; the models are shared.

A handler takes these values and returns new ones, so a click can be undone and no visitor changes another's state.
"""

import contextvars
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

from privlens.errors import BadInput, Cancelled, PrivlensError
from privlens.lm.memory import logger, release
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.types import Edit, Neuron, NeuronScores, Secret, Site
from privlens.ui.allowed import Allowed, without_folders
from privlens.zoo.loading import load

LOOK_EVERY = 0.05
"""Seconds between two checks whether a load has ended or was cancelled: shorter reacts sooner to Cancel, longer costs less."""


class ModelName(NamedTuple):
    """The name, device and type that a visitor's model was loaded with.

    The edits, and whether prompts are asked as chat turns, apply to this visitor alone.
    """

    name: str
    device: str = "auto"
    dtype: str = "auto"
    edits: tuple[Edit, ...] = ()
    chat: bool = False

    @property
    def plain(self) -> "ModelName":
        """The model as all visitors share it."""
        return self._replace(edits=(), chat=False)


class VisitorModels:
    """One visitor's current model, and the names of those loaded in this visit. A gr.State makes a copy for each visitor."""

    def __init__(self) -> None:
        self.model: ModelName | None = None
        self.loaded: tuple[str, ...] = ()

    def __deepcopy__(self, _: Any) -> "VisitorModels":
        return VisitorModels()


class Loading:
    """A load in progress, and how many callers wait for it."""

    def __init__(self) -> None:
        self.over: Future[None] = Future()
        self.waiting = 0


class ModelCache:
    """The models in memory, shared by all visitors. Beyond `room`, the least recently used is dropped, but never the first.

    A visitor keeps only a model's name; a dropped model is loaded again when it is next needed. So is a model whose weights could
    not be restored after an error, including the first. Each load runs in its own thread: nobody waits for the load of another
    model, and requests for the same model share one load. `allowed` says what may be loaded; without it anything may.

    `room` trades memory for reloads.
    """

    def __init__(self, first: ModelName, room: int = 3, allowed: Allowed | None = None) -> None:
        self.first = first
        self.room = room
        self.allowed = allowed
        self._lock = threading.Lock()
        self._models: OrderedDict[ModelName, LanguageModel] = OrderedDict()
        self._loads: dict[ModelName, Loading] = {}
        self._visitors: weakref.WeakSet[VisitorModels] = weakref.WeakSet()
        self.get(first)

    def get(self, wanted: ModelName, stop: Stop = never_stop) -> LanguageModel:
        """The model with the visitor's edits applied, loaded if necessary.

        Raises what `load`, `as_chat`, `under` raise; BadInput for what may not be loaded; Cancelled when `stop` returns true:
        the loaded model is then discarded, unless somebody else waits for it.
        """
        lm = self._cached(wanted.plain)
        while lm is None:
            self._wait(wanted.plain, stop)
            lm = self._cached(wanted.plain)
        lm = lm.as_chat() if wanted.chat else lm
        return lm.under(*wanted.edits) if wanted.edits else lm

    def choose(self, visitor: VisitorModels, name: ModelName) -> None:
        """Makes this the visitor's model; `leave` then does not unload it while they use it."""
        with self._lock:
            visitor.model = name.plain
            visitor.loaded = tuple(dict.fromkeys((name.name, *visitor.loaded)))
            self._visitors.add(visitor)

    def leave(self, visitor: VisitorModels, name: ModelName) -> None:
        """Returns the visitor to the first model, and unloads theirs unless another visitor has chosen it too."""
        with self._lock:
            visitor.model = self.first
            if any(chosen.model == name.plain for chosen in self._visitors):
                return
        self.unload(name)

    def unload(self, name: ModelName) -> None:
        """Drops a model and frees its memory; never the first. It is loaded again for anyone who still has it chosen."""
        with self._lock:
            if name.plain != self.first:
                self._models.pop(name.plain, None)
        release()

    def _wait(self, wanted: ModelName, stop: Stop) -> None:
        """Starts a load, or joins the one in progress, and waits for its end."""
        if self.allowed is not None:
            self.allowed.check(wanted.name)
        with self._lock:
            loading = self._loads.get(wanted)
            if loading is None:
                if wanted in self._models:
                    return
                loading = self._loads[wanted] = Loading()
                context = contextvars.copy_context()  # gradio finds in it the visitor to whom notices are shown
                threading.Thread(target=context.run, args=(self._load, wanted, loading), daemon=True).start()
            loading.waiting += 1
        try:
            while not wait([loading.over], LOOK_EVERY).done:
                if stop():
                    raise Cancelled("Loading stopped.")
        finally:
            with self._lock:
                loading.waiting -= 1
        loading.over.result()

    def _load(self, wanted: ModelName, loading: Loading) -> None:
        """The thread of a load. No local variable refers to the model, so that its memory is free once the cache drops it."""
        failure: BaseException | None = None
        try:
            self._store(wanted, self._read(wanted), loading)
        except PrivlensError as error:
            message = str(error) if self.allowed is None else without_folders(str(error), wanted.name)
            failure = error if message == str(error) else type(error)(message)
        except BaseException as error:  # raised again where somebody waits for the load
            failure = error
        with self._lock:
            self._loads.pop(wanted, None)
        release()
        if failure is None:
            loading.over.set_result(None)
        else:
            loading.over.set_exception(failure)

    def _read(self, wanted: ModelName) -> LanguageModel:
        if self.allowed is not None and self.allowed.is_hub_id(wanted.name):
            return load(wanted.name, wanted.device, wanted.dtype, from_hub=True)
        return load(wanted.name, wanted.device, wanted.dtype)

    def _cached(self, wanted: ModelName) -> LanguageModel | None:
        with self._lock:
            lm = self._models.get(wanted)
            if lm is not None and lm.is_damaged:
                logger.warning("%s is being loaded again: after an error some of its weights could not be restored.", wanted.name)
                del self._models[wanted]
                return None
            if lm is not None:
                self._models.move_to_end(wanted)
            return lm

    def _store(self, wanted: ModelName, lm: LanguageModel, loading: Loading) -> None:
        """Adds a model to the cache if somebody still waits for it."""
        with self._lock:
            del self._loads[wanted]
            if not loading.waiting:
                return
            self._models[wanted] = lm
            n_excess = max(0, len(self._models) - self.room)
            droppable = [name for name in self._models if name != self.first]
            for name in droppable[:n_excess]:
                del self._models[name]


@dataclass(frozen=True, eq=False)
class Localization:
    """A localization: its target secret, the other secrets used as retained text, and the resulting scores.

    `voters` are all secrets of a vote; the target is then one of them. `asked` are the settings of the Localize tab, by their
    names there; `facts` describe the run, and `curves` is its loss as a figure's JSON; `how` is the command that makes it.
    Localizations from other tabs have none of these four. `n_edits` edits were active.
    """

    target: Secret
    retained: frozenset[Secret]
    scores: NeuronScores
    voters: tuple[Secret, ...] = ()
    asked: tuple[tuple[str, str], ...] = ()
    facts: tuple[Any, ...] = ()
    curves: str = ""
    n_edits: int = 0
    how: Callable[[], str] | None = None

    @property
    def site(self) -> Site:
        """The site of its neurons."""
        return self.scores.site

    def command(self) -> str:
        """The command that makes it. Raises BadInput where there is none."""
        if self.how is None:
            raise BadInput("These neurons come from another tab: press Start on the Localize tab, and copy its command.")
        return self.how()


@dataclass(frozen=True)
class NeuronChoice:
    """The chosen neurons in the order they are listed, and those of them that are switched off."""

    neurons: tuple[Neuron, ...] = ()
    off: frozenset[Neuron] = frozenset()

    @property
    def switched_off(self) -> tuple[Neuron, ...]:
        """The neurons that are switched off, in the order they are listed."""
        return tuple(neuron for neuron in self.neurons if neuron in self.off)

    @property
    def switched_on(self) -> tuple[Neuron, ...]:
        """The chosen neurons that are on."""
        return tuple(neuron for neuron in self.neurons if neuron not in self.off)


def best(scores: NeuronScores, k: int) -> NeuronChoice:
    """The k neurons with the highest scores, all switched off."""
    neurons = tuple(scores.top(k))
    return NeuronChoice(neurons, frozenset(neurons))


Value = TypeVar("Value")
HistoryT = TypeVar("HistoryT", bound="History")  # type: ignore[type-arg]  # of any value


@dataclass(frozen=True)
class History(Generic[Value]):
    """The current value, the earlier ones, and those that were undone. At most 100 earlier values are kept."""

    now: Value
    past: tuple[Value, ...] = ()
    future: tuple[Value, ...] = ()

    def to(self: HistoryT, value: Value) -> HistoryT:
        """With a new current value; the old one can be restored by `undo`."""
        return self if value == self.now else replace(self, now=value, past=(*self.past[-99:], self.now), future=())

    def undo(self: HistoryT) -> HistoryT:
        """With the previous value as the current one, if there is any."""
        if not self.past:
            return self
        return replace(self, now=self.past[-1], past=self.past[:-1], future=(self.now, *self.future))

    def redo(self: HistoryT) -> HistoryT:
        """With the value that was undone last, if there is any."""
        if not self.future:
            return self
        return replace(self, now=self.future[0], past=(*self.past, self.now), future=self.future[1:])


@dataclass(frozen=True)
class Selection(History[NeuronChoice]):
    """The current choice of neurons, the earlier ones, and those that were undone."""

    now: NeuronChoice = NeuronChoice()

    def toggled(self, neuron: Neuron) -> "Selection":
        """With one neuron switched; a neuron that was not chosen yet is added and switched off."""
        neurons = self.now.neurons if neuron in self.now.neurons else (*self.now.neurons, neuron)
        return self.to(NeuronChoice(neurons, self.now.off ^ {neuron}))

    def with_off(self, listed: frozenset[Neuron], off: frozenset[Neuron]) -> "Selection":
        """With exactly these of the listed neurons off; the rest are unchanged."""
        return self.to(replace(self.now, off=(self.now.off - listed) | off))

    def with_layers_off(self, layers: frozenset[int]) -> "Selection":
        """With the named layers off, and layers on that were all off and are not named; the rest are unchanged."""
        changed = {
            layer for layer in {neuron.layer for neuron in self.now.neurons} if (layer in layers) != (layer in self.layers_off)
        }
        listed = frozenset(neuron for neuron in self.now.neurons if neuron.layer in changed)
        return self.with_off(listed, frozenset(neuron for neuron in listed if neuron.layer in layers))

    @property
    def layers_off(self) -> frozenset[int]:
        """Layers whose chosen neurons are all off."""
        return frozenset(neuron.layer for neuron in self.now.neurons) - {neuron.layer for neuron in self.now.switched_on}


def fitting(localization: Localization | None, lm: LanguageModel) -> Localization:
    """The localization, if it was made on this model. Raises BadInput that says what to do first otherwise."""
    if localization is None:
        raise BadInput("No neurons have been localized yet: press Start on the Localize tab first.")
    if localization.scores.provenance.fingerprint != lm.fingerprint:
        raise BadInput(
            "These neurons were localized in another model, or with other edits: press Start on the Localize tab again, or "
            "restore the edits that were active then."
        )
    return localization
