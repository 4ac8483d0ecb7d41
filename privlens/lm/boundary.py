"""How a value follows its prompt where a person has typed no space on either side: attached to it, or behind a space.

Both may be meant: "her number is" + "555", but "2911-" + "8942" and "mira@" + "garden". No list of marks tells them apart. The
model does: it is shown both texts and finds one of them likelier. Knows nothing of gates, edits or views.
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
    """Whether the value stands right behind the prompt, without a space.

    It does where the model finds the text of both likelier so than with a space between them, by the log-probability of all
    tokens in which the two texts differ. Inside a word or a number it must moreover be the model's own first choice to go on so:
    who types "is" and "n" means two words, and "isn" may well be the likelier text. Each text is run alone, so that the answer
    depends on nothing that is asked beside it. Where only one of the two fits into the model's room (tokens), it is that one.
    """
    apart = encode(tokenizer, replace(secret, attached=False))
    try:
        attached = encode(tokenizer, replace(secret, attached=True))
    except BadInput:  # merged into one token with the whole prompt: there is nothing to ask behind
        return False
    if max(len(apart.ids), len(attached.ids)) > room:
        return len(attached.ids) <= room
    pairs = zip(apart.ids, attached.ids, strict=False)
    first = next((place for place, (spaced, direct) in enumerate(pairs) if spaced != direct), 0)
    if first == 0:  # the same tokens, or the first token differs: nothing stands before it to predict it from
        return False
    with torch.no_grad():
        direct = logits(attached.ids)[first - 1 : -1].log_softmax(-1)
        if in_a_word(secret) and int(direct[0].argmax()) != attached.ids[first]:
            return False
        spaced = logits(apart.ids)[first - 1 : -1].log_softmax(-1)
    return _total(direct, attached.ids[first:]) > _total(spaced, apart.ids[first:])


def _total(logprobs: Tensor, ids: Sequence[int]) -> float:
    """Log-probability in nats of ids [T], of which each row of logprobs [T, V] predicts one."""
    return float(logprobs.gather(1, torch.tensor(ids, device=logprobs.device)[:, None]).sum())
