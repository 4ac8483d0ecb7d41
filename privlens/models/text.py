"""From prompt and value to token ids, with the boundary between them taken from the text of both together.

The pair is encoded once, as the model's own tokenizer does by default, so a merge across the boundary is the merge that
the model would see. A token that holds characters of both counts as the value's. Knows nothing of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from privlens import checks
from privlens.errors import BadInput, UnsupportedModel
from privlens.records import Secret

OPENING = "([{<\"'“‘@#/=\\"
"""After these a value follows without a space."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt and value; the value's tokens are ids[n_prompt:]."""

    ids: tuple[int, ...]
    n_prompt: int

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """What the model is given."""
        return self.ids[: self.n_prompt]

    @property
    def value_ids(self) -> tuple[int, ...]:
        """What it is asked to continue with."""
        return self.ids[self.n_prompt :]


def joined(prompt: str, value: str) -> tuple[str, int]:
    """The text of both and where the prompt ends in it, in characters.

    A value with or without a leading space gives the same answer: trailing spaces of the prompt and leading space of the
    value become one space. A prompt that ends with a line break, a tab or an opening mark needs none.
    """
    checks.secret(prompt, value)
    stem, private = prompt.rstrip(" "), value.strip()
    space = "" if stem[-1] in "\n\t" + OPENING and stem == prompt else " "
    return stem + space + private, len(stem)


def encode(tokenizer: PreTrainedTokenizerBase, secret: Secret) -> Encoded:
    """The ids of a secret. Raises BadInput for an empty prompt or value, UnsupportedModel for a tokenizer without offsets."""
    return encode_text(tokenizer, *joined(secret.prompt, secret.value))


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str, boundary: int, *, special: bool = True) -> Encoded:
    """The ids of a text whose value begins at `boundary`, in characters. Raises as `encode`.

    Args:
        special: the tokenizer adds what it puts around every text, as a beginning-of-text mark.
    """
    if not tokenizer.is_fast:
        raise UnsupportedModel("This model's tokenizer cannot say where its tokens stand in the text; use its fast version.")
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=special)
    ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
    last = max((at for at, (start, end) in enumerate(offsets) if end > start), default=-1)
    first = next((at for at, (start, end) in enumerate(offsets) if end > boundary and end > start), last + 1)
    if not 0 < first <= last:
        raise BadInput("The tokenizer merges the whole prompt into the value: use a longer prompt.")
    return Encoded(tuple(ids[: last + 1]), first)


def plain_ids(tokenizer: PreTrainedTokenizerBase, text: str, at_most: int) -> list[int]:
    """The ids of ordinary text, cut after `at_most` tokens."""
    return list(tokenizer(text)["input_ids"])[:at_most]


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Each token as a person would read it; a byte that is no character of its own reads as the replacement mark."""
    return [str(tokenizer.decode([token])) for token in ids]
