"""The profile of a model: statistics of all its neurons, computed once for its weights and once for each reference text.

Both are kept on the disk (`store`), by the model's fingerprint, so that a model under edits has a profile of its own.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from privlens.errors import BadInput
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.memorization.states import reference_ids
from privlens.neurons import store
from privlens.neurons.activation_statistics import EDGES, activation_statistics, batches_of
from privlens.neurons.activation_sums import N_CONTEXTS
from privlens.neurons.profile_records import ActivationStatistics, ModelProfile, Moments, ProfileStep, WeightStatistics
from privlens.neurons.weight_statistics import hidden_size, input_names, weight_statistics
from privlens.types import Array

MAX_TOKENS = 65_535
"""Tokens of the reference text that are read, whole paragraphs only: the most that a bin of a histogram counts to."""

Rows = list[tuple[int, list[int]]]


def profile(lm: LanguageModel, texts: Sequence[str], *, stop: Stop = never_stop, use_cache: bool = True) -> Iterator[ProfileStep]:
    """The profile of a model or view; the last step has it. The model is not changed.

    Args:
        texts: paragraphs of a reference text; each is cut after 256 tokens, and what exceeds MAX_TOKENS is left out.
        use_cache: whether what was computed before may be read from the disk, and what is computed is written there.

    Raises:
        BadInput: if no paragraph has two tokens, or weights are quantized or offloaded. UnsupportedModel: if the model has no
            output embeddings. Cancelled: if `stop` returned True.
    """
    rows = _rows(lm, texts)
    key = _text_key(lm.fingerprint, rows)
    weights_name, activations_name = f"{lm.fingerprint}-weights", f"{lm.fingerprint}-{key}"
    weights = _weights(lm, store.load(weights_name)) if use_cache else None
    activations = _activations(lm, store.load(activations_name), len(texts)) if use_cache else None
    n_weights, n_batches = (0 if weights else lm.n_layers), (0 if activations else len(batches_of(rows)))
    n_steps = n_weights + n_batches + 1
    if weights is None:
        weights = yield from weight_statistics(lm, n_steps, stop)
        if use_cache:
            store.save(weights_name, _tensors(weights))
    if activations is None:
        activations = yield from activation_statistics(lm, rows, n_weights + 1, n_steps, stop)
        if use_cache:
            store.save(activations_name, _tensors(activations))
    n_tokens = sum(len(ids) - 1 for _, ids in rows)
    result = ModelProfile(lm.fingerprint, key, len(rows), n_tokens, weights, activations)
    yield ProfileStep(n_steps, n_steps, "done", result)


def _rows(lm: LanguageModel, texts: Sequence[str]) -> Rows:
    """The paragraphs that are read, as (number, token ids)."""
    rows: Rows = []
    n_tokens = 0
    for number, ids in enumerate(reference_ids(lm, texts)):
        n_tokens += len(ids)
        if n_tokens > MAX_TOKENS:
            break
        if len(ids) > 1:
            rows.append((number, ids))
    if not rows:
        raise BadInput("A profile needs a reference text: give a paragraph of a sentence or more.")
    return rows


def _text_key(fingerprint: str, rows: Rows) -> str:
    """16 hexadecimal digits that change with the tokens, and with the model, so that a guessed text has no hash of its own."""
    return hashlib.sha256(f"{fingerprint} {json.dumps(rows)}".encode()).hexdigest()[:16]


def _tensors(record: Any) -> dict[str, Array]:
    """The arrays of a record by name, those of its records and tuples as name.part; neither texts nor what is None."""

    def flat(name: str, value: Any) -> Iterator[tuple[str, Array]]:
        if isinstance(value, np.ndarray):
            yield name, value
            return
        parts: list[tuple[str, Any]] = []
        if isinstance(value, tuple):
            parts = [(str(number), part) for number, part in enumerate(value)]
        elif is_dataclass(value):
            parts = [(field.name, getattr(value, field.name)) for field in fields(value)]
        for part_name, part in parts:
            yield from flat(f"{name}.{part_name}" if name else part_name, part)

    return dict(flat("", record))


def _fitting(tensors: dict[str, Array] | None, shape: tuple[int, int], besides: tuple[str, ...] = ()) -> dict[str, Array] | None:
    """The arrays if each is of every neuron of a model of this shape; None if one is not."""
    if tensors is None or any(array.shape[:2] != shape for name, array in tensors.items() if name not in besides):
        return None
    return tensors


def _weights(lm: LanguageModel, tensors: dict[str, Array] | None) -> WeightStatistics | None:
    """The statistics that `_tensors` made these arrays of; None if they are not complete or of another shape."""
    tensors = _fitting(tensors, lm.shape(), ("direction_norms",))
    if tensors is None:
        return None
    names = input_names(lm)
    inputs = range(len(names))
    try:
        return WeightStatistics(
            output_norm=tensors["output_norm"],
            input_names=names,
            input_norms=tuple(tensors[f"input_norms.{number}"] for number in inputs),
            input_biases=tuple(tensors.get(f"input_biases.{number}") for number in inputs),
            cosines=tuple(tensors[f"cosines.{number}"] for number in inputs),
            squared_norm=tensors["squared_norm"],
            vocabulary=_moments("vocabulary", tensors),
            extreme_tokens=tensors["extreme_tokens"],
            extreme_cosines=tensors["extreme_cosines"],
            direction_norms=tensors["direction_norms"],
            hidden_size=hidden_size(lm),
        )
    except KeyError:
        return None


def _activations(lm: LanguageModel, tensors: dict[str, Array] | None, n_texts: int) -> ActivationStatistics | None:
    """The statistics that `_tensors` made these arrays of; None if they are not complete, of another shape, or of other texts."""
    tensors = _fitting(tensors, lm.shape())
    if tensors is None:
        return None
    own = [field.name for field in fields(ActivationStatistics) if field.name != "moments"]
    try:
        statistics = ActivationStatistics(_moments("moments", tensors), **{name: tensors[name] for name in own})
    except KeyError:
        return None
    fits = statistics.histogram.shape[2] == len(EDGES) + 1 and statistics.context_rows.shape[2] == N_CONTEXTS
    return statistics if fits and statistics.context_rows.max() < n_texts else None


def _moments(name: str, tensors: dict[str, Array]) -> Moments:
    return Moments(*(tensors[f"{name}.{field.name}"] for field in fields(Moments)))
