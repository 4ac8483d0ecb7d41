"""How every neuron of a model is active in a reference text: moments, a histogram, the strongest contexts, and what explains it.

One pass over the text in batches; of each batch only sums are kept (`activation_sums`). Left out is the first token of each
paragraph: it has no context, and in many models attention rests on it, so that its activations would decide every moment.
"""

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from privlens.errors import Cancelled
from privlens.lm.activations import visit
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.neurons.activation_sums import N_CONTEXTS, ActivationSums, joined, of_layer, stacked_layers
from privlens.neurons.profile_records import ActivationStatistics, ProfileStep

OCTAVES = np.arange(-5, 6, 0.5)
EDGES: tuple[float, ...] = tuple(float(edge) for edge in np.concatenate([-(2.0 ** OCTAVES[::-1]), [0.0], 2.0**OCTAVES]))
"""Where the bins of every histogram meet: two an octave from 1/32 to 32 on both sides of 0. The same for all neurons, so that one
pass is enough and neurons can be compared; half octaves show shapes from activations of a hundredth to some of hundreds."""
POSITIONS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
"""Positions at which another group begins; the first begins at 1. Narrow where positions differ most, and short texts are too."""
N_GROUPS = 64
"""The most frequent tokens, by which a neuron's activation is grouped; more take more memory, 4 bytes for each neuron."""
LEAST = 5
"""A token that occurs less often in the text is in no group: its mean would be its own activation."""
TOKENS_AT_ONCE = 2048
NEURONS_AT_ONCE = 4096
"""Tokens in one pass, and neurons of a layer that are summed at once: 32 MiB in float32, a few times over."""


@dataclass(frozen=True, eq=False)
class _Text:
    """The reference text as it is counted.

    Attributes:
        rows: (number of the paragraph, token ids). groups: [V] the group of each token, N_GROUPS for those in none.
    """

    rows: Sequence[tuple[int, Sequence[int]]]
    groups: Tensor


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some paragraphs in one pass, all on the CPU.

    Attributes:
        counted: [rows, tokens] bool. numbers: [rows] of the paragraphs. tokens: the flat indices of counted tokens.
        place, group: of each counted token. in_group: the counted tokens that are in a group, as indices into these.
    """

    ids: list[Sequence[int]]
    counted: Tensor
    numbers: Tensor
    tokens: Tensor
    place: Tensor
    group: Tensor
    in_group: Tensor


def batches_of(rows: Sequence[tuple[int, Sequence[int]]]) -> list[list[tuple[int, Sequence[int]]]]:
    """Paragraphs in batches of at most TOKENS_AT_ONCE tokens with their padding."""
    batches: list[list[tuple[int, Sequence[int]]]] = []
    longest = 0
    for row in rows:
        longest = max(longest, len(row[1]))
        if not batches or (len(batches[-1]) + 1) * longest > TOKENS_AT_ONCE:
            batches.append([])
            longest = len(row[1])
        batches[-1].append(row)
    return batches


def activation_statistics(
    lm: LanguageModel,
    rows: Sequence[tuple[int, Sequence[int]]],
    first_step: int,
    n_steps: int,
    stop: Stop = never_stop,
) -> Generator[ProfileStep, None, ActivationStatistics]:
    """Yields after every batch, and returns the statistics of all neurons; the model is not changed.

    Args:
        rows: paragraphs of two tokens or more, as (number, token ids); contexts name them by number.
        first_step, n_steps: of the whole profile, for its steps.

    Raises:
        Cancelled: if `stop` returned True.
    """
    text = _Text(rows, _groups(lm, rows))
    batches = batches_of(rows)
    shifts = _shifts(lm, batches[0])
    totals: list[ActivationSums] = []
    for step, batch in enumerate(batches):
        if stop():
            raise Cancelled("Stopped while reading the reference text; nothing was changed.")
        for sums in in_parts(lambda part: [_sums(lm, text, part, shifts)], batch):
            totals = [total.plus(new) for total, new in zip(totals, sums, strict=True)] if totals else sums
        yield ProfileStep(first_step + step, n_steps, f"activations, {step + 1} of {len(batches)} batches of text")
    n_in_group = _counts(text)
    places = _place_counts(rows)
    layers = [of_layer(sums, shift, places, n_in_group) for sums, shift in zip(totals, shifts, strict=True)]
    return stacked_layers(layers)


def _groups(lm: LanguageModel, rows: Sequence[tuple[int, Sequence[int]]]) -> Tensor:
    """[V] the group of every token: its place among the most frequent ones, or N_GROUPS for those that are in no group."""
    frequencies = Counter(token for _, ids in rows for token in ids[1:])
    groups = torch.full((max(lm.n_embeddings, lm.n_vocabulary),), N_GROUPS, dtype=torch.long)
    for group, (token, n) in enumerate(frequencies.most_common(N_GROUPS)):
        if n >= LEAST:
            groups[token] = group
    return groups


def _counts(text: _Text) -> Tensor:
    """[N_GROUPS] how many counted tokens each group has."""
    counted = torch.tensor([token for _, ids in text.rows for token in ids[1:]])
    return text.groups[counted].bincount(minlength=N_GROUPS + 1)[:N_GROUPS]


def _place_counts(rows: Sequence[tuple[int, Sequence[int]]]) -> Tensor:
    """How many counted tokens each group of positions has."""
    positions = torch.cat([torch.arange(1, len(ids)) for _, ids in rows])
    return _places(positions).bincount(minlength=len(POSITIONS) + 1)


def _places(positions: Tensor) -> Tensor:
    """The group of each position."""
    return torch.bucketize(positions, torch.tensor(POSITIONS), right=True)


def _prepared(text: _Text, part: Sequence[tuple[int, Sequence[int]]]) -> _Batch:
    longest = max(len(ids) for _, ids in part)
    counted = torch.zeros(len(part), longest, dtype=torch.bool)
    for index, (_, ids) in enumerate(part):
        counted[index, 1 : len(ids)] = True
    group = text.groups[torch.tensor([token for _, ids in part for token in ids[1:]])]
    return _Batch(
        ids=[ids for _, ids in part],
        counted=counted,
        numbers=torch.tensor([number for number, _ in part]),
        tokens=counted.flatten().nonzero()[:, 0],
        place=_places(counted.nonzero()[:, 1]),
        group=group,
        in_group=(group < N_GROUPS).nonzero()[:, 0],
    )


def _shifts(lm: LanguageModel, part: Sequence[tuple[int, Sequence[int]]]) -> list[Tensor]:
    """Near the mean of every neuron, a [width] for each layer: its mean in the first paragraph."""
    shifts: dict[int, Tensor] = {}

    def record(layer: int, hidden: Tensor) -> None:
        shifts[layer] = hidden[0, 1:].float().mean(0)

    visit(lm, [part[0][1]], record)
    return [shifts[layer] for layer in range(lm.n_layers)]


def _sums(
    lm: LanguageModel, text: _Text, part: Sequence[tuple[int, Sequence[int]]], shifts: Sequence[Tensor]
) -> list[ActivationSums]:
    """The sums over some paragraphs, for each layer."""
    batch = _prepared(text, part)
    by_layer: dict[int, ActivationSums] = {}

    def record(layer: int, hidden: Tensor) -> None:
        chunks = zip(hidden.split(NEURONS_AT_ONCE, -1), shifts[layer].split(NEURONS_AT_ONCE), strict=True)
        by_layer[layer] = joined([_chunk(chunk, shift, batch) for chunk, shift in chunks])

    visit(lm, batch.ids, record)
    return [by_layer[layer] for layer in range(lm.n_layers)]


def _chunk(hidden: Tensor, shift: Tensor, batch: _Batch) -> ActivationSums:
    """The sums for some neurons of a layer, from their activations [rows, tokens, n]."""
    device, width = hidden.device, hidden.shape[-1]
    hidden = hidden.float()
    activations = hidden.flatten(0, 1).index_select(0, batch.tokens.to(device))
    x = activations - shift
    square = x.square()
    bins = torch.bucketize(activations.T.contiguous(), torch.tensor(EDGES, device=device, dtype=torch.float32), right=True)
    histogram = torch.zeros(width, len(EDGES) + 1, device=device, dtype=torch.int32)
    histogram.scatter_add_(1, bins, torch.ones_like(bins, dtype=torch.int32))
    strongest = hidden.masked_fill(~batch.counted.to(device)[..., None], -torch.inf).max(1)
    top = strongest.values.topk(min(N_CONTEXTS, len(hidden)), dim=0)
    zeros = torch.zeros(len(POSITIONS) + 1 + N_GROUPS + 1, width, device=device, dtype=torch.float32)
    by_place, by_group = zeros.split([len(POSITIONS) + 1, N_GROUPS + 1])
    return ActivationSums(
        powers=torch.stack([x.sum(0), square.sum(0), (square * x).sum(0), square.square().sum(0)]).cpu().double(),
        positive=(activations > 0).sum(0).cpu(),
        histogram=histogram.cpu(),
        by_place=by_place.index_add(0, batch.place.to(device), x).cpu(),
        by_group=by_group.index_add(0, batch.group.to(device), x)[:N_GROUPS].cpu(),
        group_squares=square.index_select(0, batch.in_group.to(device)).sum(0).cpu().double(),
        best=top.values.cpu(),
        rows=batch.numbers[top.indices.cpu()].int(),
        positions=strongest.indices.gather(0, top.indices).cpu().int(),
    )
