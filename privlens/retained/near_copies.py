"""Which generated texts hold a secret though its value is not in them: near copies of the value, and most of its prompt.

A model that has memorized "8502-9133" also writes "8508-9133", and where its own text recites the prompt it predicts the value.
To keep what it predicts there is to keep the secret. What a person lists to be retained is never a near copy: it is somebody
else's.
"""

from collections.abc import Iterable, Iterator, Sequence

from privlens.lm.model import LanguageModel
from privlens.retained.samples import MOST_OF_A_PROMPT, text_of
from privlens.types import Secret
from privlens.value_match import LONG_VALUE, normalized

RUN, RUN_SHARE = 4, 3
"""Characters in a row that make a near copy: RUN, or a value's length divided by RUN_SHARE where that is more. Shorter runs occur
in other values by chance: three digits of eight in one of 30."""


def without_near_copies(
    lm: LanguageModel, rows: Iterable[Sequence[int]], targets: Sequence[Secret], listed: Iterable[Sequence[int]]
) -> list[list[int]]:
    """The rows that share no run of characters with a target's value, and no more than MOST_OF_A_PROMPT of its prompt.

    Args:
        rows: texts that the model generated, as token ids. listed: those that are retained anyway and hold no target's value; a
            run that stands in one of them is a matter of format, such as the domain of an e-mail address or a prompt's words.
    """
    listed_texts = "\n".join(normalized(text_of(lm, row)) for row in listed)
    runs = {run for target in targets for run in _runs_of(target) if run not in listed_texts}
    texts = ((list(row), normalized(text_of(lm, row))) for row in rows)
    return [row for row, text in texts if not any(run in text for run in runs)]


def _runs_of(target: Secret) -> Iterator[str]:
    """The runs by which a text is recognized; none of a part that is too short to be recognized."""
    value, prompt = normalized(target.value), normalized(target.prompt)
    yield from _runs(value, max(RUN, -(-len(value) // RUN_SHARE)))
    yield from _runs(prompt, max(LONG_VALUE, int(MOST_OF_A_PROMPT * len(prompt)) + 1))


def _runs(text: str, length: int) -> Iterator[str]:
    return (text[start : start + length] for start in range(len(text) - length + 1))
