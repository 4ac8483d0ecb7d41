"""Coupled neurons: those that two concepts share, by the importance of their weights, and that general text does not need.

The importance of a weight is |W| * sum over texts of |dL(text)/dW|; that of a neuron is the sum over its input and output
vectors. A concept's set is its best neurons without the best of general text, and the coupled neurons are in both sets.

Two sets are intersected by neuron. (The released code intersects by position in two lists that are each sorted by importance: on
independent random scores hardly any of the weights that it chooses lie in both sets.)

The importance of large weights that every text uses is high for every concept: what two lists share may be the language and not
what they are about. So the overlap stands beside that of the same texts divided at random.

Source: DEAN (Qian et al., arXiv 2410.16672), which does this for single weights; for whole neurons it is a method of this kind.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from privlens import intervals, validation
from privlens.errors import BadInput, Cancelled
from privlens.lm.gating import random_like
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.tokens import Encoded
from privlens.lm.weight_importance import weight_importance
from privlens.neurons.coupled_records import CoupledStep, Coupling, Shift, SwitchEffect
from privlens.neurons.coupled_sets import Flat, best_of, intersection, overlap, venn, without
from privlens.neurons.texts import Text, encoded, halves, nlls, perplexity
from privlens.provenance import provenance
from privlens.types import Array, Neuron

ROWS_AT_ONCE = 8
"""Texts in one backward pass: more need more memory, fewer more passes."""


@dataclass(frozen=True)
class CoupledSettings:
    """How many neurons a concept has, and what the coupled ones are compared with."""

    top: float = 0.02
    """The share of all neurons that are a concept's best. (For single weights the source takes 5e-7.)"""
    general: float = 0.02
    """The share of all neurons that are the best of general text, which no concept keeps."""
    held_out: bool = True
    """Whether effects are measured on every second text, which importance does not see; otherwise both have all texts."""
    draws: int = 5
    """Random sets beside the coupled one: an interval needs two, and more of them are more certain."""
    regroupings: int = 99
    """Random divisions of all texts into two lists; with the true one, p is a multiple of 1 / (regroupings + 1)."""


@dataclass(frozen=True)
class CoupledRequest:
    """One search. `first` and `second` are the texts of the two concepts, `general` ordinary paragraphs."""

    lm: LanguageModel
    first: tuple[Text, ...]
    second: tuple[Text, ...]
    general: tuple[str, ...]
    names: tuple[str, str] = ("first", "second")
    settings: CoupledSettings = CoupledSettings()
    seed: int = 0
    stop: Stop = never_stop

    def __post_init__(self) -> None:
        """Raises BadInput for settings out of range."""
        example = "0.02 is one neuron in fifty"
        validation.between(self.settings.top, "share of a concept's best neurons", 0, 0.5, example, above=True)
        validation.between(self.settings.general, "share of the best neurons of general text", 0, 0.5, example)
        validation.whole(self.settings.draws, "number of random sets", 0, 1000)
        validation.whole(self.settings.regroupings, "number of regroupings", 0, 100_000)
        validation.seed(self.seed)


def coupled(request: CoupledRequest) -> Iterator[CoupledStep]:
    """Finds the neurons that two concepts share, and what switching them off does.

    Keeps a number for each neuron and text of the two lists: 184 MB for 100 texts and 32 layers of 14,336 neurons.

    Raises:
        BadInput: for lists of fewer than two texts (one, if nothing is held out), or weights that are quantized or offloaded.
        Cancelled: if `stop` returned True.
    """
    started = time.perf_counter()
    lm, settings = request.lm, request.settings
    parts = {name: _parts(request, texts, name) for name, texts in _lists(request).items()}
    n_used = sum(math.ceil(len(used) / ROWS_AT_ONCE) for used, _ in parts.values())
    n_steps = n_used + 1 + 3 + settings.draws
    step = 0
    importances: list[list[Array]] = []
    for name, (used, _) in parts.items():
        importances.append([])
        for start in range(0, len(used), ROWS_AT_ONCE):
            _go_on(request)
            importances[-1] += [row.numpy() for row in weight_importance(lm, used[start : start + ROWS_AT_ONCE])]
            step += 1
            yield CoupledStep(step, n_steps, f"importance of the weights, {name}")
    first, second, general = importances
    importance = np.stack([_total(lm, of_list) for of_list in importances])
    k_top, k_general = (round(share * lm.n_neurons) for share in (settings.top, settings.general))
    if k_top < 1:
        raise BadInput(f"A share of {settings.top:g} of {lm.n_neurons} neurons is none of them: ask for a larger share.")
    best = [best_of(importance[0], k_top), best_of(importance[1], k_top), best_of(importance[2], k_general)]
    sets = [without(best[0], best[2]), without(best[1], best[2])]
    both = intersection(*sets)
    regrouped = _regrouped(request, first + second, len(first), best[2], k_top)
    step += 1
    yield CoupledStep(step, n_steps, "what lists share whose texts were mixed")
    effects = []
    judged = [judge for _, judge in parts.values()]
    switched_off = list(_switched_off(request, both, sets))
    before = _measured(request, judged, ()) if switched_off else None
    for name, off in switched_off:
        _go_on(request)
        assert before
        effects.append(_effect(name, len(off), before, _measured(request, judged, off)))
        step += 1
        yield CoupledStep(step, n_steps, f"{name} neurons off")
    result = Coupling(
        names=request.names,
        importance=importance,
        k_top=k_top,
        k_general=k_general,
        first=_neurons(lm, sets[0]),
        second=_neurons(lm, sets[1]),
        coupled=_neurons(lm, both),
        venn=venn(*best),
        overlap=overlap(lm.n_neurons - len(best[2]), len(sets[0]), len(sets[1]), len(both), regrouped),
        n_used=(len(first), len(second)),
        n_measured=(len(judged[0]), len(judged[1])),
        effects=tuple(effects),
        provenance=provenance(lm, request.seed, {**asdict(settings), "n_general": len(general)}, started),
    )
    yield CoupledStep(n_steps, n_steps, "done", result)


def _lists(request: CoupledRequest) -> dict[str, Sequence[Text]]:
    first, second = request.names
    if first == second:
        raise BadInput(f"Both concepts are called {first!r}: give two different ones.")
    return {first: request.first, second: request.second, "general text": request.general}


def _parts(request: CoupledRequest, texts: Sequence[Text], name: str) -> tuple[list[Encoded], list[Encoded]]:
    """The rows that importance is computed from, and those that effects are measured on."""
    rows = encoded(request.lm, texts)
    if request.settings.held_out:
        return halves(rows, name)
    if not rows:
        raise BadInput(f"The list {name} has no usable text: give at least one.")
    return rows, rows


def _go_on(request: CoupledRequest) -> None:
    if request.stop():
        raise Cancelled("Stopped while looking for coupled neurons; nothing was changed.")


def _total(lm: LanguageModel, of_texts: Sequence[Array]) -> Array:
    """The importance over all texts, NaN where there is no such neuron."""
    total = np.sum(of_texts, axis=0)
    return np.where(lm.exists().numpy(), total, np.float32("nan")).astype(np.float32)


def _regrouped(request: CoupledRequest, texts: list[Array], n_first: int, general: Flat, k: int) -> list[int]:
    """The sizes of the coupled set for texts that are divided at random into lists of the same lengths."""
    rng = np.random.default_rng(request.seed)
    total, sizes = np.sum(texts, axis=0), []
    for _ in range(request.settings.regroupings):
        part = rng.choice(len(texts), n_first, replace=False)
        of_first = np.sum([texts[index] for index in part], axis=0)
        sets = [without(best_of(importance, k), general) for importance in (of_first, total - of_first)]
        sizes.append(len(intersection(*sets)))
    return sizes


def _switched_off(request: CoupledRequest, both: Flat, sets: Sequence[Flat]) -> Iterator[tuple[str, tuple[Neuron, ...]]]:
    """The sets that are switched off.

    The coupled neurons, as many of one concept alone, and random ones; none if none are coupled.
    """
    k = len(both)
    if not k:
        return
    yield "coupled", _neurons(request.lm, both)
    for name, of_concept in zip(request.names, sets, strict=True):
        alone = without(of_concept, both)[:k]
        if len(alone):
            yield f"{name} only", _neurons(request.lm, alone)
    for draw in range(request.settings.draws):
        yield "random", random_like(request.lm.widths(), k, request.seed + draw)


State = tuple[list[list[float]], float | None]
"""Of some neurons off: the NLLs of the texts of either list, nats/token, and the perplexity of general text."""


def _measured(request: CoupledRequest, judged: Sequence[Sequence[Encoded]], off: tuple[Neuron, ...]) -> State:
    gates = request.lm.off(off) if off else None
    *lists, general = judged
    return [nlls(request.lm, rows, gates, request.stop) for rows in lists], perplexity(request.lm, general, gates, request.stop)


def _effect(name: str, k: int, before: State, after: State) -> SwitchEffect:
    shifts = []
    for early, late in zip(before[0], after[0], strict=True):
        changes = [of_late - of_early for of_early, of_late in zip(early, late, strict=True)]
        shifts.append(Shift(float(np.mean(early)), float(np.mean(late)), intervals.mean(changes)))
    first, second = shifts
    return SwitchEffect(name, k, first, second, before[1], after[1])


def _neurons(lm: LanguageModel, flat: Flat) -> tuple[Neuron, ...]:
    return tuple(Neuron(int(index) // lm.d_mlp, int(index) % lm.d_mlp) for index in flat)
