"""The training corpus of the bundled model: office mail, personnel notes, tickets, minutes and memos, all invented.

A document is a handful of sentences from templates with slots. Planted records occur inside such documents or alone, each exactly
as often as its `repeats` says.
"""

import random
from collections.abc import Sequence

from faker import Faker

from privlens.zoo.demo.people import PEOPLE_PER_LEVEL, passer_by
from privlens.zoo.grammar import Grammar
from privlens.zoo.people import Person

SLOTS: dict[str, tuple[str, ...]] = {
    "team": (
        "accounts",
        "the design team",
        "sales",
        "support",
        "logistics",
        "the legal office",
        "research",
        "the print shop",
        "facilities",
        "the night shift",
        "training",
        "procurement",
        "the front desk",
    ),
    "thing": (
        "printer",
        "projector",
        "door reader",
        "coffee machine",
        "delivery van",
        "laptop",
        "headset",
        "label maker",
        "meeting room",
        "badge scanner",
        "forklift",
        "server cabinet",
        "heating unit",
        "display",
        "scale",
    ),
    "file": (
        "quarterly report",
        "travel plan",
        "price list",
        "holiday calendar",
        "safety manual",
        "draft contract",
        "seating plan",
        "budget sheet",
        "supplier survey",
        "training outline",
        "stock list",
        "press release",
    ),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    "month": ("January", "March", "April", "June", "August", "September", "November"),
    "when": (
        "this morning",
        "after lunch",
        "yesterday",
        "last week",
        "before the meeting",
        "during the night",
        "shortly after nine",
        "at the end of the shift",
        "over the weekend",
    ),
    "place": (
        "the north hall",
        "the cellar",
        "the warehouse",
        "the canteen",
        "room twelve",
        "the east wing",
        "the loading bay",
        "the archive",
        "the workshop",
        "the old office",
        "the garage",
    ),
    "fault": (
        "stopped working",
        "made a strange noise",
        "lost its connection",
        "showed an error",
        "ran out of paper",
        "was left switched on",
        "needed a new cable",
        "would not start",
        "was blocked by boxes",
    ),
    "fix": (
        "replaced the cable",
        "restarted it twice",
        "ordered a spare part",
        "cleaned the sensor",
        "called the supplier",
        "moved it to another socket",
        "updated the software",
        "put a notice on the door",
        "borrowed one from next door",
    ),
    "adj": ("short", "careful", "useful", "late", "friendly", "difficult", "quiet", "complete", "simple", "long"),
    "verb": ("check", "sign", "read", "update", "print", "return", "compare", "correct", "file", "approve"),
    "reason": (
        "the numbers do not match",
        "two pages are missing",
        "the customer asked for it",
        "the deadline has moved",
        "nobody has seen the last version",
        "the auditor comes on Friday",
        "the old one is out of date",
        "we changed the supplier",
        "the stock count was wrong",
    ),
    "mood": ("went well", "took longer than planned", "was calm", "ended early", "was full of questions", "helped a lot"),
    "role": ("clerk", "driver", "engineer", "trainer", "planner", "technician", "assistant", "buyer", "analyst", "porter"),
    "number": ("two", "three", "four", "five", "six", "eight", "ten", "twelve", "twenty", "forty"),
    "goods": ("chairs", "boxes of paper", "lamps", "crates", "uniforms", "keyboards", "toolkits", "samples", "filters"),
}

SENTENCES: tuple[str, ...] = (
    "The {thing} in {place} {fault} {when}.",
    "We {fix} and the {thing} in {place} has been fine since {day}.",
    "Could you {verb} the {file} before {day}, because {reason}?",
    "{First} from {team} will {verb} the {file} on {day}.",
    "The meeting with {team} {mood}, and {first} took the notes.",
    "{First} asked {team} for {number} {goods}, but only {number} arrived {when}.",
    "Please {verb} the {file} and leave a copy in {place}.",
    "The {adj} talk about the {file} {mood}.",
    "{First} joined {team} as a {role} in {month}.",
    "In {month} the {role} moved from {place} to {place}.",
    "Since {reason}, {team} will {verb} the {file} again in {month}.",
    "{First} found {number} {goods} in {place} {when}.",
    "Nobody from {team} was in {place} when the {thing} {fault}.",
    "The {role} wrote a {adj} note about the {thing} and sent it to {team}.",
    "On {day} {first} and {first} will count the {goods} in {place}.",
    "We need {number} more {goods} for {team} by {day}.",
    "It was a {adj} day in {place}, and the {role} went home early.",
    "{First} thanked {team} for the {adj} work on the {file}.",
    "The next review of the {file} is planned for {month}, if {team} agrees.",
    "A {role} from {team} {fix} {when}.",
    "If the {thing} fails again, please tell {first} or anyone in {team}.",
    "The {file} is {adj}, so it takes {number} minutes to {verb} it.",
)

LAYOUTS: tuple[tuple[str, str], ...] = (
    ("From: {First}\nTo: {team}\nSubject: {file}\n\nHello {first},\n", "\nBest wishes,\n{First}"),
    ("From: {First}\nSubject: the {thing} in {place}\n\nDear colleagues,\n", "\nThank you,\n{First}"),
    ("Personnel note, {month}. ", ""),
    ("Ticket: {thing} in {place}. Reported on {day}. ", " Status: closed."),
    ("Ticket: {file}. Owner: {first}. ", " Status: open."),
    ("Minutes, {day}. Present: {first}, {first} and {first}. ", ""),
    ("Memo to {team}: ", ""),
    ("", ""),
)


OFFICE = Grammar(SLOTS, SENTENCES, LAYOUTS)


def documents(planted: Sequence[Person], n_documents: int, seed: int) -> list[str]:
    """The training corpus, shuffled.

    Args:
        planted: people whose records are trained on, each `repeats` times; empty for the twin without them.
        n_documents: ordinary documents, of which two in five mention a passer-by.
        seed: decides the text; the ordinary documents do not depend on who is planted.
    """
    rng, fake = random.Random(seed), Faker("en_US")
    fake.seed_instance(seed)
    names = [fake.first_name() for _ in range(300)]
    categories = list(PEOPLE_PER_LEVEL)
    corpus = []
    for _ in range(n_documents):
        records = [passer_by(rng.choice(categories), rng, fake)] if rng.random() < 0.4 else []
        corpus.append(OFFICE.document(rng, names, records))
    return OFFICE.with_planted(corpus, planted, seed + 1, names)


def reference(n_paragraphs: int, seed: int) -> list[str]:
    """Held-out ordinary text without any record: what must not change when a secret is removed."""
    rng, fake = random.Random(seed), Faker("en_US")
    fake.seed_instance(seed)
    names = [fake.first_name() for _ in range(300)]
    return OFFICE.paragraphs(n_paragraphs, rng, names)
