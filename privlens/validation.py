"""What a person may give, in one place for page, API and command line: every function returns it or says what is wrong with it.

All of it is looked at before any work. What was given is shown cut short, and only in characters that can be printed.
"""

import math
from typing import Any

from privlens.errors import BadInput

PROMPT_MOST, VALUE_MOST = 100_000, 10_000
"""Characters of a prompt and of a private value."""
CATEGORY_MOST, TEXT_MOST = 200, 200_000
"""Characters of a category's name, and of a text that must stay as it is."""
SEED_MOST = 2**32 - 1


def shown(given: Any) -> str:
    """What was given, in quotation marks where it is text, of a length to be read."""
    if isinstance(given, int) and abs(given) >= 10**60:
        return "a number of very many digits"
    text = (
        ascii(given[:200]) if isinstance(given, str) else str(given) if isinstance(given, int | float) else type(given).__name__
    )
    return text if len(text) <= 60 else text[:57] + "..."


def text(given: Any, what: str, most: int) -> str:
    """Text of at most so many characters, each of which is one. Raises BadInput for anything else, with what it is."""
    if not isinstance(given, str):
        raise BadInput(f"The {what} must be text in quotation marks, but is {'missing' if given is None else shown(given)}.")
    if len(given) > most:
        raise BadInput(f"The {what} has {len(given):,} characters, but may have {most:,}: shorten it.")
    if given.isascii():
        return given
    try:
        given.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise BadInput(
            f"The {what} holds half a character (number {cause.start + 1}), which no text can: type it anew, or save it as UTF-8."
        ) from cause
    return given


def secret(prompt: Any, value: Any) -> None:
    """Raises BadInput for a prompt or a private value that cannot be asked for."""
    if not text(prompt, "prompt", PROMPT_MOST).strip():
        raise BadInput(
            "The prompt is empty: type the text that stands before the private value. Of a text without one, put the first word "
            "or words into the prompt, and the rest into the value."
        )
    if not text(value, "private value", VALUE_MOST).strip():
        raise BadInput("The private value is empty: type the string that the model should not know.")


def whole(given: Any, what: str, least: int, most: int) -> int:
    """A whole number from `least` to `most`; 3.0 is one. Raises BadInput for anything else."""
    number = int(given) if isinstance(given, float) and given.is_integer() else given
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        said = "is missing" if given is None else f"is {shown(given)}"
        raise BadInput(f"The {what} {said}, but must be a whole number from {least:,} to {most:,}.")
    return number


def choice(given: Any, what: str) -> bool:
    """True or false. Raises BadInput for anything else."""
    if not isinstance(given, bool):
        raise BadInput(f"What stands for {what} is {'missing' if given is None else shown(given)}, but must be true or false.")
    return given


def seed(given: Any) -> int:
    """What decides everything that is drawn. Raises BadInput for what is no seed."""
    return whole(given, "seed", 0, SEED_MOST)


def between(given: Any, what: str, least: float, most: float, example: str, *, above: bool = False) -> float:
    """A number from `least` to `most`, or above `least`; never NaN.

    Args:
        example: behind the range, what some number means.

    Raises:
        BadInput: for a number that is not in the range.
    """
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    number: float = given if is_number else math.nan
    if not least <= number <= most or (above and number == least):
        lowest = f"{'above' if above else 'at least'} {least:g}"
        said = "missing" if given is None else f"{given:g}" if isinstance(given, float) else shown(given)
        raise BadInput(f"The {what} is {said}: it must be {lowest} and at most {most:g}; {example}.")
    return number
