"""A secret asked for as a turn of a chat: the prompt is what the person says, the value what the model answers.

The text is the tokenizer's own template, special tokens and all, as the model was trained on it.
"""

from transformers import PreTrainedTokenizerBase

from privlens import validation
from privlens.errors import BadInput
from privlens.lm.tokens import Encoded, encode_text
from privlens.types import Secret


def has_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer brings a chat template."""
    return bool(tokenizer.chat_template)


def encode_turn(tokenizer: PreTrainedTokenizerBase, secret: Secret) -> Encoded:
    """The ids of a secret as a chat turn: those of the template up to where the model answers, then the value's.

    Between them stands the space that the template puts there. No special tokens are added to the template's own.

    Raises:
        BadInput: for an empty prompt or value, or where the tokenizer has no template that takes a prompt.
    """
    validation.secret(secret.prompt, secret.value)
    value = secret.value.strip()
    said, answered = {"role": "user", "content": secret.prompt}, {"role": "assistant", "content": value}
    try:
        given = str(tokenizer.apply_chat_template([said], tokenize=False, add_generation_prompt=True))
        whole = str(tokenizer.apply_chat_template([said, answered], tokenize=False))
    except Exception as cause:  # a template is a stranger's program
        reason = " ".join(str(cause).split())[:200]
        raise BadInput(f"This model's chat template takes no prompt alone ({reason}): ask with plain text.") from cause
    space = whole[len(given) :].partition(value)[0] if whole.startswith(given) else ""
    return encode_text(tokenizer, given + (space if space.isspace() else "") + value, len(given), special=False)
