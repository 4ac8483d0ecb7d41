"""What counts as another secret beside a target, and which of the others a method may see; it is evaluated on the rest.

Losing a target's own value is success, not damage, however often a list contains it: a copy, or the same value behind another
prompt, is not another secret. Likewise a method that was given a value has seen it, whatever prompt was before it. Texts that
differ only in white space are the same.
"""

from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256
from typing import Literal

from privlens.outcomes import KeptCount, Outcome
from privlens.types import Secret
from privlens.value_match import collapse_whitespace

Keep = Literal["half", "all", "none"]
"""Which of the other secrets a method is given to retain: every second value, all, or none."""


def text_without_whitespace(secret: Secret) -> str:
    """Prompt and value without any white space: the same wherever a list splits the text into the two."""
    return "".join(f"{secret.prompt}{secret.value}".split())


def same_secret(first: Secret, second: Secret) -> bool:
    """Whether both have the same prompt and the same value; the category does not matter."""
    return _prompt_and_value(first) == _prompt_and_value(second)


def _prompt_and_value(secret: Secret) -> tuple[str, str]:
    return collapse_whitespace(secret.prompt), collapse_whitespace(secret.value)


def other_secrets(listed: Iterable[Secret], targets: Iterable[Secret]) -> tuple[Secret, ...]:
    """The listed secrets without the targets, each once, in their order.

    Everything that reveals a target's value is left out: the target itself, a copy, the same value behind another prompt, and the
    same text split elsewhere.
    """
    targets = tuple(targets)
    target_values = {collapse_whitespace(target.value) for target in targets}
    target_texts = {text_without_whitespace(target) for target in targets}
    others: dict[tuple[str, str], Secret] = {}
    for secret in listed:
        if collapse_whitespace(secret.value) not in target_values and text_without_whitespace(secret) not in target_texts:
            others.setdefault(_prompt_and_value(secret), secret)
    return tuple(others.values())


def retained_of(others: Sequence[Secret], keep: Keep) -> tuple[Secret, ...]:
    """The other secrets that a method is given as retained text, in their order.

    The split is by value: a value among these is not among those that the method is evaluated on.
    """
    values = list(dict.fromkeys(collapse_whitespace(secret.value) for secret in others))
    retained_values = set({"all": values, "half": values[::2], "none": []}[keep])
    return tuple(secret for secret in others if collapse_whitespace(secret.value) in retained_values)


def unseen_of(others: Iterable[Secret], retained: Iterable[Secret]) -> tuple[Secret, ...]:
    """The other secrets that a method never saw: those whose values it was not given to retain."""
    return other_secrets(others, retained)


def key_of(secret: Secret) -> str:
    """16 hexadecimal digits that identify a secret without saying it; white space does not matter.

    It is a plain hash: whoever knows the prompt finds a short value by trying all.
    """
    return sha256("\n".join(_prompt_and_value(secret)).encode()).hexdigest()[:16]


def kept_counts(outcome: Outcome, retained: Collection[Secret]) -> tuple[KeptCount, KeptCount]:
    """For the others that a method never saw, and those it did: how many matched before, and how many of these still do."""
    unseen = set(unseen_of([effect.secret for effect in outcome.others], retained))

    def count(is_unseen: bool) -> KeptCount:
        known = [effect for effect in outcome.others if effect.before.greedy_match and (effect.secret in unseen) is is_unseen]
        return KeptCount(sum(effect.after.greedy_match for effect in known), len(known))

    return count(True), count(False)
