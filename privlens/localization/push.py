"""The push of a mask: make a private value no likelier than other values of its format, and no more than that.

A bounded push has two ends for every token: its log-probability has fallen a margin below the mean probability of the tokens
of the same format (digit for digit, letter for letter), or its NLL has reached tau. Tokens without a letter or digit are
the format itself and are left alone. Driving a token's NLL without an end would teach the model to avoid the value, which
tells it just as well, and would cost other text more.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from privlens.memorization.formats import private, siblings, token_formats
from privlens.models.language_model import LanguageModel
from privlens.models.text import Encoded


@dataclass(frozen=True)
class Push:
    """The push on one value.

    Attributes:
        encoded: prompt and value. pushed: [T] 1 where a token is private. siblings: [T, V] bool, tokens of the same format.
        margin: how far below the siblings' mean the value shall end, nats. tau: where the push ends in any case, nats.
    """

    encoded: Encoded
    pushed: Tensor
    siblings: Tensor
    margin: float
    tau: float

    def per_token(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of the push, and the NLL, both [..., T] in nats; logits [..., tokens of prompt and value, V]."""
        first = self.encoded.n_prompt - 1
        logprobs = logits[..., first : len(self.encoded.ids) - 1, :].log_softmax(-1)
        values = torch.tensor(self.encoded.value_ids, device=logits.device)
        own = logprobs.gather(-1, values.expand(logprobs.shape[:-1])[..., None])[..., 0]
        count = self.siblings.sum(-1)
        among = logprobs.masked_fill(~self.siblings, -1e9)  # finite: a token without siblings still needs a gradient
        level = among.logsumexp(-1) - count.clamp_min(1).log()
        end = torch.where(count > 0, level - self.margin, -self.tau)
        # With the siblings, not the value alone: where the model is certain of the value, only they have a gradient.
        left = (own - end).clamp_min(0) * (own > -self.tau)
        return left * self.pushed, -own

    def matches(self, logits: Tensor) -> bool:
        """Whether the value is the first choice at every token in any of the rows; logits as for `per_token`."""
        first = logits[..., self.encoded.n_prompt - 1 : len(self.encoded.ids) - 1, :].argmax(-1)
        values = torch.tensor(self.encoded.value_ids, device=logits.device)
        return bool((first == values).all(-1).any())

    def __call__(self, logits: Tensor) -> Tensor:
        """Mean of what is left over the private tokens, [...], nats."""
        return self.per_token(logits)[0].sum(-1) / self.pushed.sum().clamp_min(1)


def push(lm: LanguageModel, encoded: Encoded, margin: float, tau: float) -> Push:
    """Finds the tokens of the same format for every token of the value."""
    others = siblings(token_formats(lm), torch.tensor(encoded.value_ids, device=lm.device))
    return Push(encoded, private(lm, encoded).float(), others, margin, tau)
