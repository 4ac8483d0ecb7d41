"""Samples a model under a constraint that depends on how much of a pattern is already written.

A pattern has a number of places. In every place only some tokens are allowed, each of which fills one place or more; a sample
ends when all are filled. Tokens are drawn from the model's own predictions, renormalized over the allowed ones, at one of several
temperatures: the samples of a model that is sure of something would be all the same at temperature 1 alone.

Samples behind several prompts of one length run together, and those that are the same so far are run as one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from privlens.errors import Cancelled
from privlens.lm.continuations import Continuations, together
from privlens.lm.memory import in_parts
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.types import Site

TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
"""Row i is drawn at the temperature i mod 4. At 8 nearly all allowed tokens are alike. With temperature 1 alone the interval of
an exposure held the true one in 14 of 21 cases on a small overfitted model."""


@dataclass(frozen=True)
class Pattern:
    """The tokens that are allowed in each place of a pattern.

    Attributes:
        allowed: [places, V] bool. lengths: [V] int64, the number of places that a token fills where it is allowed.
    """

    allowed: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class ConstrainedSample:
    """One sample: its tokens, and its total log-probability by the model (`logprob`) and by the draw (`drawn`), in nats.

    The latter is that of a draw at a temperature that is itself drawn, so that samples of all temperatures count alike.

    `ids` is None for a sample that came to a place where no token is allowed, or that became less likely than was asked for; it
    counts as drawn all the same.
    """

    ids: tuple[int, ...] | None
    logprob: float
    drawn: float


@dataclass(frozen=True)
class Wanted:
    """Samples of a pattern behind a prompt (token ids). Those that are less likely than `floor` (nats) are not continued."""

    prompt: tuple[int, ...]
    pattern: Pattern
    floor: float = -math.inf


def sample_patterns(
    lm: LanguageModel,
    wanted: Sequence[Wanted],
    n: int,
    *,
    gates: Tensor | None = None,
    site: Site = "mlp",
    seed: int = 0,
    stop: Stop = never_stop,
) -> list[list[ConstrainedSample]]:
    """n samples for each that is wanted; they depend neither on the others nor on how rows are split where memory runs out.

    Args:
        gates: [1, n_layers, width] or None.

    Raises:
        Cancelled: when `stop` returns true between two tokens.
    """
    uniform = [_uniform(n, len(one.pattern.allowed), seed) for one in wanted]

    def draw(rows: Sequence[tuple[int, int]]) -> list[ConstrainedSample]:
        used = sorted({index for index, _ in rows})
        mine = [(used.index(index), uniform[index][row], row) for index, row in rows]
        with torch.no_grad(), lm.gated(gates, site):
            return _draw(lm, [wanted[index] for index in used], mine, stop)

    drawn: dict[tuple[int, int], ConstrainedSample] = {}
    for batch in together(lm, [one.prompt for one in wanted], [n] * len(wanted)):
        rows = [(index, row) for index in batch for row in range(n)]
        drawn |= zip(rows, in_parts(draw, rows), strict=True)
    return [[drawn[index, row] for row in range(n)] for index in range(len(wanted))]


def _uniform(n: int, places: int, seed: int) -> Tensor:
    """[n, places] numbers from 0 to 1, of which every token takes one."""
    return torch.rand(n, places, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass
class _Samples:
    """The samples so far, a row each, and totals in nats.

    `place` is where in the patterns, one behind the other, each of them is, and `end` where its own pattern ends. `totals` is
    [1 + temperatures, rows]: the log-probability by the model, and by a draw at each temperature.
    """

    place: Tensor
    end: Tensor
    is_ended: Tensor
    totals: Tensor
    ids: list[list[int]]

    @classmethod
    def empty(cls, place: Tensor, end: Tensor) -> "_Samples":
        """Samples without any token."""
        n = len(place)
        totals = torch.zeros(1 + len(TEMPERATURES), n, dtype=torch.float64)
        return cls(place, end, torch.zeros(n, dtype=torch.bool), totals, [[] for _ in range(n)])

    def going_on(self) -> Tensor:
        """The rows that are neither complete nor ended early."""
        return ((self.place < self.end) & ~self.is_ended).nonzero()[:, 0]

    def add(self, rows: Tensor, tokens: Tensor, lengths: Tensor, logprobs: Tensor) -> None:
        """Adds a token to each of these rows, with the places it fills and what it adds to the totals."""
        self.place[rows] += lengths
        self.totals[:, rows] += logprobs
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            self.ids[row].append(token)

    def records(self) -> list[ConstrainedSample]:
        """All samples, finished or not."""
        drawn = self.totals[1:].logsumexp(0) - math.log(len(TEMPERATURES))
        rows = zip(self.ids, self.is_ended.tolist(), self.totals[0].tolist(), drawn.tolist(), strict=True)
        return [ConstrainedSample(None if ended else tuple(ids), logprob, drawn) for ids, ended, logprob, drawn in rows]


def _draw(
    lm: LanguageModel, wanted: Sequence[Wanted], rows_wanted: Sequence[tuple[int, Tensor, int]], stop: Stop
) -> list[ConstrainedSample]:
    """A sample for each row. The caller holds the lock.

    Args:
        rows_wanted: which of `wanted` each row is of, its uniform numbers, and its number, which says its temperature.
    """
    of = torch.tensor([index for index, _, _ in rows_wanted])
    uniform = pad_sequence([numbers for _, numbers, _ in rows_wanted], batch_first=True)
    temperature = torch.tensor([number for _, _, number in rows_wanted]) % len(TEMPERATURES)
    floor = torch.tensor([one.floor for one in wanted], dtype=torch.float64)[of]
    allowed, lengths, ends = _joined([one.pattern for one in wanted])
    samples = _Samples.empty(ends[of] - torch.tensor([len(one.pattern.allowed) for one in wanted])[of], ends[of])
    prompts = {prompt: row for row, prompt in enumerate(dict.fromkeys(one.prompt for one in wanted))}
    texts = Continuations(lm, list(prompts))
    node = torch.tensor([prompts[wanted[index].prompt] for index, _, _ in rows_wanted])
    for step in range(uniform.shape[1]):
        if stop():
            raise Cancelled("Stopped while measuring; nothing was changed.")
        rows = samples.going_on()
        if not len(rows):
            break
        if step == 0:
            logits = texts.start()
        else:
            row_of, logits = texts.follow(node[rows].tolist(), [samples.ids[row][-1] for row in rows.tolist()])
            node[rows] = torch.tensor(row_of)
        places, place_of = samples.place[rows].unique(return_inverse=True)
        columns = allowed[places].any(0).nonzero()[:, 0]  # a few hundred of the vocabulary at most
        logprobs = (logits[:, columns.to(logits.device)] - logits.logsumexp(-1, keepdim=True)).double().cpu()
        is_possible = allowed[places].any(-1)[place_of]
        samples.is_ended[rows] = ~is_possible
        rows, place_of = rows[is_possible], place_of[is_possible]
        fits = allowed[places][:, columns][place_of]
        picked, added = _picked(logprobs[node[rows]], fits, uniform[rows, step], temperature[rows])
        samples.add(rows, columns[picked], lengths[columns[picked]], added)
        samples.is_ended |= samples.totals[0] < floor
    return samples.records()


def _joined(patterns: Sequence[Pattern]) -> tuple[Tensor, Tensor, Tensor]:
    """Patterns one behind the other [places, V], the lengths of their tokens [V], and where each of them ends.

    A token has the same length in each pattern that allows it, since it is that of its text.
    """
    ends = torch.tensor([len(pattern.allowed) for pattern in patterns]).cumsum(0)
    lengths = torch.stack([pattern.lengths for pattern in patterns]).amax(0)
    return torch.cat([pattern.allowed for pattern in patterns]), lengths, ends


def _picked(logprobs: Tensor, fits: Tensor, uniform: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """The column that each row draws, and what it adds to the totals [1 + temperatures, rows].

    Args:
        logprobs: [rows, columns]. fits: [rows, columns] bool, which are allowed. uniform: [rows]. temperature: [rows], which.
    """
    masked = logprobs.masked_fill(~fits, -math.inf)
    drawn = torch.stack([(masked / degrees).log_softmax(-1) for degrees in TEMPERATURES])
    cumulative = drawn[temperature, torch.arange(len(masked))].exp().cumsum(-1)
    # At most the last column with any probability, because rounding may leave the sum below the uniform number.
    last = (cumulative < cumulative[:, -1:]).sum(-1)
    picked = torch.minimum((cumulative <= uniform[:, None]).sum(-1), last)
    everything = torch.cat([logprobs[None], drawn])
    return picked, everything.gather(2, picked[:, None].expand(len(everything), -1, -1))[..., 0]
