"""From prompt and value to token ids, with the boundary between them taken from the text of both together.

The pair is encoded once, as the model's own tokenizer does by default, so a merge across the boundary is the merge that
the model would see. A token that holds characters of both counts as the value's. Knows nothing of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from privlens import validation
from privlens.errors import BadInput, UnsupportedModel
from privlens.types import Secret


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


def is_open(secret: Secret) -> bool:
    """Whether nothing says how the value follows: no space is typed at the boundary, and `attached` is None."""
    return secret.attached is None and not secret.prompt[-1:].isspace() and not secret.value[:1].isspace()


def in_a_word(secret: Secret) -> bool:
    """Whether the value, attached, would go on with the word or the number that the prompt ends with.

    Letters without upper and lower case (Chinese, Thai, Arabic) do not count: many scripts that have them write no spaces.
    """
    ends = (secret.prompt[-1:], secret.value[:1])
    return all(end.isdecimal() or end.lower() != end.upper() for end in ends)


def joined(prompt: str, value: str, attached: bool = False) -> tuple[str, int]:
    """The text of both and where the prompt ends in it, in characters.

    Space at the prompt's end stands as it is typed, and the last plain space counts as the value's. Where the prompt ends
    without, the space before the value stands, of plain spaces one; where it begins without as well, one is put between them
    unless the value is `attached`. Space behind the value is dropped.
    """
    validation.secret(prompt, value)
    private = value.strip()
    space = value[: value.index(private)]
    if prompt[-1].isspace():
        space = ""
    elif not space.strip(" "):
        space = "" if attached and not space else " "
    boundary = len(prompt) - prompt.endswith(" ")
    return prompt + space + private, boundary


def encode(tokenizer: PreTrainedTokenizerBase, secret: Secret) -> Encoded:
    """The ids of a secret; behind a space where nothing says that the value is attached.

    Raises:
        BadInput: for an empty prompt or value. UnsupportedModel: for a tokenizer without offsets.
    """
    return encode_text(tokenizer, *joined(secret.prompt, secret.value, bool(secret.attached)))


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str, boundary: int, *, special: bool = True) -> Encoded:
    """The ids of a text whose value begins at `boundary`, in characters. Raises as `encode`.

    Args:
        special: the tokenizer adds what it puts around every text, as a beginning-of-text mark.
    """
    if not tokenizer.is_fast:
        raise UnsupportedModel("This model's tokenizer cannot say where its tokens stand in the text; use its fast version.")
    ids, offsets = _tokens(tokenizer, text, special)
    last = max((at for at, (start, end) in enumerate(offsets) if end > start), default=-1)
    first = next((at for at, (start, end) in enumerate(offsets) if end > boundary and end > start), last + 1)
    if not 0 < first <= last:
        raise BadInput("The tokenizer merges the whole prompt into the value: use a longer prompt.")
    return Encoded(tuple(ids[: last + 1]), first)


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str, special: bool = True) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and where they stand in the text, in characters.

    What the tokenizer puts before every text (a beginning-of-text mark) is left out where the text brings it itself, as one
    from a chat template does.
    """
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=special)
    ids, offsets = list(encoding["input_ids"]), list(encoding["offset_mapping"])
    put = next((place for place, (start, end) in enumerate(offsets) if end > start), 0)
    twice = ids[put : 2 * put] == ids[:put]
    return (ids[put:], offsets[put:]) if twice else (ids, offsets)


def plain_ids(tokenizer: PreTrainedTokenizerBase, text: str, at_most: int) -> list[int]:
    """The ids of ordinary text, cut after `at_most` tokens."""
    return _tokens(tokenizer, text)[0][:at_most]


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Each token as a person would read it; a byte that is no character of its own reads as the replacement mark."""
    return [str(tokenizer.decode([token])) for token in ids]
