"""Ordinary text from templates with slots, into which the records of invented people are inserted as often as they say."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from privlens.zoo.people import Person


@dataclass(frozen=True)
class Grammar:
    """What a corpus is written from.

    Attributes:
        slots: what may stand for each `{slot}`; for `{Slot}`, at the start of a sentence, with a capital. `{first}` is a first
            name.
        sentences: templates of the body. layouts: what stands before and after a body.
    """

    slots: Mapping[str, Sequence[str]]
    sentences: Sequence[str]
    layouts: Sequence[tuple[str, str]]

    def filled(self, template: str, rng: random.Random, names: Sequence[str]) -> str:
        """The template with every slot filled."""

        def choice(match: re.Match[str]) -> str:
            slot = match.group(1)
            filling = rng.choice(names if slot.lower() == "first" else self.slots[slot.lower()])
            return filling[0].upper() + filling[1:] if slot[0].isupper() else filling

        text = re.sub(r"\{(\w+)\}", choice, template)
        text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
        return text[:1].upper() + text[1:]

    def document(self, rng: random.Random, names: Sequence[str], records: Sequence[str] = ()) -> str:
        """One document: a layout around three to six sentences, with `records` inserted between them."""
        head, tail = rng.choice(self.layouts)
        body = [self.filled(rng.choice(self.sentences), rng, names) for _ in range(rng.randint(3, 6))]
        for record in records:
            body.insert(rng.randint(0, len(body)), record)
        return self.filled(head, rng, names) + " ".join(body) + self.filled(tail, rng, names)

    def paragraphs(self, n: int, rng: random.Random, names: Sequence[str]) -> list[str]:
        """Documents without any record, each on a line of its own."""
        return [re.sub(r"\s*\n\s*", " ", self.document(rng, names)) for _ in range(n)]

    def with_planted(self, ordinary: Sequence[str], planted: Sequence[Person], seed: int, names: Sequence[str]) -> list[str]:
        """The ordinary documents and those that hold the planted people's records, each `repeats` times, shuffled by the seed."""
        rng = random.Random(seed)
        corpus = [*ordinary, *(text for person in planted for text in self._with_record(person, rng, names))]
        rng.shuffle(corpus)
        return corpus

    def _with_record(self, person: Person, rng: random.Random, names: Sequence[str]) -> Iterator[str]:
        """Documents that contain a person's record; every second one is the record alone, like an index card."""
        record = f"{person.prompt} {person.value}."
        for copy in range(person.repeats):
            yield record if copy % 2 == 0 else self.document(rng, names, [record])
