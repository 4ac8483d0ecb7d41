"""Whether a value follows its prompt directly or after a space, if the user typed no space on either side.

Both may be meant: "her number is" + "555", but "2911-" + "8942" and "mira@" + "garden". No list of characters tells them apart,
but the model does: it is given both texts, and the more likely one is used.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from privlens.errors import BadInput
from privlens.lm.tokens import encode, in_a_word
from privlens.types import Secret

Logits = Callable[[Sequence[int]], Tensor]
"""Ids of one text -> next-token logits [tokens, vocabulary]."""


def is_attached(tokenizer: PreTrainedTokenizerBase, secret: Secret, logits: Logits, room: int) -> bool:
    """Whether the value follows the prompt directly, without a space.

    It does if the model finds that text more likely than the one with a space, by the log-probability of all tokens from the
    first difference on. Inside a word or a number the continuation must also be the model's first choice: a user who types "is"
    and "n" means two words, even though "isn" may be the more likely text. Each text is run alone, so that the answer depends on
    nothing else. If only one of the two fits into `room`, the model's context length in tokens, it is that one.
    """
    spaced_encoding = encode(tokenizer, replace(secret, attached=False))
    try:
        attached_encoding = encode(tokenizer, replace(secret, attached=True))
    except BadInput:  # the whole prompt and the value merge into one token, so there is nothing to predict it from
        return False
    if max(len(spaced_encoding.ids), len(attached_encoding.ids)) > room:
        return len(attached_encoding.ids) <= room
    pairs = zip(spaced_encoding.ids, attached_encoding.ids, strict=False)
    first = next((index for index, (spaced_id, attached_id) in enumerate(pairs) if spaced_id != attached_id), 0)
    if first == 0:  # the same tokens, or a different first token, which nothing predicts
        return False
    with torch.no_grad():
        attached_logprobs = logits(attached_encoding.ids)[first - 1 : -1].log_softmax(-1)
        if in_a_word(secret) and int(attached_logprobs[0].argmax()) != attached_encoding.ids[first]:
            return False
        spaced_logprobs = logits(spaced_encoding.ids)[first - 1 : -1].log_softmax(-1)
    attached_total = _total_logprob(attached_logprobs, attached_encoding.ids[first:])
    return attached_total > _total_logprob(spaced_logprobs, spaced_encoding.ids[first:])


def _total_logprob(logprobs: Tensor, ids: Sequence[int]) -> float:
    """The total log-probability in nats of ids [T], each predicted by a row of logprobs [T, V]."""
    return float(logprobs.gather(1, torch.tensor(ids, device=logprobs.device)[:, None]).sum())
