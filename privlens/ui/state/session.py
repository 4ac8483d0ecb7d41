"""What one visitor has: the name of a model, the neurons found, the neurons chosen. Frozen values; the models are shared.

A handler takes these values and returns new ones, so a click can be undone and a visitor never touches another's.
"""

import contextvars
import threading
import weakref
from collections import OrderedDict
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
"""Seconds between two looks at whether a load is over or was cancelled."""


class ModelName(NamedTuple):
    """What a visitor's model was loaded as, where, and in which type.

    This visitor alone sees it under the edits, and is answered in chat turns or not.
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


class Visitor:
    """One visitor: which model is theirs, and what they had loaded in this visit. A gr.State gives each visitor another."""

    def __init__(self) -> None:
        self.model: ModelName | None = None
        self.loaded: tuple[str, ...] = ()

    def __deepcopy__(self, _: Any) -> "Visitor":
        return Visitor()


class Loading:
    """A load under way, and how many wait for it."""

    def __init__(self) -> None:
        self.over: Future[None] = Future()
        self.waiting = 0


class ModelCache:
    """The models in memory, shared by all visitors; beyond a few, the one unused for longest goes, but never the first.

    A visitor keeps a model's name only; a model that went is loaded again when it is asked for. So is one whose weights could not
    be put back after an error, the first one too. Every load has a thread of its own: nobody waits for another model's, and who
    wants the same waits for the same. `allowed` says what may be loaded; without it anything may.
    """

    def __init__(self, first: ModelName, room: int = 3, allowed: Allowed | None = None) -> None:
        self.first, self.room, self.allowed = first, room, allowed
        self._lock = threading.Lock()
        self._models: OrderedDict[ModelName, LanguageModel] = OrderedDict()
        self._loads: dict[ModelName, Loading] = {}
        self._visitors: weakref.WeakSet[Visitor] = weakref.WeakSet()
        self.get(first)

    def get(self, wanted: ModelName, stop: Stop = never_stop) -> LanguageModel:
        """The model under the visitor's edits, loaded where need be.

        Raises what `load`, `chatting`, `under` raise; BadInput for what may not be loaded; Cancelled when `stop` said so: then
        what was loaded is thrown away at its end, unless somebody else waits for it.
        """
        lm = self._held(wanted.plain)
        while lm is None:
            self._wait(wanted.plain, stop)
            lm = self._held(wanted.plain)
        lm = lm.chatting() if wanted.chat else lm
        return lm.under(*wanted.edits) if wanted.edits else lm

    def choose(self, visitor: Visitor, name: ModelName) -> None:
        """This is the visitor's model from now on, and nobody unloads it under them."""
        with self._lock:
            visitor.model = name.plain
            visitor.loaded = tuple(dict.fromkeys((name.name, *visitor.loaded)))
            self._visitors.add(visitor)

    def leave(self, visitor: Visitor, name: ModelName) -> None:
        """The visitor goes back to the first model; theirs goes unless another visitor has chosen it too."""
        with self._lock:
            visitor.model = self.first
            if any(other.model == name.plain for other in self._visitors):
                return
        self.unload(name)

    def unload(self, name: ModelName) -> None:
        """Lets a model go and frees its memory; never the first. Who still has it chosen gets it loaded again."""
        with self._lock:
            if name.plain != self.first:
                self._models.pop(name.plain, None)
        release()

    def _wait(self, wanted: ModelName, stop: Stop) -> None:
        """Begins to load, or joins whoever did, and waits for the end."""
        if self.allowed is not None:
            self.allowed.check(wanted.name)
        with self._lock:
            loading = self._loads.get(wanted)
            if loading is None:
                if wanted in self._models:
                    return
                loading = self._loads[wanted] = Loading()
                context = contextvars.copy_context()  # says which visitor is to be told what the core says
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
        """The thread of a load. No name here holds the model, so that it is gone as soon as the shelf lets it go."""
        failed: BaseException | None = None
        try:
            self._put(wanted, self._read(wanted), loading)
        except PrivlensError as error:
            shown = str(error) if self.allowed is None else without_folders(str(error), wanted.name)
            failed = error if shown == str(error) else type(error)(shown)
        except BaseException as error:  # whoever waits is to hear of it, whatever it is
            failed = error
        with self._lock:
            self._loads.pop(wanted, None)
        release()
        if failed is None:
            loading.over.set_result(None)
        else:
            loading.over.set_exception(failed)

    def _read(self, wanted: ModelName) -> LanguageModel:
        if self.allowed is not None and self.allowed.is_hub_id(wanted.name):
            return load(wanted.name, wanted.device, wanted.dtype, from_hub=True)
        return load(wanted.name, wanted.device, wanted.dtype)

    def _held(self, wanted: ModelName) -> LanguageModel | None:
        with self._lock:
            lm = self._models.get(wanted)
            if lm is not None and lm.is_damaged:
                logger.warning("%s is loaded anew: after an error some of its weights could not be put back.", wanted.name)
                del self._models[wanted]
                return None
            if lm is not None:
                self._models.move_to_end(wanted)
            return lm

    def _put(self, wanted: ModelName, lm: LanguageModel, loading: Loading) -> None:
        """Keeps a model that somebody still waits for."""
        with self._lock:
            del self._loads[wanted]
            if not loading.waiting:
                return
            self._models[wanted] = lm
            for name in [name for name in self._models if name != self.first][: max(0, len(self._models) - self.room)]:
                del self._models[name]


@dataclass(frozen=True, eq=False)
class Localization:
    """A localization: for which secret, with which other secrets as retained text, and the scores it gave.

    `voters` are all secrets of a vote; the target is then one of them. `asked` is what the Localize tab was asked with, by its
    names there; `facts` and `curves` are what it says of the run, and its loss as a figure's JSON. Another tab's have none.
    `n_edits` were in place.
    """

    target: Secret
    retained: frozenset[Secret]
    scores: NeuronScores
    voters: tuple[Secret, ...] = ()
    asked: tuple[tuple[str, str], ...] = ()
    facts: tuple[Any, ...] = ()
    curves: str = ""
    n_edits: int = 0

    @property
    def site(self) -> Site:
        """Where its neurons stand."""
        return self.scores.site


@dataclass(frozen=True)
class NeuronChoice:
    """Neurons picked out, in the order they are listed, and those of them that are off."""

    neurons: tuple[Neuron, ...] = ()
    off: frozenset[Neuron] = frozenset()

    @property
    def switched_off(self) -> tuple[Neuron, ...]:
        """The neurons that are off, in the order they are listed."""
        return tuple(neuron for neuron in self.neurons if neuron in self.off)

    @property
    def switched_on(self) -> tuple[Neuron, ...]:
        """The neurons that were picked out and are on again."""
        return tuple(neuron for neuron in self.neurons if neuron not in self.off)


def best(scores: NeuronScores, k: int) -> NeuronChoice:
    """The k best neurons, all off."""
    neurons = tuple(scores.top(k))
    return NeuronChoice(neurons, frozenset(neurons))


Value = TypeVar("Value")
Own = TypeVar("Own", bound="History")  # type: ignore[type-arg]  # of whatever it holds


@dataclass(frozen=True)
class History(Generic[Value]):
    """What stands, what stood before it and what was taken back."""

    now: Value
    past: tuple[Value, ...] = ()
    future: tuple[Value, ...] = ()

    def to(self: Own, value: Value) -> Own:
        """Something else stands; what stood can be had back."""
        return self if value == self.now else replace(self, now=value, past=(*self.past[-99:], self.now), future=())

    def undo(self: Own) -> Own:
        """What stood before this, where there is any."""
        return replace(self, now=self.past[-1], past=self.past[:-1], future=(self.now, *self.future)) if self.past else self

    def redo(self: Own) -> Own:
        """What was taken back, where there is any."""
        return replace(self, now=self.future[0], past=(*self.past, self.now), future=self.future[1:]) if self.future else self


@dataclass(frozen=True)
class Selection(History[NeuronChoice]):
    """The choice that stands, those before it and those taken back."""

    now: NeuronChoice = NeuronChoice()

    def toggled(self, neuron: Neuron) -> "Selection":
        """Off becomes on, on becomes off; a neuron that was not picked out yet is picked out and off."""
        neurons = self.now.neurons if neuron in self.now.neurons else (*self.now.neurons, neuron)
        return self.to(NeuronChoice(neurons, self.now.off ^ {neuron}))

    def with_off(self, listed: frozenset[Neuron], off: frozenset[Neuron]) -> "Selection":
        """Of the listed neurons exactly these are off; the rest stay as they are."""
        return self.to(replace(self.now, off=(self.now.off - listed) | off))

    def with_layers_off(self, layers: frozenset[int]) -> "Selection":
        """Layers that were all off and are not named go on, layers that are named go off, the rest stay as they are."""
        changed = {
            layer for layer in {neuron.layer for neuron in self.now.neurons} if (layer in layers) != (layer in self.layers_off)
        }
        of = frozenset(neuron for neuron in self.now.neurons if neuron.layer in changed)
        return self.with_off(of, frozenset(neuron for neuron in of if neuron.layer in layers))

    @property
    def layers_off(self) -> frozenset[int]:
        """Layers whose picked-out neurons are all off."""
        return frozenset(neuron.layer for neuron in self.now.neurons) - {neuron.layer for neuron in self.now.switched_on}


def fitting(located: Localization | None, lm: LanguageModel) -> Localization:
    """The localization, where there is one of this model. Raises BadInput with what to do first."""
    if located is None:
        raise BadInput("No neurons have been localized yet: press Start on the Localize tab first.")
    if located.scores.provenance.fingerprint != lm.fingerprint:
        raise BadInput(
            "These neurons were localized in another model, or on other weights of it: press Start on the Localize tab again, or "
            "switch the edits back that were in place then."
        )
    return located
