"""The probability that a model writes a value almost word for word: a lower bound, by a beam search that is held to the value.

A continuation counts if it begins with a text that differs from the value in at most `edits` characters (Levenshtein distance).
The beams grow token by token. A token is allowed as long as the text can still become a near copy; once it is one, whatever
follows, the beam's probability is added to the mass and the beam ends. So no continuation counts twice, and what the beams miss
makes the mass smaller, never larger: it is a lower bound, and exact where no beam was cut off.

Source: of the kind of decoding-constrained beam search (Cooper et al., arXiv 2603.24917), which beams within a decoding scheme
over a fixed number of tokens; ours counts characters, and prunes every token by a Levenshtein automaton over the vocabulary.
rapidfuzz, which measures whole texts, cannot say which tokens may follow a beginning.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from privlens.errors import Cancelled
from privlens.lm.continuations import Continuations
from privlens.lm.memory import in_parts, release
from privlens.lm.model import LanguageModel, Stop, never_stop
from privlens.lm.scoring import LOGITS_AT_ONCE, score
from privlens.lm.tokens import Encoded, token_texts

BEAMS = 8
"""Beginnings of a value that are continued at once. More find a little more mass: each takes as long as one sample."""

Logprobs = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
Distances = tuple[int, ...]
"""Of a text to each beginning of the value, in edits: a row of the Levenshtein table, capped at one more than is allowed."""


@dataclass
class _Node:
    """A beginning of token texts. Of the tokens sorted by text, `first` up to `last` begin so, and the first `n_here` are it."""

    first: int
    last: int = 0
    n_here: int = 0
    children: dict[str, "_Node"] = field(default_factory=dict)


class _Step(NamedTuple):
    """What may follow a text, as places in the vocabulary's order.

    After those in `done` it is a near copy; after those in `open` it still can become one, with the `distances` after each.
    """

    done: Places
    open: Places
    distances: list[Distances]


class Vocabulary:
    """The tokens of a model as a tree of characters; `order` [n] are their ids, sorted by text. Tokens without text are left out.

    Of a tokenizer that hides the space before a word in the token (SentencePiece), texts are compared without these spaces.
    """

    def __init__(self, lm: LanguageModel) -> None:
        texts = token_texts(lm.tokenizer, range(lm.n_vocabulary))
        self.order = np.array(sorted((token for token, text in enumerate(texts) if text), key=lambda token: texts[token]))
        self.root = _Node(0, len(self.order))
        for rank, token in enumerate(self.order):
            node = self.root
            for character in texts[token]:
                node = node.children.setdefault(character, _Node(rank))
                node.last = rank + 1
            node.n_here += 1


class _NearCopies:
    """The Levenshtein automaton of one value."""

    def __init__(self, vocabulary: Vocabulary, value: str, edits: int) -> None:
        self.root, self.value, self.edits = vocabulary.root, value, edits
        self.start: Distances = tuple(min(n, edits + 1) for n in range(len(value) + 1))
        self._steps = dict[Distances, _Step]()

    def after(self, distances: Distances, character: str) -> Distances:
        """The distances after one more character; Wagner and Fischer (1974)."""
        row = [min(distances[0] + 1, self.edits + 1)]
        for position, wanted in enumerate(self.value):
            changed = distances[position] + (character != wanted)
            row.append(min(changed, distances[position + 1] + 1, row[-1] + 1, self.edits + 1))
        return tuple(row)

    def step(self, distances: Distances) -> _Step:
        """Which tokens may follow a text at these distances."""
        if distances not in self._steps:
            done, still_open = list[range](), list[tuple[int, Distances]]()
            self._collect(self.root, distances, done, still_open)
            places = np.array([place for places in done for place in places], dtype=np.intp)
            open_places = np.array([place for place, _ in still_open], dtype=np.intp)
            self._steps[distances] = _Step(places, open_places, [row for _, row in still_open])
        return self._steps[distances]

    def _collect(self, node: _Node, distances: Distances, done: list[range], still_open: list[tuple[int, Distances]]) -> None:
        for character, child in self._children(node, distances):
            row = self.after(distances, character)
            if row[-1] <= self.edits:
                done.append(range(child.first, child.last))
            elif min(row) <= self.edits:
                still_open.extend((child.first + n, row) for n in range(child.n_here))
                self._collect(child, row, done, still_open)

    def _children(self, node: _Node, distances: Distances) -> Iterator[tuple[str, _Node]]:
        """All, while an edit is left; otherwise those that go on as the value does."""
        if min(distances) < self.edits:
            yield from node.children.items()
            return
        wanted = {self.value[position] for position, n in enumerate(distances[:-1]) if n == self.edits}
        yield from ((character, node.children[character]) for character in wanted if character in node.children)


class _Beam(NamedTuple):
    """A beginning: the value it belongs to, its tokens, its log-probability, its distances, and its row in the last pass."""

    value: int
    ids: tuple[int, ...]
    logprob: float
    distances: Distances
    row: int


def near_verbatim(
    lm: LanguageModel,
    texts: Sequence[Encoded],
    edits: int = 1,
    *,
    beams: int = BEAMS,
    vocabulary: Vocabulary | None = None,
    stop: Stop = never_stop,
) -> list[float]:
    """Log-probability (nats) that the model continues a prompt with a near copy of the value: a lower bound, for each of `texts`.

    Never less than the log-probability of the value's own tokens, whose continuations are among those that count.

    Args:
        texts: prompts and values; values after the same prompt share its keys and values. edits: characters that may differ.
        vocabulary: that of the model, where it was made already.

    Raises:
        Cancelled: if `stop` returned True between two steps.
    """
    known = vocabulary or Vocabulary(lm)
    masses = dict[int, float]()
    for prompt in dict.fromkeys(text.prompt_ids for text in texts):
        rows = [row for row, text in enumerate(texts) if text.prompt_ids == prompt]
        at_once = max(1, LOGITS_AT_ONCE // (lm.n_vocabulary * beams))

        def search(part: Sequence[int], prompt: tuple[int, ...] = prompt) -> list[float]:
            chosen = [texts[row] for row in part]
            try:
                return _Search(lm, known, prompt, chosen, edits, beams, lm.can_reuse_prefix).run(stop)
            except torch.OutOfMemoryError:
                if len(part) > 1:
                    raise
            release()
            return _Search(lm, known, prompt, chosen, edits, beams, False).run(stop)  # beam by beam, if need be

        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            masses |= zip(part, in_parts(search, part), strict=True)
    verbatim = [sum(scored.logprobs) for scored in score(lm, texts, stop=stop)]
    return [min(0.0, max(masses[row], logprob)) for row, logprob in enumerate(verbatim)]


class _Search:
    """The beams of several values after one prompt; `cached` keeps keys and values from step to step."""

    def __init__(
        self,
        lm: LanguageModel,
        vocabulary: Vocabulary,
        prompt: tuple[int, ...],
        texts: Sequence[Encoded],
        edits: int,
        beams: int,
        cached: bool,
    ) -> None:
        self.lm, self.vocabulary, self.prompt, self.beams = lm, vocabulary, prompt, beams
        self.continuations = Continuations(lm, [prompt], cached)
        values = ["".join(token_texts(lm.tokenizer, text.value_ids)) for text in texts]
        self.automata = [_NearCopies(vocabulary, value, edits) for value in values]
        self.masses = np.full(len(texts), -np.inf)

    def run(self, stop: Stop) -> list[float]:
        """The log-mass of each value."""
        beams = [_Beam(value, (), 0.0, automaton.start, 0) for value, automaton in enumerate(self.automata)]
        n_steps = self.lm.room - len(self.prompt)
        with self.lm.held(), torch.no_grad():
            while beams and n_steps > 0:
                if stop():
                    raise Cancelled("Stopped while searching for near copies; nothing was changed.")
                beams = self._grown(beams, self._logprobs(beams))
                n_steps -= 1
        return [float(mass) for mass in self.masses]

    def _grown(self, beams: Sequence[_Beam], logprobs: Logprobs) -> list[_Beam]:
        """Adds what became a near copy to the masses; of what still can, the likeliest beams of each value."""
        grown: list[list[_Beam]] = [[] for _ in self.automata]
        for index, beam in enumerate(beams):
            row = index if len(logprobs) > 1 else 0  # all begin with the prompt, which was run once
            step = self.automata[beam.value].step(beam.distances)
            if len(step.done):
                done = np.logaddexp.reduce(logprobs[row, step.done]) + beam.logprob
                self.masses[beam.value] = np.logaddexp(self.masses[beam.value], done)
            following = logprobs[row, step.open]
            for choice in np.argsort(-following, kind="stable")[: self.beams].tolist():
                ids = (*beam.ids, int(self.vocabulary.order[step.open[choice]]))
                logprob = beam.logprob + float(following[choice])
                grown[beam.value].append(_Beam(beam.value, ids, logprob, step.distances[choice], row))
        return [beam for of_value in grown for beam in sorted(of_value, key=lambda beam: -beam.logprob)[: self.beams]]

    def _logprobs(self, beams: Sequence[_Beam]) -> Logprobs:
        """[beams, tokens in the vocabulary's order]; of the prompt alone, which all begin with, [1, tokens]."""
        if beams[0].ids:
            logits = self.continuations.go_on([beam.row for beam in beams], [beam.ids[-1] for beam in beams])
        else:
            logits = self.continuations.start()
        logprobs = logits.log_softmax(-1).cpu().numpy()[:, self.vocabulary.order]
        return np.asarray(logprobs, dtype=np.float64)
