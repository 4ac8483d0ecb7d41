"""For which secrets of a list one neuron is among the best, under each quick localization method.

All secrets are localized once for a model and a list, and of each ranking only the best 1 % are kept; then the places of any
neuron are looked up. Beside it stand a random neuron of the same layer, because layers differ in how many of the best they have,
and chance, which is 1 %.

Methods that use retained text are given every second of the other listed values, as `localize` does by default.
"""

import hashlib
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from privlens import validation
from privlens.errors import BadInput
from privlens.lm.gating import random_like
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.localization import METHOD_INFO, QUICK_METHODS, Task, result_of
from privlens.neurons import store
from privlens.neurons.place_records import ListPlaces, NeuronPlaces, Place, PlacesStep, PlaceSummary
from privlens.neurons.share import share_of
from privlens.provenance import provenance
from privlens.retained.others import other_secrets, retained_of
from privlens.secret_lists import ListedSecret
from privlens.types import Indices, Neuron, NeuronScores, Secret

BEST = 0.01
"""The share of all neurons whose places are kept."""
N_SECRETS = 28
"""Secrets that are localized unless asked otherwise: four of each of seven categories. Fewer say less, more take longer."""
DEFAULT_METHODS = tuple(name for name in QUICK_METHODS if not METHOD_INFO[name].retains)
"""Without those that score the retained text anew for each secret: some 90 rows, where the others score the secret alone."""


@dataclass(frozen=True)
class PlacesRequest:
    """Which secrets are localized, and how.

    Attributes:
        listed: the list. n_secrets: so many of those that were trained on, as many of each category as there are.
        methods: of QUICK_METHODS. seed: of the draw and of the methods.
    """

    lm: LanguageModel
    listed: tuple[ListedSecret, ...]
    methods: tuple[str, ...] = DEFAULT_METHODS
    n_secrets: int = N_SECRETS
    seed: int = 0
    stop: Stop = never_stop

    def __post_init__(self) -> None:
        """Raises BadInput for no method or one that is not quick, a list of which nothing was trained on, or a wrong number."""
        for name in self.methods:
            if name not in QUICK_METHODS:
                raise BadInput(f"{name!r} is not one of the quick methods: use {', '.join(QUICK_METHODS)}.")
        if not self.methods:
            raise BadInput("No method was chosen: choose at least one.")
        validation.whole(self.n_secrets, "number of secrets", 1, 100_000)
        validation.seed(self.seed)
        if not self.rows:
            raise BadInput("The list has no secret that was trained on: give one with rows whose repeats are not 0.")

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows that are localized, drawn by the seed: one of each category in turn; those of one category together."""
        by_category = defaultdict(list)
        for row, entry in enumerate(self.listed):
            if entry.repeats != 0:
                by_category[entry.secret.category].append(row)
        rng = random.Random(self.seed)
        shuffled = [rng.sample(rows, len(rows)) for _, rows in sorted(by_category.items())]
        in_turn = [rows[turn] for turn in range(max(map(len, shuffled), default=0)) for rows in shuffled if turn < len(rows)]
        return tuple(sorted(in_turn[: self.n_secrets], key=lambda row: (self.listed[row].secret.category, row)))


def list_places(request: PlacesRequest, *, use_cache: bool = False) -> Iterator[PlacesStep]:
    """Localizes the secrets of a list by every method; the last step has the best neurons of each.

    Args:
        use_cache: whether this may be read from the disk and written there: for lists that are no secret, since the name of the
            file depends on the list.

    Raises:
        BadInput: for a secret that the model cannot read. Cancelled: if the request's `stop` returned True.
    """
    started = time.perf_counter()
    lm, rows = request.lm, request.rows
    n_best = max(1, round(BEST * lm.n_neurons))
    shape = (len(request.methods), len(rows), n_best)
    settings = {"methods": request.methods, "n_secrets": len(rows), "n_best": n_best, "retained": "half"}
    name = _name(request)
    best = _stored(name, shape) if use_cache else None
    n_steps = len(rows) * len(request.methods) + 1
    if best is None:
        best = np.full(shape, -1, np.int32)
        for number, row in enumerate(rows):
            for of_method, method in enumerate(request.methods):
                yield PlacesStep(number * shape[0] + of_method, n_steps, f"{method}, secret {number + 1} of {len(rows)}")
                found = best_neurons(_localized(request, method, request.listed[row].secret), n_best)
                best[of_method, number, : len(found)] = found
        if use_cache:
            store.save(name, {"best": best})
    made = provenance(lm, request.seed, settings, started)
    yield PlacesStep(n_steps, n_steps, "done", ListPlaces(rows, request.methods, best, tuple(lm.widths()), made))


def _localized(request: PlacesRequest, method: str, secret: Secret) -> NeuronScores:
    others = other_secrets((entry.secret for entry in request.listed), [secret]) if METHOD_INFO[method].retains else ()
    task = Task(request.lm, secret, retained_of(others, "half"), seed=request.seed, stop=request.stop)
    return result_of(method, task)


def best_neurons(scores: NeuronScores, n_best: int) -> Indices:
    """layer * width + index of the best neurons, the highest score first: n_best, without those that only equal the next one."""
    width = scores.scores.shape[1]
    ranked = scores.top(n_best + 1)
    ends = scores.scores[ranked[n_best]] if len(ranked) > n_best else -np.inf
    return np.array([layer * width + index for layer, index in ranked[:n_best] if scores.scores[layer, index] > ends], np.int32)


def _name(request: PlacesRequest) -> str:
    """A name that changes with the model and with all that is asked."""
    secrets = [(entry.secret.prompt, entry.secret.value) for entry in request.listed]
    asked = json.dumps([request.lm.fingerprint, request.methods, request.rows, request.seed, secrets])
    return f"{request.lm.fingerprint}-places-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"


def _stored(name: str, shape: tuple[int, int, int]) -> Indices | None:
    best = (store.load(name) or {}).get("best")
    return best if best is not None and best.shape == shape else None


def places_of(found: ListPlaces, listed: Sequence[ListedSecret], neuron: Neuron, seed: int = 0) -> NeuronPlaces:
    """The places of one neuron, beside those of a random one of the same layer.

    Args:
        listed: the list that the places are of. seed: of the random neuron.

    Raises:
        BadInput: if its layer has no other neuron.
    """
    secrets = tuple(listed[row].secret for row in found.rows)
    [drawn] = random_like([found.widths[neuron.layer]], 1, seed, frozenset([Neuron(0, neuron.index)]))
    rival = Neuron(neuron.layer, drawn.index)
    own, control = (_places(found, one) for one in (neuron, rival))
    n_neurons, n_best = sum(found.widths), found.best.shape[2]
    groups = {"": list(range(len(secrets)))}
    for number, secret in enumerate(secrets):
        groups.setdefault(secret.category or "no category", []).append(number)
    return NeuronPlaces(
        neuron=neuron,
        random=rival,
        n_best=n_best,
        n_neurons=n_neurons,
        chance=n_best / n_neurons,
        methods=found.methods,
        rows=found.rows,
        secrets=secrets,
        places=own,
        random_places=control,
        summaries=tuple(
            PlaceSummary(
                method=method,
                category=category,
                share=share_of(*_hits(own[number], members)),
                median_place=_median([own[number][member] for member in members]),
                random_share=share_of(*_hits(control[number], members)),
                layer_share=_of_layer(found, number, members, neuron.layer),
            )
            for number, method in enumerate(found.methods)
            for category, members in groups.items()
        ),
        provenance=found.provenance,
    )


def _places(found: ListPlaces, neuron: Neuron) -> tuple[tuple[Place, ...], ...]:
    is_it = found.best == neuron.layer * max(found.widths) + neuron.index
    places = np.where(is_it.any(-1), is_it.argmax(-1) + 1, 0)
    return tuple(tuple(place or None for place in of_method) for of_method in places.tolist())


def _hits(places: Sequence[Place], members: Sequence[int]) -> tuple[int, int]:
    return sum(places[member] is not None for member in members), len(members)


def _median(places: Sequence[Place]) -> float | None:
    median = statistics.median(float("inf") if place is None else place for place in places)
    return None if median == float("inf") else float(median)


def _of_layer(found: ListPlaces, method: int, members: Sequence[int], layer: int) -> float:
    """How often a neuron of a layer is among the best, the mean over all of them."""
    of_layer = found.best[method, members] // max(found.widths) == layer
    return float(of_layer.sum() / (len(members) * found.widths[layer]))
