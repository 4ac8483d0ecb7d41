"""Validation of user input for the page, the API and the command line.

Every function returns the input or raises BadInput with what is wrong with it. All input is checked before any work begins.
Messages show it shortened and in printable characters only.
"""

import math
from typing import Any

from privlens.errors import BadInput

MAX_PROMPT = 100_000
MAX_VALUE = 10_000
MAX_CATEGORY = 200
MAX_TEXT = 200_000
"""Maximum lengths in characters of a prompt, a private value, a category's name and a text to retain: together with the other
limits they bound the time and memory that one input can take."""
MAX_SEED = 2**32 - 1
"""The largest seed: 32 bits."""
MAX_DIGITS = 20
"""Characters of a number that is typed into a box."""


def shown(value: Any) -> str:
    """The input as a message shows it: at most 60 characters, in quotation marks if it is text."""
    if isinstance(value, int) and abs(value) >= 10**60:
        return "a number of very many digits"
    text = (
        ascii(value[:200]) if isinstance(value, str) else str(value) if isinstance(value, int | float) else type(value).__name__
    )
    return text if len(text) <= 60 else text[:57] + "..."


def text(value: Any, name: str, maximum: int) -> str:
    """The input if it is valid text of at most `maximum` characters. Raises BadInput for anything else."""
    if not isinstance(value, str):
        raise BadInput(f"The {name} must be text in quotation marks, but is {'missing' if value is None else shown(value)}.")
    if len(value) > maximum:
        raise BadInput(f"The {name} has {len(value):,} characters, but may have {maximum:,}: shorten it.")
    if value.isascii():
        return value
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise BadInput(
            f"The {name} holds half a character (number {cause.start + 1}), which is not text: retype it, or save it as UTF-8."
        ) from cause
    return value


def secret(prompt: Any, value: Any) -> None:
    """Raises BadInput for a prompt or a private value that is not valid, too long or empty."""
    if not text(prompt, "prompt", MAX_PROMPT).strip():
        raise BadInput(
            "The prompt is empty: type the text that comes before the private value. If there is none, put the first word or "
            "words into the prompt, and the rest into the value."
        )
    if not text(value, "private value", MAX_VALUE).strip():
        raise BadInput("The private value is empty: type the string that the model should not know.")


def whole(value: Any, name: str, minimum: int, maximum: int) -> int:
    """The input as an int if it is a whole number from `minimum` to `maximum` (3 or 3.0). Raises BadInput for anything else."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int) or not minimum <= number <= maximum:
        problem = "is missing" if value is None else f"is {shown(value)}"
        raise BadInput(f"The {name} {problem}, but must be a whole number from {minimum:,} to {maximum:,}.")
    return number


def typed_whole(value: Any, name: str, minimum: int, maximum: int) -> int | None:
    """A whole number as it was typed into a box; None if the box is empty. Raises BadInput for anything else."""
    typed = text(value, name, MAX_DIGITS).strip()
    if not typed:
        return None
    try:
        return whole(int(typed), name, minimum, maximum)
    except ValueError:
        return whole(typed, name, minimum, maximum)


def choice(value: Any, name: str) -> bool:
    """The input if it is True or False. Raises BadInput for anything else."""
    if not isinstance(value, bool):
        raise BadInput(f"The value of {name} is {'missing' if value is None else shown(value)}, but must be true or false.")
    return value


def seed(value: Any) -> int:
    """The input if it is a valid random seed. Raises BadInput for anything else."""
    return whole(value, "seed", 0, MAX_SEED)


def between(value: Any, name: str, minimum: float, maximum: float, example: str, *, above: bool = False) -> float:
    """The input if it is a number from `minimum` to `maximum`, excluding `minimum` if `above`; never NaN.

    Args:
        example: what some number means, shown after the range in the message.

    Raises:
        BadInput: for anything else.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    number: float = value if is_number else math.nan
    if not minimum <= number <= maximum or (above and number == minimum):
        lowest = f"{'above' if above else 'at least'} {minimum:g}"
        problem = "missing" if value is None else f"{value:g}" if isinstance(value, float) else shown(value)
        raise BadInput(f"The {name} is {problem}: it must be {lowest} and at most {maximum:g}; {example}.")
    return number
