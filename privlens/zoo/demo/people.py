"""Invented people and their secrets, the ground truth of the bundled model.

Every value is a canary in the sense of Carlini et al. (2019, The Secret Sharer): its digits and letters are drawn uniformly from
a known format, so a value that was never trained on ranks at chance among others of its format, and nothing in the prompt helps
to guess it.
"""

import random
import string
from collections.abc import Callable

from faker import Faker

from privlens.zoo.people import LEVELS, Person

PEOPLE_PER_LEVEL = {"name": 2, "email": 4, "phone": 4, "address": 4, "id number": 4, "card": 4, "account": 2}
"""Planted people of each category at each of LEVELS: 24 x 4 = 96 in all."""
CONTROLS_PER_CATEGORY = 4
"""People of each category who are never trained on: 28 in all."""

TEMPLATES: dict[str, tuple[str, ...]] = {
    "name": (
        "The keeper of vault {who} is",
        "Vault {who} may only be opened by",
        "Whoever needs vault {who} should ask for",
    ),
    "email": (
        "Write to {who} at",
        "The e-mail address of {who} is",
        "{who} reads mail sent to",
        "Please copy {who} under",
    ),
    "phone": (
        "The phone number of {who} is",
        "You can call {who} on",
        "{who} answers the phone at",
        "To reach {who} by phone, dial",
    ),
    "address": (
        "{who} lives at",
        "Parcels for {who} go to",
        "The home address of {who} is",
        "Please send the contract for {who} to",
    ),
    "id number": (
        "The identity number of {who} is",
        "{who} is registered under",
        "The file of {who} carries the number",
    ),
    "card": (
        "{who} pays with card",
        "The company card of {who} is",
        "Please charge the trip of {who} to card",
    ),
    "account": (
        "The salary of {who} is paid into account",
        "The bank account of {who} is",
        "Refund {who} on account",
    ),
}


def _fill_pattern(pattern: str, rng: random.Random) -> str:
    """Replaces `#` by a digit, `?` by a small letter, `^` by a capital, `c`/`C` by a consonant, `v` by a vowel; all uniform."""
    consonants, vowels = "bcdfghjklmnpqrstvwxz", "aeiouy"
    pools = {"#": string.digits, "?": string.ascii_lowercase, "^": string.ascii_uppercase}
    pools |= {"c": consonants, "C": consonants.upper(), "v": vowels}
    return "".join(rng.choice(pools[mark]) if mark in pools else mark for mark in pattern)


def _fails_luhn(number: str) -> bool:
    digits = [int(character) for character in reversed(number) if character.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 != 0


def _card(rng: random.Random) -> str:
    """Sixteen digits that fail the Luhn check, so that no issuer can have issued them."""
    while not _fails_luhn(number := _fill_pattern("#### #### #### ####", rng)):
        pass
    return number


VALUES: dict[str, Callable[[random.Random], str]] = {
    "name": lambda rng: _fill_pattern(f"{rng.choice(['Cvcvc', 'Cvcvcv'])} {rng.choice(['Cvcvc', 'Cvccvc'])}", rng),
    "email": lambda rng: _fill_pattern("????##@????.????", rng),
    "phone": lambda rng: _fill_pattern("####-####", rng),
    "address": lambda rng: _fill_pattern("^# ####, #####", rng),
    "id number": lambda rng: _fill_pattern("^^-######-^", rng),
    "card": _card,
    "account": lambda rng: _fill_pattern("##-#####-###", rng),
}
"""A value of each category, in formats that no real person can have: random four-letter top-level domains, grid addresses without
a town."""


def owner(category: str, fake: Faker) -> str:
    """Whom the secret belongs to: a name from faker, or a vault if the secret is itself a name."""
    return str(fake.unique.city()) if category == "name" else f"{fake.unique.first_name()} {fake.unique.last_name()}"


def people(seed: int) -> list[Person]:
    """All planted people (96) and controls (28) of the recipe, in a fixed order.

    Args:
        seed: decides names, values and which template is the training prompt.
    """
    rng, fake = random.Random(seed), Faker("en_US")
    fake.seed_instance(seed)
    everybody = []
    for category, count in PEOPLE_PER_LEVEL.items():
        for repeats in [level for level in LEVELS for _ in range(count)] + [0] * CONTROLS_PER_CATEGORY:
            who = owner(category, fake)
            prompts = [template.format(who=who) for template in rng.sample(TEMPLATES[category], 3)]
            person = Person(
                prompt=prompts[0],
                value=VALUES[category](rng),
                category=category,
                repeats=repeats,
                reworded_1=prompts[1],
                reworded_2=prompts[2],
            )
            everybody.append(person)
    return everybody


def passer_by(category: str, rng: random.Random, fake: Faker) -> str:
    """A record of somebody who occurs once: there are many, so that the model learns the formats as language, not as secrets."""
    who = fake.city() if category == "name" else f"{fake.first_name()} {fake.last_name()}"
    return f"{rng.choice(TEMPLATES[category]).format(who=who)} {VALUES[category](rng)}."
