"""Secrets as chat turns: the prompt is the user's message, the value the model's answer.

The text comes from the tokenizer's own template, including its special tokens, as the model was trained on it.
"""

from transformers import PreTrainedTokenizerBase

from privlens import validation
from privlens.errors import BadInput
from privlens.lm.tokens import Encoded, encode_text
from privlens.types import Secret


def has_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer has a chat template."""
    return bool(tokenizer.chat_template)


def encode_turn(tokenizer: PreTrainedTokenizerBase, secret: Secret) -> Encoded:
    """The ids of a secret as a chat turn: those of the template up to the model's answer, then the value's.

    Between them is the space that the template puts there. No special tokens are added to those of the template.

    Raises:
        BadInput: for an empty prompt or value, or if the template does not accept a prompt on its own.
    """
    validation.secret(secret.prompt, secret.value)
    value = secret.value.strip()
    question = {"role": "user", "content": secret.prompt}
    answer = {"role": "assistant", "content": value}
    try:
        prompt = str(tokenizer.apply_chat_template([question], tokenize=False, add_generation_prompt=True))
        turn = str(tokenizer.apply_chat_template([question, answer], tokenize=False))
    except Exception as cause:  # a template is third-party code that can raise anything
        reason = " ".join(str(cause).split())[:200]
        raise BadInput(
            f"This model's chat template does not accept a prompt on its own ({reason}): ask with plain text."
        ) from cause
    space = turn[len(prompt) :].partition(value)[0] if turn.startswith(prompt) else ""
    return encode_text(tokenizer, prompt + (space if space.isspace() else "") + value, len(prompt), special=False)
