"""Converts prompt and value to token ids, with the boundary between them found in the text of both.

The pair is encoded once, with the tokenizer's defaults, so tokens that merge across the boundary are those the model would see. A
token with characters of both counts as part of the value.
"""

from collections.abc import Sequence
from contextlib import suppress
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
        """The ids that the model is given."""
        return self.ids[: self.n_prompt]

    @property
    def value_ids(self) -> tuple[int, ...]:
        """The ids that it is asked to continue with."""
        return self.ids[self.n_prompt :]


def is_open(secret: Secret) -> bool:
    """Whether it is open how the value follows: no space was typed at the boundary, and `attached` is None."""
    return secret.attached is None and not secret.prompt[-1:].isspace() and not secret.value[:1].isspace()


def in_a_word(secret: Secret) -> bool:
    """Whether the value, if attached, would continue the word or number at the end of the prompt.

    Letters without upper and lower case (Chinese, Thai, Arabic) do not count, since many of their scripts have no spaces.
    """
    edges = (secret.prompt[-1:], secret.value[:1])
    return all(edge.isdecimal() or edge.lower() != edge.upper() for edge in edges)


def joined(prompt: str, value: str, attached: bool = False) -> tuple[str, int]:
    """The text of both, and the number of characters of the prompt in it.

    White space at the end of the prompt is kept, and a final plain space counts as the value's. If the prompt ends without, white
    space before the value is kept, but plain spaces are reduced to one. If there is none at all, a space is inserted unless the
    value is `attached`. White space after the value is dropped.
    """
    validation.secret(prompt, value)
    stripped_value = value.strip()
    space = value[: value.index(stripped_value)]
    if prompt[-1].isspace():
        space = ""
    elif not space.strip(" "):
        space = "" if attached and not space else " "
    boundary = len(prompt) - prompt.endswith(" ")
    return prompt + space + stripped_value, boundary


def encode(tokenizer: PreTrainedTokenizerBase, secret: Secret) -> Encoded:
    """The ids of a secret, with a space before the value unless it is attached.

    Raises:
        BadInput: for an empty prompt or value. UnsupportedModel: for a tokenizer without offsets.
    """
    return encode_text(tokenizer, *joined(secret.prompt, secret.value, bool(secret.attached)))


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str, boundary: int, *, special: bool = True) -> Encoded:
    """The ids of a text whose value begins at `boundary`, in characters. Raises as `encode` does.

    Args:
        special: whether the tokenizer adds its special tokens, such as a beginning-of-text token.
    """
    _check_fast(tokenizer)
    return _split(*_tokens(tokenizer, text, special), boundary)


def encode_all(tokenizer: PreTrainedTokenizerBase, secrets: Sequence[Secret]) -> list[Encoded | None]:
    """`encode` of many secrets in one call of the tokenizer, since each call takes a while; None where it raises BadInput."""
    _check_fast(tokenizer)
    texts: dict[int, tuple[str, int]] = {}
    for row, secret in enumerate(secrets):
        with suppress(BadInput):
            texts[row] = joined(secret.prompt, secret.value, bool(secret.attached))
    found: list[Encoded | None] = [None] * len(secrets)
    if texts:
        encoding = tokenizer([text for text, _ in texts.values()], return_offsets_mapping=True)
        rows = zip(texts.items(), encoding["input_ids"], encoding["offset_mapping"], strict=True)
        for (row, (_, boundary)), ids, offsets in rows:
            with suppress(BadInput):
                found[row] = _split(*_once_begun(ids, offsets), boundary)
    return found


def _check_fast(tokenizer: PreTrainedTokenizerBase) -> None:
    if not tokenizer.is_fast:
        raise UnsupportedModel("This model's tokenizer does not report where its tokens are in the text; use its fast version.")


def _split(ids: Sequence[int], offsets: Sequence[tuple[int, int]], boundary: int) -> Encoded:
    """Prompt and value, which begins at `boundary` (in characters)."""
    last = max((index for index, (start, end) in enumerate(offsets) if end > start), default=-1)
    first = next((index for index, (start, end) in enumerate(offsets) if end > boundary and end > start), last + 1)
    if not 0 < first <= last:
        raise BadInput("The tokenizer merges the whole prompt into the value: use a longer prompt.")
    return Encoded(tuple(ids[: last + 1]), first)


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str, special: bool = True) -> tuple[list[int], list[tuple[int, int]]]:
    """The ids and their offsets in the text, in characters."""
    encoding = tokenizer(text, return_offsets_mapping=True, add_special_tokens=special)
    return _once_begun(list(encoding["input_ids"]), list(encoding["offset_mapping"]))


def _once_begun(ids: list[int], offsets: list[tuple[int, int]]) -> tuple[list[int], list[tuple[int, int]]]:
    """Without the tokens that the tokenizer puts before every text, if the text itself starts with them.

    One from a chat template does.
    """
    n_added = next((index for index, (start, end) in enumerate(offsets) if end > start), 0)
    is_duplicated = ids[n_added : 2 * n_added] == ids[:n_added]
    return (ids[n_added:], offsets[n_added:]) if is_duplicated else (ids, offsets)


def plain_ids(tokenizer: PreTrainedTokenizerBase, text: str, at_most: int) -> list[int]:
    """The ids of ordinary text, truncated to `at_most` tokens."""
    return _tokens(tokenizer, text)[0][:at_most]


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text of each token; a byte that is not a character on its own becomes the replacement character."""
    return [str(tokenizer.decode([token])) for token in ids]
