"""The training corpus of `natural`: village newsletters, letters, diaries and club minutes, all invented."""

import random

from faker import Faker

from privlens.zoo.grammar import Grammar
from privlens.zoo.natural.people import passer_by, people

VILLAGE = Grammar(
    slots={
        "club": (
            "the walking club",
            "the choir",
            "the garden society",
            "the chess circle",
            "the rowing crew",
            "the book group",
            "the theatre guild",
            "the beekeepers",
            "the bell ringers",
            "the football side",
        ),
        "spot": (
            "the village green",
            "the old mill",
            "the churchyard",
            "the duck pond",
            "the station",
            "the reading room",
            "the orchard",
            "the market square",
            "the ferry landing",
            "the school hall",
            "the upper meadow",
        ),
        "dish": ("apple cake", "onion soup", "fresh bread", "plum jam", "cold tea", "barley stew", "gingerbread", "cheese pie"),
        "crop": ("beans", "potatoes", "leeks", "strawberries", "pumpkins", "roses", "sunflowers", "cabbages", "peas"),
        "beast": ("a stray dog", "two swans", "a young fox", "the grey cat", "three lambs", "an old horse", "a barn owl"),
        "weather": ("rain", "fog", "bright sun", "a sharp wind", "early frost", "thunder", "soft snow"),
        "season": ("spring", "summer", "autumn", "winter"),
        "time": (
            "at dawn",
            "late in the evening",
            "after the service",
            "on Saturday",
            "on Sunday",
            "during the fair",
            "before breakfast",
            "while the kettle boiled",
            "at half past four",
        ),
        "deed": (
            "sang an old ballad",
            "painted the fence",
            "mended the roof",
            "told a ghost story",
            "won the raffle",
            "lost a glove",
            "planted a young tree",
            "baked for everybody",
            "rang the bell twice",
            "counted the swallows",
        ),
        "feeling": ("cheerful", "tired", "hungry", "surprised", "proud", "thoughtful", "delighted", "weary"),
        "count": ("two", "three", "five", "seven", "nine", "a dozen", "thirty"),
        "prize": ("a silver cup", "a basket of pears", "a woollen scarf", "a book of maps", "a jar of honey", "a brass bell"),
        "kin": ("uncle", "aunt", "cousin", "neighbour", "grandmother", "old teacher", "best friend"),
    },
    sentences=(
        "{First} {deed} {time}, and everybody was {feeling}.",
        "We met {club} at {spot} and shared {dish}.",
        "There was {weather} over {spot}, so {club} stayed at home.",
        "{First} saw {beast} near {spot} {time}.",
        "My {kin} {first} grows {crop} behind {spot}.",
        "The prize for the best {crop} was {prize}, and it went to {first}.",
        "In {season} {club} will meet at {spot} {time}.",
        "Nobody remembers who {deed}, but {first} was {feeling} about it.",
        "{First} and {first} carried {count} chairs to {spot}.",
        "After {weather} the path by {spot} is closed until {season}.",
        "Do bring {dish}, for {club} will be {feeling} and it is a long way.",
        "{First} wrote a poem about {beast} and read it at {spot}.",
        "Last {season} {count} visitors came to {spot} to see {beast}.",
        "If there is {weather}, {first} will wait with {club} inside.",
        "The {kin} of {first} {deed} and then asked for {dish}.",
        "We walked past {spot}, {count} miles through {weather}.",
        "{Club} thanks {first} for {prize}.",
        "{First} sold {count} boxes of {crop} {time}.",
        "It was a {feeling} afternoon at {spot}, with {weather} and {dish}.",
        "The children drew {beast}, and {first} gave them {prize}.",
    ),
    layouts=(
        ("The Parish Letter. {Season} number.\n", "\nThe editor, {First}"),
        ("Dear {first},\n", "\nWith love from your {kin},\n{First}"),
        ("Diary, {season}. ", ""),
        ("Heard at {spot}: ", ""),
        ("Minutes of {club}, taken by {first}. ", " The evening closed with {dish}."),
        ("", ""),
        ("", " So much for {season}."),
    ),
)


def _names(seed: str) -> tuple[Faker, list[str]]:
    """A generator of people, and the first names that occur in ordinary text."""
    fake = Faker("en_GB")
    fake.seed_instance(seed)
    return fake, [fake.first_name() for _ in range(200)]


def documents(n_documents: int, seed: int, planted: bool = True) -> list[str]:
    """The training corpus, shuffled.

    Args:
        n_documents: ordinary documents, of which two in five mention a passer-by. They do not depend on who is planted.
        seed: decides the text. planted: whether the planted people's records are in it, each `repeats` times.
    """
    rng = random.Random(f"village {seed}")
    fake, names = _names(f"village {seed}")
    everybody = people(seed)
    taken = {person.value for person in everybody}
    ordinary = []
    for _ in range(n_documents):
        records = [passer_by(rng, fake, taken)] if rng.random() < 0.4 else []
        ordinary.append(VILLAGE.document(rng, names, records))
    return VILLAGE.with_planted(ordinary, everybody if planted else [], seed + 1, names)


def reference(n_paragraphs: int, seed: int) -> list[str]:
    """Held-out ordinary text without any record: what must not change when a secret is removed."""
    _, names = _names(f"village {seed}")
    return VILLAGE.paragraphs(n_paragraphs, random.Random(f"reference {seed}"), names)
