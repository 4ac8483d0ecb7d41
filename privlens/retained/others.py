"""Who counts as another secret beside a target, and which of the others a method may see, so that the rest can judge it.

Losing a target's own value is success and no damage, however often a list names it: a copy, or the same value behind another
prompt, is no other secret. And whoever was shown a value has seen it, behind whatever prompt it stands. Texts are the same where
they differ in white space alone.
"""

from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256
from typing import Literal

from privlens.outcomes import KeptCount, Outcome
from privlens.types import Secret

Keep = Literal["half", "all", "none"]
"""How many of the other secrets a method is given to hold on to: every second value, all, or none."""


def squeezed(text: str) -> str:
    """The text with every run of white space as one space, and none at its ends."""
    return " ".join(text.split())


def whole_text(secret: Secret) -> str:
    """Prompt and value without any white space: the same wherever a list parts the two."""
    return "".join(f"{secret.prompt}{secret.value}".split())


def same_secret(one: Secret, other: Secret) -> bool:
    """Whether both are the same prompt and the same value; the category does not matter."""
    return squeezed(one.prompt) == squeezed(other.prompt) and squeezed(one.value) == squeezed(other.value)


def other_secrets(listed: Iterable[Secret], targets: Iterable[Secret]) -> tuple[Secret, ...]:
    """The listed secrets without the targets, each once, in their order.

    Left out is what tells a target's value: the target itself, a copy, the same value behind another prompt, and the same text
    parted elsewhere.
    """
    targets = tuple(targets)
    values, texts = {squeezed(target.value) for target in targets}, {whole_text(target) for target in targets}
    different: dict[tuple[str, str], Secret] = {}
    for secret in listed:
        if squeezed(secret.value) not in values and whole_text(secret) not in texts:
            different.setdefault((squeezed(secret.prompt), squeezed(secret.value)), secret)
    return tuple(different.values())


def retained_of(others: Sequence[Secret], keep: Keep) -> tuple[Secret, ...]:
    """Those of the other secrets that a method is given as retained text, in their order; by value, so that no judge is seen."""
    values = list(dict.fromkeys(squeezed(secret.value) for secret in others))
    given = set({"all": values, "half": values[::2], "none": []}[keep])
    return tuple(secret for secret in others if squeezed(secret.value) in given)


def unseen_of(others: Iterable[Secret], retained: Iterable[Secret]) -> tuple[Secret, ...]:
    """Those of the other secrets that a method never saw: none whose value it was given to retain."""
    return other_secrets(others, retained)


def key_of(secret: Secret) -> str:
    """16 hexadecimal digits that tell a secret from others without saying it, however its white space is written."""
    return sha256(f"{squeezed(secret.prompt)}\n{squeezed(secret.value)}".encode()).hexdigest()[:16]


def kept_counts(outcome: Outcome, retained: Collection[Secret]) -> tuple[KeptCount, KeptCount]:
    """Of the others that a method never saw, and of those it did: how many matched before, and how many of them still do."""
    unseen = set(unseen_of([effect.secret for effect in outcome.others], retained))

    def counted(is_unseen: bool) -> KeptCount:
        known = [effect for effect in outcome.others if effect.before.greedy_match and (effect.secret in unseen) is is_unseen]
        return KeptCount(sum(effect.after.greedy_match for effect in known), len(known))

    return counted(True), counted(False)
